"""ONNX files: what onnxruntime computes is what a Predictor says; the batch is free; metadata say how to prepare."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image
from small_models import CLASSES, member

from lesion.errors import SettingError
from lesion.metadata import WIDTH
from lesion.onnx import ExportError, export_onnx, preprocessing
from lesion.predictor import Predictor
from lesion.rules import Rules

SIDE = 40


def prepared(photo, side, look):
    """A photo made ready by what the metadata say, without this package."""
    with Image.open(photo) as opened:
        square = opened.convert("RGB").resize((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    small = cv2.resize(np.asarray(square), (look, look), interpolation=cv2.INTER_AREA)
    return (small / np.float32(255)).transpose(2, 0, 1).astype(np.float32)


@pytest.mark.slow
def test_a_written_ensemble_says_what_the_predictor_says(tmp_path):
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(0)
    photos = []
    for k in range(4):
        photos.append(tmp_path / f"{k}.png")
        Image.fromarray(rng.integers(0, 255, (5, 7, 3), np.uint8)).resize((70 + k, 60)).save(photos[-1])
    members = (member(0), member(1, metadata="concatenate"))
    rules = Rules(1.6, (2.0, 1.0, 0.5))
    predictor = Predictor(members, CLASSES, views=4, class_weights=(1.0, 2.0, 1.0), rules=rules, data="drawn")
    assert export_onnx(predictor, tmp_path / "model.onnx") < 1e-4
    assert [path.name for path in tmp_path.glob("*onnx*")] == ["model.onnx"]
    facts = json.loads(onnx.load(str(tmp_path / "model.onnx")).metadata_props[0].value)
    assert facts["classes"] == list(CLASSES)
    assert facts["decision_weights"] == [2.0, 1.0, 0.5]
    ready = facts["preprocessing"]
    assert (ready["decoded_to"], ready["then_to"]) == ([SIDE, SIDE], [32])
    assert len(ready["people"]) == WIDTH
    images = np.stack([prepared(photo, SIDE, ready["then_to"][0]) for photo in photos])
    nobody = np.array([[name.endswith("unknown") for name in ready["people"]]] * 4, np.float32)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"images": images, "people": nobody})
    np.testing.assert_allclose(found, predictor.predict(photos), atol=1e-4)
    assert found.std(axis=1).min() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("head", ["attention_lstm", "taxonomy_decoder"])
def test_heads_that_recur_take_any_number_of_photos(tmp_path, head):
    pytest.importorskip("onnxruntime")
    small = {f"head.{head}.hidden": 8} | ({"head.attention_lstm.units": 8} if head == "attention_lstm" else {})
    predictor = Predictor((member(0, head=head, **small),), CLASSES)
    assert export_onnx(predictor, tmp_path / "model.onnx") < 1e-4  # of one and of three; traced with two


def test_what_cannot_be_one_file_is_refused(tmp_path):
    both = Predictor((member(), member(geometry="crop")), CLASSES)
    with pytest.raises(SettingError, match="decode photos to different squares"):
        export_onnx(both, tmp_path / "model.onnx")
    assert preprocessing(Predictor((member(),), CLASSES))["people"] is None
    assert not list(tmp_path.iterdir())


def test_a_file_that_differs_is_not_written(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr("lesion.onnx._trace", lambda network, names, path: path.write_bytes(b"\x08\x08"))
    monkeypatch.setattr("onnx.checker.check_model", lambda graph: None)
    monkeypatch.setattr("lesion.onnx.difference", lambda *_: 0.2)
    with pytest.raises(ExportError, match=r"onnxruntime differs from PyTorch by 0.2, more than 0.0001"):
        export_onnx(Predictor((member(),), CLASSES), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
