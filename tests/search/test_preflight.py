"""What every trial would run into is said before the first one."""

import sys
from dataclasses import replace

import pytest
from fake_training import make_data
from torchvision.models import MobileNet_V2_Weights

from lesion.data.packed import PackedDataset
from lesion.errors import DataError, SettingError, WeightsError
from lesion.tasks import Task
from search.preflight import absent_classes, judges, misfit_weights, require_judge, require_weights
from search.space import load

SPACE = """
data: any
objective: mean_auc
budget: {{trials: 1, epochs: 1}}
space: {{image_size: 32, backbone: {{mobilenet_v2: {{weights: {weights}}}}}}}
"""


def space_with(folder, weights):
    (folder / "my.yaml").write_text(SPACE.format(weights=weights))
    return load(folder / "my.yaml")


def test_torchvisions_weights_are_fetched_before_the_first_trial(tmp_path, monkeypatch):
    def offline(*_, **__):
        raise OSError("no connection")

    monkeypatch.setattr(MobileNet_V2_Weights, "get_state_dict", offline)
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", offline)
    space = space_with(tmp_path, "imagenet")
    assert not misfit_weights(space)  # `check` needs no connection
    with pytest.raises(WeightsError, match=r"mobilenet_v2: .*no connection"):
        require_weights(space)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"my.yaml:\d+: backbone mobilenet_v2: no weights file nowhere.pth"):
        require_weights(space_with(tmp_path, "nowhere.pth"))


def test_weights_of_another_model_are_named(tmp_path):
    import torch

    torch.save({"other": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="does not fit mobilenet_v2"):
        require_weights(space_with(tmp_path, tmp_path / "other.pth"))


def test_no_weights_need_nothing(tmp_path):
    require_weights(space_with(tmp_path, "none"))


CLASSES = """
data: tiny
objective: {objective}
budget: {{trials: 1, epochs: 1}}
{task}
space: {{image_size: 32, backbone: squeezenet1_1{more}}}
"""


def judged(folder, objective, task="", more=""):
    path = folder / "my.yaml"
    path.write_text(CLASSES.format(objective=objective, task=task, more=more))
    return load(path)


@pytest.fixture
def lopsided(tmp_path):
    """Data whose validation part has no nevus and no melanoma to train on."""
    data = PackedDataset.open(make_data(tmp_path))
    return replace(data, table=data.table.assign(label=[1, 1, 2, 2, 0, 1, 1]))


def test_classes_that_a_part_lacks_are_named(lopsided):
    first, second = absent_classes(lopsided, lopsided.split())
    assert first == "split holdout of tiny: no training image of melanoma: nothing can be learnt of it"
    assert second.startswith("split holdout of tiny: no validation image of nevus: nothing can be said of it")
    grouped = Task.read({"melanoma": "melanoma", "others": "rest"}, lopsided.classes).apply(lopsided)
    assert absent_classes(grouped, grouped.split()) == [first]


def test_an_objective_that_would_fail_every_trial_is_refused(tmp_path, lopsided):
    for sound in ("mean_auc", "balanced_accuracy", "auc_melanoma"):  # the official mean leaves nevus out
        require_judge(judged(tmp_path, sound), lopsided)
    for undefined in ("macro_auc", "auc_nevus", "sensitivity_nevus"):
        with pytest.raises(DataError, match=rf"{undefined} is undefined on the validation part .*image of nevus"):
            require_judge(judged(tmp_path, undefined), lopsided)
    with pytest.raises(SettingError, match=r"objective: no metric 'auc_mole'; known: .*auc_melanoma"):
        require_judge(judged(tmp_path, "auc_mole"), lopsided)


@pytest.mark.parametrize(
    ("more", "follows"),
    [
        ("", False),
        (", monitor: macro_auc", False),
        (", monitor: macro_auc, keep: best", True),
        (", monitor: {choice: [macro_auc, accuracy]}, early_stopping: {int: [0, 4]}", True),
        (", monitor: macro_auc, schedule: plateau", True),
    ],
)
def test_what_a_training_follows_is_a_judge_too(tmp_path, lopsided, more, follows):
    space = judged(tmp_path, "balanced_accuracy", more=more)
    assert ("macro_auc" in judges(space)) == follows
    if follows:
        with pytest.raises(DataError, match="macro_auc is undefined"):
            require_judge(space, lopsided)


def test_a_space_that_names_no_weights_loads_no_models(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lesion.models", None)  # importing it raises
    assert misfit_weights(judged(tmp_path, "mean_auc"), fetch=True) == []
