"""What a run in MLflow says of where it comes from: data, space, machine, commit, versions of packages."""

from __future__ import annotations

import os
import platform
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from lesion.tasks import described
from search.identity import Identity

PACKAGES = ("torch", "torchvision", "ray", "optuna", "mlflow", "numpy", "albumentations", "lesion-search")


def provenance(identity: Identity) -> dict[str, str]:
    """Tags that say what a run is of and what it ran with."""
    tags = {
        "lesion.data": identity.data,
        "lesion.data_hash": identity.data_hash,
        "lesion.split": identity.split,
        "lesion.split_hash": identity.split_hash,
        "lesion.space_hash": identity.space_hash,
        "lesion.objective": f"{identity.direction} {identity.objective}",
        "lesion.host": platform.node(),
        "lesion.python": platform.python_version(),
    }
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            tags[f"lesion.version.{package}"] = version(package)
    if identity.task is not None:
        tags["lesion.task"] = described(identity.task)
    commit = _git_commit()
    return tags | ({"mlflow.source.git.commit": commit} if commit else {})


def _git_commit() -> str | None:
    with suppress(OSError, subprocess.SubprocessError):
        command = ["git", "rev-parse", "HEAD"]
        environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
        found = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False, env=environment)
        return found.stdout.strip() or None
    return None
