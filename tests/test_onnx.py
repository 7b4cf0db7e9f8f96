"""ONNX files: what onnxruntime computes is what a Predictor says; the batch is free; metadata say how to prepare."""

import json

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from small_models import CLASSES, member

import lesion.onnx
from lesion.errors import SettingError
from lesion.metadata import WIDTH
from lesion.onnx import ExportError, export_onnx, preprocessing
from lesion.onnx_comparison import Difference, drawn
from lesion.predictor import Predictor
from lesion.rules import Rules
from search.cli import main

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
    worst = export_onnx(predictor, tmp_path / "new" / "model.onnx")
    assert 0 < worst.probability < 1e-4
    assert 0 < worst.logit < 1e-4
    assert [path.name for path in (tmp_path / "new").glob("*onnx*")] == ["model.onnx"]
    facts = json.loads(onnx.load(str(tmp_path / "new" / "model.onnx")).metadata_props[0].value)
    assert facts["classes"] == list(CLASSES)
    assert facts["decision_weights"] == [2.0, 1.0, 0.5]
    ready = facts["preprocessing"]
    assert (ready["decoded_to"], ready["then_to"]) == ([SIDE, SIDE], [32])
    assert len(ready["people"]) == WIDTH
    images = np.stack([prepared(photo, SIDE, ready["then_to"][0]) for photo in photos])
    nobody = np.array([[name.endswith("unknown") for name in ready["people"]]] * 4, np.float32)
    session = onnxruntime.InferenceSession(tmp_path / "new" / "model.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"images": images, "people": nobody})  # nothing but probabilities
    np.testing.assert_allclose(found, predictor.predict(photos), atol=1e-4)
    assert found.std(axis=1).min() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("head", ["attention_lstm", "taxonomy_decoder"])
def test_heads_that_recur_take_any_number_of_photos(tmp_path, head):
    pytest.importorskip("onnxruntime")
    small = {f"head.{head}.hidden": 8} | ({"head.attention_lstm.units": 8} if head == "attention_lstm" else {})
    predictor = Predictor((member(0, head=head, **small),), CLASSES)
    assert export_onnx(predictor, tmp_path / "model.onnx").sound  # of one and of three; traced with two


def test_what_cannot_be_one_file_is_refused(tmp_path):
    both = Predictor((member(), member(geometry="crop")), CLASSES)
    with pytest.raises(SettingError, match="decode photos to different squares"):
        export_onnx(both, tmp_path / "model.onnx")
    assert preprocessing(Predictor((member(),), CLASSES))["people"] is None
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_wrong_logits_are_found_where_probabilities_are_0_and_1(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    sure = member(0)
    with torch.no_grad():
        bias = next(each for each in reversed(list(sure.model.head.parameters())) if each.ndim == 1)
        bias += torch.tensor([400.0, 0.0, -400.0])
    predictor = Predictor((sure,), CLASSES)
    written = lesion.onnx._trace

    def shifted(network, names, path):
        with torch.no_grad():
            [each for each in network.models[0].head.parameters() if each.ndim == 1][-1][1] += 3.0
        written(network, names, path)

    assert set(predictor.predict(drawn(3)).max(axis=1)) == {1.0}
    monkeypatch.setattr(lesion.onnx, "_trace", shifted)
    with pytest.raises(ExportError, match=r"by (0|\de-\d\d\d|\d.\de-\d\d\d) in a probability and 0.00\d+ in a logit"):
        export_onnx(predictor, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_what_is_written_is_compared_with_the_predictor_and_not_with_what_was_traced(tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnxruntime")
    Predictor((member(),), CLASSES, views=2).save(tmp_path / "model")
    monkeypatch.setattr(lesion.onnx, "views_shown", lambda views: [0] * views)  # the graph forgets the mirror image
    assert main(["export", str(tmp_path / "model"), "--onnx", str(tmp_path / "model.onnx")]) == 1  # no wrong input
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("onnxruntime differs from PyTorch by ")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.slow
def test_a_graph_computes_in_float32_and_is_compared_so(tmp_path):
    pytest.importorskip("onnxruntime")
    assert export_onnx(Predictor((member(precision="bfloat16"),), CLASSES), tmp_path / "model.onnx").sound


def test_the_lesions_that_are_drawn_differ_and_are_always_the_same():
    first, second = drawn(3), drawn(3)
    for k, photo in enumerate(first):
        np.testing.assert_array_equal(photo, second[k])
        assert all(np.abs(photo.astype(int) - other).mean() > 5 for other in first[:k])
    assert not Difference(0.0, float("nan")).sound
