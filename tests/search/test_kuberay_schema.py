"""The manifest for Kubernetes holds only fields that KubeRay and Kubernetes know, with the values they take."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from kuberay_schema import RAY_JOB

MANIFEST = (Path(__file__).parents[2] / "docs" / "clusters" / "kuberay.yaml").read_text()


def test_kuberay_knows_every_field_of_the_manifest() -> None:
    jsonschema.Draft202012Validator.check_schema(RAY_JOB)
    jsonschema.validate(yaml.safe_load(MANIFEST), RAY_JOB)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("ttlSecondsAfterFinished:", "ttlSeconds:", "'ttlSeconds' was unexpected"),
        ("authOptions: {mode: token}", "authOptions: {mode: tokens}", "'tokens' is not one of"),
        ("groupName: gpu", "name: gpu", "'groupName' is a required property"),
        ("minReplicas: 0", 'minReplicas: "0"', "'0' is not of type 'integer'"),
        # Kubernetes takes no numbers where it wants strings: YAML's 0 without quotes is one.
        ('num-cpus: "0"', "num-cpus: 0", "0 is not of type 'string'"),
        ("volumeMounts: &mounts", "mounts: &mounts", "'mounts' was unexpected"),
        ("memory: 16Gi", "memory: 16GB", "'16GB' does not match"),
        ("upscalingMode: Default", "upscalingMode: default", "'default' is not one of"),
        ("persistentVolumeClaim: {claimName:", "persistentVolumeClaim: {name:", "'claimName' is a required property"),
    ],
)
def test_what_it_does_not_know_is_refused(before: str, after: str, message: str) -> None:
    assert before in MANIFEST
    with pytest.raises(jsonschema.ValidationError, match=re.escape(message)):
        jsonschema.validate(yaml.safe_load(MANIFEST.replace(before, after, 1)), RAY_JOB)
