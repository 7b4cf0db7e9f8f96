"""What the rules of a model were set on, and when they are not those of the model that is asked."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lesion.predictor import Predictor
from lesion.rules import OperatingPoint, Rules
from search.basis import SET_ON, caveat, other_views, set_on
from search.cli import main

sys.path.insert(0, str(Path(__file__).parents[1]))
from small_models import CLASSES, member

FOLDS = {"trials": [{"number": f"3 fold-{n}"} for n in range(5)]}


def test_rules_that_single_members_of_folds_have_set_are_said_to_be_of_another_model() -> None:
    told = caveat({**FOLDS, SET_ON: set_on(2000, 8, 1, 5)})
    assert "each judged by 1 of the 5 networks in 8 views: by those that had not trained on it" in told
    assert "The mean of all 5 is another model" in told
    assert caveat({SET_ON: set_on(150, 8, 5, 5)}) == ""


def test_of_earlier_releases_the_members_tell_and_others_nothing() -> None:
    assert "each judged by 1 of the 5 networks in 1 view: " in caveat(FOLDS)
    assert caveat({"trials": [{"number": "3 seed 1"}, {"number": 4}]}) == caveat({}) == ""


@pytest.mark.parametrize("strange", [{SET_ON: [1]}, {SET_ON: {"networks": "1", "members": None}}, {"trials": 3}])
def test_provenance_that_somebody_else_wrote_is_no_traceback(strange: dict[str, object]) -> None:
    assert caveat(strange) == ""


def test_a_model_that_is_asked_for_other_views_than_its_rules_were_set_for_says_so() -> None:
    model = Predictor((), ("a", "b"), 8, rules=Rules(1.3))
    assert other_views(model, 1).startswith(
        "the model's temperature, weights and threshold were set for 8 views: with 1,"
    )
    assert other_views(model, 8) == other_views(replace(model, rules=Rules()), 1) == ""


@pytest.mark.slow
def test_predict_and_export_warn_of_rules_that_were_set_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.full((40, 40, 3), 128, np.uint8)).save("photo.png")
    rules = Rules(1.4, None, OperatingPoint((CLASSES[0],), 0.1, 0.9, 0.9, 0.5, 100, 20))
    provenance = {SET_ON: set_on(100, 2, 1, 5)}
    Predictor((member(size=32),), CLASSES, 2, rules=rules, provenance=provenance).save(tmp_path / "model")

    def told(*words: str) -> str:
        assert main(list(words)) == 0
        return " ".join(capsys.readouterr().err.split())

    usual, other = (
        told("predict", "model", "photo.png"),
        told("predict", "model", "photo.png", "--views", "1", "--json"),
    )
    assert "were set for 2 views" not in usual
    assert "threshold were set for 2 views: with 1, calibration, decisions" in other
    assert all("each judged by 1 of the 5 networks in 2 views" in said for said in (usual, other))
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    assert "were set for 2 views: with 1" in told("export", "model", "--onnx", "m.onnx", "--views", "1", "--json")
