"""Model folders: a bad one is refused with every reason, and nothing in it runs."""

import json

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import CLASSES, SETTINGS, member

from lesion.errors import WeightsError
from lesion.model_folder import CONFIG, MEMBER_RULES, RULES, ModelFolderError, load_weights, read_config, write_weights
from lesion.predictor import Predictor, save_predictor


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "model"
    save_predictor(path, [member()], CLASSES)
    return path


def test_a_model_is_not_overwritten(folder):
    with pytest.raises(ModelFolderError, match="exists; a model is not overwritten"):
        save_predictor(folder, [member()], CLASSES)


@pytest.mark.parametrize(
    "wrong",
    [
        {"views": 3},
        {"provenance": {"when": {1}}},
        {"provenance": {"score": float("nan")}},
        {"class_weights": (1.0, 2.0)},
    ],
    ids=str,
)
def test_what_could_not_be_read_back_is_not_written(tmp_path, wrong):
    with pytest.raises(ModelFolderError):
        save_predictor(tmp_path / "model", [member()], CLASSES, **wrong)
    assert not list(tmp_path.iterdir())


def edited(folder, tmp_path, **changes):
    """A copy of a model folder with other values in its configuration."""
    copy = tmp_path / "edited"
    copy.mkdir()
    config = json.loads((folder / CONFIG).read_text())
    for path, value in changes.items():
        place = config["members"][0] if path.startswith("member_") else config
        place[path.removeprefix("member_")] = value
    (copy / CONFIG).write_text(json.dumps(config))
    (copy / "weights-0.safetensors").symlink_to(folder / "weights-0.safetensors")
    return copy


PLAIN = {"temperature": 1.0, "decision_weights": None, "operating_point": None}
POINT = {"classes": ["melanoma"], "threshold": 0.5, "asked": 0.9, "sensitivity": 0.9, "specificity": 0.9} | {
    "images": 9,
    "positives": 3,
}
BAD = [
    ({"format": 3}, "format is 3, this program reads 1 and 2"),
    ({"format": True}, "format is True, must be 1 or 2"),
    ({"rules": None}, "rules is None, must be an object"),
    ({"rules": {"temperature": 1}}, "rules.decision_weights is missing"),
    ({"rules": PLAIN | {"temperature": 0}}, "rules.temperature is 0, must be a number from 0.01 to 100"),
    ({"rules": PLAIN | {"decision_weights": [1, 2]}}, "rules.decision_weights has 2 numbers, must be 3: one a class"),
    ({"rules": PLAIN | {"operating_point": POINT | {"threshold": 2}}}, "threshold is 2, must be a number from 0 to 1"),
    (
        {"rules": PLAIN | {"operating_point": POINT | {"classes": ["wart"]}}},
        "rules.operating_point.classes is ['wart'], must be among the classes",
    ),
    ({"views": 3}, "views is 3, must be 1, 2, 4 or 8"),
    ({"views": "8"}, "views is '8', must be 1, 2, 4 or 8"),
    ({"views": [1]}, "views is [1], must be"),
    ({"classes": ["a", "a"]}, "classes is ['a', 'a'], must be a list of 2 to 1000 different names"),
    ({"classes": ["a", "\x1b[2J"]}, "classes is ['a', '\\x1b[2J'], must be"),
    ({"class_weights": [1, 2, 10**400]}, "must be null or a list of numbers"),
    ({"classes": "abc"}, "classes is 'abc', must be"),
    ({"classes": ["a", 1]}, "classes is ['a', 1], must be"),
    ({"classes": [["a"], ["b"]]}, "classes is [['a'], ['b']], must be"),
    ({"classes": [str(k) for k in range(2000)]}, "must be a list of 2 to 1000 different names"),
    ({"class_weights": [1, 2]}, "class_weights has 2 numbers, must be 3: one a class"),
    ({"class_weights": [1, 2, -1]}, "class_weights is [1, 2, -1], must be null or a list of numbers from 1e-6 to 1e6"),
    ({"class_weights": [1, 2, float("inf")]}, "is not JSON: Infinity is no number in JSON"),
    ({"members": []}, "members is [], must be a list of 1 to 64 members"),
    ({"members": [3]}, "members[0] is 3, must be an object"),
    ({"provenance": 5}, "provenance is 5, must be an object"),
    ({"stranger": 1}, "stranger is not known; known: format, classes"),
    ({"member_weights": "../weights-0.safetensors"}, "members[0].weights is '../weights-0.safetensors', must be"),
    ({"member_weights": "/etc/passwd"}, "members[0].weights is '/etc/passwd', must be"),
    ({"member_weights": "weights-0.safetensors\n"}, "members[0].weights is"),
    ({"member_weights": None}, "members[0].weights is None, must be"),
    ({"member_sha256": "0"}, "members[0].sha256 is '0', must be 64 hexadecimal digits"),
    ({"member_size": 10**12}, "members[0].size is 1000000000000, must be a whole number of pixels from 16 to 2048"),
    ({"member_size": 40.0}, "members[0].size is 40.0"),
    ({"member_geometry": "fold"}, "members[0].geometry is 'fold', must be stretch | crop | pad"),
    ({"member_geometry": ["stretch"]}, "members[0].geometry is ['stretch'], must be"),
    ({"member_settings": []}, "members[0].settings is [], must be an object of settings"),
    ({"member_settings": {"image_size": 10**400}}, "members[0].settings is {'image_size': 1000"),
    ({"member_settings": {"image_size": {}}}, "members[0].settings is {'image_size': {}}, must be"),
    ({"member_settings": {"image_size": 10**9}}, "members[0].settings: image_size is 1000000000, must be from 16"),
    ({"member_settings": {"backbone": "resnet51"}}, "members[0].settings: no backbone 'resnet51'"),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[f"{next(iter(c))}-{k}" for k, (c, _) in enumerate(BAD)])
