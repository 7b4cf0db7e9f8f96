"""Tasks: what is written, what it means for a data set, and a data set seen through it."""

import json
import pickle

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from small_data import CLASSES, small_data, small_training

from lesion.data import packed
from lesion.data.packed import PackedDataset
from lesion.errors import SettingError
from lesion.metrics import summary
from lesion.tasks import Task, described, spelled

SEVEN = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")


@pytest.mark.parametrize(
    ("spec", "groups"),
    [
        ("MEL", {"rest": ("NV", "BCC", "AKIEC", "BKL", "DF", "VASC"), "MEL": ("MEL",)}),
        (
            {"benign": "rest", "malignant": ["BCC", "MEL"]},
            {"benign": SEVEN[1:2] + SEVEN[3:], "malignant": SEVEN[0:3:2]},
        ),
        ([["x", ["NV"]], ["y", "rest"]], {"x": ("NV",), "y": ("MEL", *SEVEN[2:])}),
        ({name: name for name in SEVEN}, {name: (name,) for name in SEVEN}),
    ],
)
def test_what_is_written_becomes_groups_in_order(spec, groups):
    task = Task.read(spec, SEVEN)
    assert list(task.groups.items()) == list(groups.items())
    assert task.classes == tuple(groups)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("MLE", r"no class 'MLE'; known: .* \(did you mean 'MEL'\?\)"),
        ("rest", "one class that is told from the rest, or two groups or more"),
        ({"all": "rest"}, "two groups or more"),
        ({"a": ["MEL"], "b": ["MEL", "NV"]}, "MEL is in two groups"),
        ({"a": ["MEL"], "b": []}, "the group b has no class"),
        ({"a": "rest", "b": "rest"}, "only one group can be the 'rest'"),
        ({"a": ["MEL"], "b": list(SEVEN[1:5])}, "DF, VASC are in no group: every class needs its place; add it"),
        ({"a": ["MEL"], "b": list(SEVEN[1:]), "c": "rest"}, "nothing is left for c"),
        ({"a/b": ["MEL"], "c": "rest"}, "'a/b' is no name of a group"),
        ({"a": [3], "c": "rest"}, "3 in group a is no name of a class"),
        ([["a", ["MEL"]], ["a", "rest"]], "a is given twice"),
    ],
)
def test_mistakes(spec, message):
    with pytest.raises(SettingError, match=message):
        Task.read(spec, SEVEN)


def test_two_ways_to_write_a_task_are_the_same_and_another_order_is_not():
    short, long = Task.read("MEL", SEVEN), Task.read({"rest": list(reversed(SEVEN[1:])), "MEL": "MEL"}, SEVEN)
    assert short == long
    assert hash(short) == hash(long)
    assert short != Task.read({"MEL": "MEL", "rest": "rest"}, SEVEN)
    assert described(spelled("MEL")) == "rest | MEL"
    assert str(Task.read({"sick": ["BCC", "MEL"], "well": "rest"}, SEVEN[:4])) == "sick (MEL, BCC) | well (NV, AKIEC)"


def test_data_seen_through_a_task_change_labels_and_hash_and_nothing_else():
    data = small_data()
    seen = Task.read("seborrheic_keratosis", CLASSES).apply(data)
    assert seen.classes == ("rest", "seborrheic_keratosis")
    assert np.array_equal(seen.labels, data.labels == 1)
    assert np.array_equal(data.labels, small_data().labels)
    assert seen.images is data.images
    assert seen.split().hash == data.split().hash
    other = Task.read("melanoma", CLASSES).apply(data)
    assert len({data.content_hash, seen.content_hash, other.content_hash}) == 3
    assert seen.content_hash == Task.read("seborrheic_keratosis", CLASSES).apply(small_data()).content_hash


def test_classes_that_no_group_has_are_refused():
    with pytest.raises(SettingError, match=r"nevus of drawn in no group; the groups: a \(melanoma\) \| seb"):
        Task({"a": ("melanoma",), "seborrheic_keratosis": ("seborrheic_keratosis",)}).apply(small_data())


def test_a_process_that_receives_the_set_sees_it_through_the_task(tmp_path):
    data = PackedDataset.open(written(small_data(), tmp_path))
    seen = Task.read("nevus", data.classes).apply(data)
    seen.verify()
    copy = pickle.loads(pickle.dumps(seen))
    assert (copy.classes, copy.content_hash) == (("rest", "nevus"), seen.content_hash)
    assert np.array_equal(copy.labels, seen.labels)


def written(data, folder):
    """A packed set in memory, on the disk."""
    blank = dict.fromkeys(("lesion", "patient"), "") | dict.fromkeys(("sex", "site"), "unknown")
    table = data.table.assign(**blank, part="train", age=np.nan)
    np.save(folder / packed.IMAGES, data.images)
    table.to_parquet(folder / packed.TABLE)
    manifest = {
        **data.manifest, "format": packed.FORMAT, "name": data.name, "classes": data.classes, "size": data.size,
        "geometry": data.geometry, "images": len(data),
        "content_hash": packed.content_hash(data.images, table, data.classes, data.geometry),
    }  # fmt: skip
    (folder / packed.MANIFEST).write_text(json.dumps(manifest))
    return folder


def test_a_training_on_a_task_judges_its_groups():
    data = Task.read("melanoma", CLASSES).apply(small_data())
    training = small_training(data)
    metrics = training.step()
    assert training.predict().shape == (6, 2)
    expected = roc_auc_score(data.labels[training.split.validation] == 1, training.predict()[:, 1])
    assert metrics["auc_melanoma"] == metrics["mean_auc"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("decimals", [1, 3, 17])
def test_the_mean_auc_of_two_classes_is_the_auc(decimals):
    rng = np.random.default_rng(decimals)
    positive = rng.random(200).round(decimals)
    labels = (rng.random(200) < 0.3 + 0.4 * positive).astype(np.int64)
    scores = summary(np.stack([1 - positive, positive], axis=1), labels, ("rest", "melanoma"))
    assert scores["mean_auc"] == scores["auc_melanoma"]
    assert scores["mean_auc"] == pytest.approx(roc_auc_score(labels, positive), abs=1e-12)
