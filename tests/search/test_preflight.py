"""Weights that cannot be had are named before the first trial."""

import pytest
from torchvision.models import MobileNet_V2_Weights

from lesion.errors import WeightsError
from search.preflight import misfit_weights, require_weights
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
    with pytest.raises(WeightsError, match=r"backbone mobilenet_v2: no weights file nowhere.pth"):
        require_weights(space_with(tmp_path, "nowhere.pth"))


def test_weights_of_another_model_are_named(tmp_path):
    import torch

    torch.save({"other": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="does not fit mobilenet_v2"):
        require_weights(space_with(tmp_path, tmp_path / "other.pth"))


def test_no_weights_need_nothing(tmp_path):
    require_weights(space_with(tmp_path, "none"))