def test_a_bad_configuration_is_named(tmp_path, folder, changes, message):
    copy = edited(folder, tmp_path, **changes)
    with pytest.raises(ModelFolderError) as error:
        Predictor.load(copy)
    assert message in str(error.value)
    assert str(copy / CONFIG) in str(error.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=30, deadline=None)
@given(
    key=st.sampled_from(list(RULES)), value=JSON | st.lists(st.dictionaries(st.sampled_from(list(MEMBER_RULES)), JSON))
)
def test_any_json_is_read_or_refused_in_words(folder, tmp_path_factory, key, value):
    config = json.loads((folder / CONFIG).read_text()) | {key: value}
    place = tmp_path_factory.getbasetemp()
    (place / CONFIG).write_text(json.dumps(config))
    try:
        read_config(place)
    except ModelFolderError as refusal:
        assert str(place / CONFIG) in str(refusal)  # noqa: PT017 - most examples are refused, not all


def test_all_mistakes_are_listed_at_once(tmp_path, folder):
    with pytest.raises(ModelFolderError) as error:
        read_config(edited(folder, tmp_path, views=3, classes=[], stranger=0))
    assert len(str(error.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 200_000, "is not JSON"),
        (b"[]", "the whole is [], must be an object"),
        (b" " * 5_000_000, "has 5,000,000 bytes, at most 4,000,000 are read"),
    ],
    ids=["torn", "binary", "deep", "list", "large"],
)
def test_a_configuration_that_is_none_is_refused(tmp_path, content, message):
    (tmp_path / CONFIG).write_bytes(content)
    with pytest.raises(ModelFolderError) as error:
        read_config(tmp_path)
    assert message in str(error.value)


def test_a_folder_that_is_no_model_says_what_one_holds(tmp_path):
    with pytest.raises(ModelFolderError, match="a model folder holds config"):
        Predictor.load(tmp_path / "absent")


def test_weights_of_another_architecture_name_the_first_tensors(tmp_path, folder):
    settings = SETTINGS | {"backbone": "mobilenet_v3_small"}
    with pytest.raises(WeightsError) as error:
        Predictor.load(edited(folder, tmp_path, member_settings=settings))
    message = str(error.value)
    assert "weights-0.safetensors does not fit the model" in message
    assert "tensors missing (first: backbone.stages." in message
    assert "unknown (first: backbone.stages." in message


def test_weights_of_another_number_of_classes_name_the_shape(tmp_path, folder):
    with pytest.raises(WeightsError, match=r"first: head\.\S+ is \(3,\), must be \(2,\)"):
        Predictor.load(edited(folder, tmp_path, classes=["a", "b"]))


def test_exchanged_torn_and_missing_weights_are_told_apart(tmp_path):
    model = member().model
    path = tmp_path / "weights-0.safetensors"
    digest = write_weights(path, model)
    load_weights(path, model, sha256=digest)
    with pytest.raises(WeightsError, match="damaged or was exchanged"):
        load_weights(path, model, sha256="0" * 64)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="not a safetensors file or is damaged"):
        load_weights(path, model, sha256=digest)
    torch.save({"a": torch.zeros(1)}, path)  # a pickle under another name is not opened
    with pytest.raises(WeightsError, match="not a safetensors file"):
        load_weights(path, model, sha256=digest)
    path.unlink()
    with pytest.raises(WeightsError, match="no weights file"):
        load_weights(path, model, sha256=digest)


def test_normalisation_travels_with_the_weights(folder):
    tensors = safetensors.torch.load_file(folder / "weights-0.safetensors")
    assert tensors["mean"].flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert tensors["std"].flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])
