"""What promotions of a study were registered as: read from MLflow's registry, where there is one that answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from search.registered import CHAMPION, KEY, STUDY, Registry
from search.reporting.versions import RegisteredAs, versions_by_promotion
from search.verdicts import JUDGEMENTS
from search.workspace import open_workspace

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_promotions_are_known_by_their_versions(tmp_path: Path) -> None:
    place = open_workspace(tmp_path / "workspace")
    client = Registry(place.tracking_uri, place.artifacts).client
    judgements = {"a" * 64: ["passed"], "b" * 64: ["passed", "stopped by ece"], "c" * 64: []}
    client.create_registered_model("lesions")
    for key, told in judgements.items():
        entries = json.dumps([{"at": "", "file": "gates.yaml", "digest": "0", "told": each} for each in told])
        tags = {KEY: key, STUDY: "other" if key[0] == "c" else "mine"} | ({JUDGEMENTS: entries} if told else {})
        client.create_model_version("lesions", str(tmp_path / "model"), tags=tags)
    client.create_model_version("lesions", str(tmp_path / "model"), tags={STUDY: "mine"})
    client.set_registered_model_alias("lesions", CHAMPION, "1")
    assert versions_by_promotion(place, "mine") == (
        {
            "a" * 12: (RegisteredAs("lesions", 1, True, "passed"),),
            "b" * 12: (RegisteredAs("lesions", 2, False, "stopped by ece"),),
        },
        "",
    )
    assert versions_by_promotion(place, "nowhere") == ({}, "")


def test_a_server_that_is_down_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    place = open_workspace(tmp_path / "workspace")
    found, unknown = versions_by_promotion(place, "mine", "http://127.0.0.1:9")
    assert not found
    assert unknown.startswith("MLflow does not say which versions promotions of mine are: ")
