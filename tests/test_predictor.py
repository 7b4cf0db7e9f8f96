"""What is saved predicts the same when loaded; photos of all kinds; broken files."""

import json
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from small_models import CLASSES, SETTINGS, member

from lesion.calibration import tempered
from lesion.data.decode import decode
from lesion.errors import DataError, WeightsError
from lesion.model_folder import CONFIG, read_config
from lesion.photos import PORTION
from lesion.prediction import predict_probabilities
from lesion.predictor import Predictor, save_predictor
from lesion.rules import OperatingPoint, Rules

CLOSE = {"rtol": 1e-4, "atol": 1e-6}  # batches of other sizes sum in another order


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for k, (height, width) in enumerate([(60, 80), (80, 60), (50, 50)]):
        colours = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(colours).resize((width, height)).save(folder / f"ISIC_{k:07d}.jpg")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "model"
    save_predictor(path, [member()], CLASSES, data="isic2017", provenance={"study": "demo", "seed": 7})
    return path


@pytest.fixture(scope="module")
def predictor(folder):
    return Predictor.load(folder)


def test_a_loaded_model_predicts_what_the_saved_one_did(tmp_path, photos):
    saved = Predictor((member(), member(1)), CLASSES, views=2, class_weights=(1.0, 2.0, 0.5))
    loaded = Predictor.load(saved.save(tmp_path / "model"))
    np.testing.assert_allclose(loaded.predict(photos), saved.predict(photos), **CLOSE)
    assert (loaded.classes, loaded.views, loaded.class_weights) == (CLASSES, 2, (1.0, 2.0, 0.5))
    assert [p.name for p in sorted((tmp_path / "model").iterdir())] == [
        CONFIG,
        "weights-0.safetensors",
        "weights-1.safetensors",
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["model"]  # nothing half-made beside it


def test_what_is_kept_comes_back(folder, predictor):
    assert predictor.data == "isic2017"
    assert predictor.provenance == {"study": "demo", "seed": 7}
    assert predictor.members[0].settings == SETTINGS
    assert not predictor.members[0].model.training
    assert read_config(folder).members[0].size == 40


def test_probabilities_are_those_of_the_training_pipeline(predictor, photos):
    squares = np.stack([decode(path.read_bytes(), 40, "stretch") for path in photos])
    expected = predict_probabilities(predictor.members[0].model, squares, image_size=32, precision="float32")
    ours = predictor.predict(photos)
    assert ours.dtype == np.float64
    assert ours.shape == (3, 3)
    np.testing.assert_allclose(ours, expected, **CLOSE)
    np.testing.assert_allclose(ours.sum(axis=1), 1.0)
    assert ours.std(axis=1).min() > 0.01  # the model is not indifferent


def test_files_bytes_and_pixels_are_all_photos(predictor, photos):
    expected = predictor.predict(photos)
    np.testing.assert_array_equal(predictor.predict([str(path) for path in photos]), expected)
    np.testing.assert_array_equal(predictor.predict(path.read_bytes() for path in photos), expected)
    squares = [decode(path.read_bytes(), 40, "stretch") for path in photos]
    np.testing.assert_array_equal(predictor.predict(squares), expected)
    assert predictor.predict([]).shape == (0, 3)


def test_an_ensemble_is_the_mean_of_its_members(photos):
    first, second = member(0), member(1, size=48, geometry="crop")
    alone = [Predictor((one,), CLASSES).predict(photos) for one in (first, second)]
    both = Predictor((first, second), CLASSES).predict(photos)
    np.testing.assert_allclose(both, np.mean(alone, axis=0), rtol=1e-12)


def test_views_make_the_prediction_independent_of_the_way_up(photos):
    eight = Predictor((member(),), CLASSES, views=8)
    pixels = decode(photos[0].read_bytes(), 40, "stretch")
    upright, turned = eight.predict([pixels, np.ascontiguousarray(np.rot90(pixels))])
    np.testing.assert_allclose(upright, turned, **CLOSE)


def test_class_weights_scale_and_keep_the_sum(predictor, photos):
    weighted = Predictor(predictor.members, CLASSES, class_weights=(3.0, 1.0, 1.0)).predict(photos)
    plain = predictor.predict(photos) * [3.0, 1.0, 1.0]
    np.testing.assert_allclose(weighted, plain / plain.sum(axis=1, keepdims=True), **CLOSE)


def test_rules_are_kept_and_decide_without_touching_the_probabilities(tmp_path, predictor, photos):
    plain = predictor.predict(photos)
    point = OperatingPoint(("melanoma", "nevus"), 0.4, 0.9, 0.93, 0.5, 150, 30)
    rules = Rules(2.0, (1e-3, 1.0, 1e-3), point)
    saved = Predictor(predictor.members, CLASSES, rules=rules).save(tmp_path / "model")
    loaded = Predictor.load(saved)
    assert loaded.rules == rules
    table = loaded.predict_files(photos)
    np.testing.assert_allclose(table.probabilities, tempered(plain, 2.0), **CLOSE)
    frame = table.to_frame()
    assert set(frame["decision"]) == {"seborrheic_keratosis"}
    np.testing.assert_array_equal(frame["confidence"], frame["p_seborrheic_keratosis"])
    assert frame["flagged"].tolist() == (table.probabilities[:, [0, 2]].sum(axis=1) >= 0.4).tolist()
    written = pd.read_csv(table.official_csv(tmp_path / "p.csv"), float_precision="round_trip")
    np.testing.assert_array_equal(written["melanoma"], frame["p_melanoma"])  # ranked by AUC: as they are
    later = replace(table, classes=("MEL", "NV", "BCC"), rules=replace(rules, operating_point=None))
    written = pd.read_csv(later.official_csv(tmp_path / "later.csv"))  # ranked by decisions: under the weights
    assert (written["NV"] > written["MEL"]).all()


def test_a_folder_of_format_1_predicts_as_it_did(tmp_path, photos):
    saved = Predictor((member(),), CLASSES, class_weights=(1.0, 2.0, 0.5))
    folder = saved.save(tmp_path / "model")
    config = json.loads((folder / CONFIG).read_text())
    assert config.pop("rules") == asdict(Rules())
    (folder / CONFIG).write_text(json.dumps(config | {"format": 1}))
    loaded = Predictor.load(folder)
    assert loaded.rules == Rules()
    np.testing.assert_allclose(loaded.predict(photos), saved.predict(photos), **CLOSE)


def test_members_and_views_that_contradict_each_other_disagree(photos):
    alone = Predictor((member(0),), CLASSES).predict_files(photos)
    np.testing.assert_allclose(alone.disagreement, 0, atol=1e-12)
    both = Predictor((member(0), member(1)), CLASSES, views=2).predict_files(photos)
    assert (both.disagreement > 1e-4).all()
    assert both.to_frame()["disagreement"].tolist() == both.disagreement.tolist()


def test_portions_keep_the_order(predictor, photos):
    many = [photos[k % 3] for k in range(PORTION + 2)]
    expected = predictor.predict(photos)[[k % 3 for k in range(len(many))]]
    np.testing.assert_allclose(predictor.predict(many), expected, **CLOSE)


def broken_files(folder, photos):
    whole = photos[0].read_bytes()
    contents = {
        "empty.jpg": b"",
        "text.jpg": b"no image at all",
        "torn.jpg": whole[: len(whole) // 2],
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "folder.jpg").mkdir()
    return [*(folder / name for name in contents), folder / "folder.jpg", folder / "absent.jpg"]


def test_broken_files_are_listed_and_the_others_done(tmp_path, predictor, photos):
    bad = broken_files(tmp_path, photos)
    calls = []
    table = predictor.predict_files(
        [bad[0], photos[0], *bad[1:], photos[1]], lambda done, total: calls.append((done, total))
    )
    assert table.files == (str(photos[0]), str(photos[1]))
    np.testing.assert_allclose(table.probabilities, predictor.predict(photos[:2]), **CLOSE)
    assert set(table.broken) == {str(path) for path in bad}
    assert table.broken[str(bad[0])] == "is empty (zero bytes)"
    assert "damaged" in table.broken[str(bad[2])]
    assert "is no file" in table.broken[str(bad[3])]
    assert "cannot be read: No such file" in table.broken[str(bad[4])]
    assert calls == [(7, 7)]


def test_one_broken_photo_stops_predict_with_its_name(tmp_path, predictor, photos):
    for path in broken_files(tmp_path, photos):
        with pytest.raises(DataError, match=path.name):
            predictor.predict([photos[0], path])
    with pytest.raises(DataError, match=r"image 1 is float64 \(4, 4\), must be uint8"):
        predictor.predict([photos[0], np.zeros((4, 4))])


def test_the_table_prints_decides_and_writes_the_official_csv(tmp_path, predictor, photos):
    table = predictor.predict_files(photos)
    frame = table.to_frame()
    unsure = ("entropy", "disagreement")
    assert list(frame.columns) == ["image", "decision", "confidence", *unsure, *(f"p_{name}" for name in CLASSES)]
    assert set(frame["decision"]) <= set(CLASSES)
    written = pd.read_csv(table.official_csv(tmp_path / "p.csv"))
    assert list(written.columns) == ["image", "melanoma", "seborrheic_keratosis"]
    assert written["image"].tolist() == ["ISIC_0000000", "ISIC_0000001", "ISIC_0000002"]


def test_a_table_of_nothing_but_broken_files_is_empty(tmp_path, predictor):
    table = predictor.predict_files([tmp_path / "absent.jpg"])
    assert table.to_frame().empty
    assert table.official_csv(tmp_path / "p.csv").read_text().splitlines() == ["image,melanoma,seborrheic_keratosis"]


def test_weights_with_nan_are_found_when_they_predict(photos):
    sick = member()
    with torch.no_grad():
        next(sick.model.head.parameters()).fill_(float("nan"))
    with pytest.raises(WeightsError, match="NaN or infinity"):
        Predictor((sick,), CLASSES).predict(photos)


@pytest.mark.slow
def test_predicting_imports_neither_ray_nor_optuna_nor_mlflow():
    code = "import sys, lesion.predictor; print([m for m in ('ray', 'optuna', 'mlflow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_model_that_asks_for_the_patient_is_told_and_takes_silence_for_not_known(photos):
    asks, silent = (Predictor((member(metadata=name),), CLASSES) for name in ("concatenate", "none"))
    people = pd.DataFrame({"age": [30.0, 80.0, np.nan], "sex": ["male", "female", "unknown"], "site": "unknown"})
    people = people.iloc[: len(photos)].reindex(range(len(photos))).fillna({"sex": "unknown", "site": "unknown"})
    assert asks.asks_for_people
    assert not silent.asks_for_people
    nobody = people.assign(age=np.nan, sex="unknown")
    np.testing.assert_array_equal(asks.predict(photos), asks.predict(photos, nobody))
    assert not np.allclose(asks.predict(photos, people)[0], asks.predict(photos)[0])
    np.testing.assert_array_equal(silent.predict(photos, people), silent.predict(photos))
    table = asks.predict_files([photos[0], "absent.jpg", photos[1]], people=people.iloc[[0, 2, 1]])
    np.testing.assert_array_equal(table.probabilities, asks.predict(photos[:2], people.iloc[:2]))


def test_a_model_that_spells_diagnoses_says_how_likely_each_level_is(tmp_path, photos):
    """Sums over the classes below each word, in the order of the taxonomy; the official CSV has classes alone."""
    three = {"head": "taxonomy_decoder", "head.taxonomy_decoder.taxonomy": "isic2017_three_levels_sk_benign"}
    folder = Predictor((member(0, **three), member(1)), CLASSES, rules=Rules(2.0)).save(tmp_path / "model")
    table = Predictor.load(folder).predict_files(photos)
    frame, p = table.to_frame(), dict(zip(CLASSES, table.probabilities.T, strict=True))
    levels = ["level_1_melanocytic", "level_1_non-melanocytic", "level_2_benign", "level_2_malignant"]
    assert list(frame.columns)[-7:] == [*(f"p_{name}" for name in CLASSES), *levels]
    np.testing.assert_allclose(frame["level_1_melanocytic"], p["melanoma"] + p["nevus"])
    np.testing.assert_allclose(frame["level_1_non-melanocytic"], p["seborrheic_keratosis"])
    np.testing.assert_allclose(frame["level_2_benign"], p["nevus"] + p["seborrheic_keratosis"])
    np.testing.assert_allclose(frame["level_2_malignant"], p["melanoma"])
    assert table.official_csv(tmp_path / "p.csv").read_text().startswith("image,melanoma,seborrheic_keratosis\n")
    # Members that spell by other taxonomies have no levels in common.
    both = Predictor((member(0, **three), member(1, head="taxonomy_decoder")), CLASSES)
    assert (both.taxonomy, Predictor((member(),), CLASSES).taxonomy) == (None, None)
