"""A backbone that was trained here starts a training elsewhere: ours, torchvision's, timm's."""

from pathlib import Path

import pytest
import safetensors.torch
import torch
from small_data import small_training
from torchvision import models

from lesion.errors import WeightsError
from lesion.learnt import Learnt
from lesion.models import Model, build_model
from lesion.models.transfer import save_backbone
from lesion.settings import resolve

CLASSES = ("melanoma", "nevus")


def trained(backbone: str, seed: int, weights: str = "none", classes: tuple[str, ...] = CLASSES) -> Model:
    """A model of 64 pixels whose batch norms have seen something."""
    torch.manual_seed(seed)
    settings = resolve({"image_size": 64, "backbone": backbone, f"backbone.{backbone}.weights": weights})
    model = build_model(settings, classes, pretrained=True)
    if weights == "none":
        model.train()
        model(torch.rand(4, 3, 64, 64))
    return model.eval()


@pytest.mark.parametrize("backbone", ["shufflenet_v2_x0_5", "mnasnet0_5", "timm/resnet10t"])
def test_features_are_those_of_the_model_that_it_was_taken_from(backbone: str, tmp_path: Path) -> None:
    source, file = trained(backbone, 0), tmp_path / "weights.safetensors"
    assert save_backbone(source, file) == len(source.backbone.state_dict())
    other = trained(backbone, 1, str(file), classes=("a", "b", "c"))
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(other.features(images), source.features(images))


def test_torchvision_loads_it_itself(tmp_path: Path) -> None:
    source, file = trained("shufflenet_v2_x0_5", 0), tmp_path / "weights.safetensors"
    save_backbone(source, file)
    theirs = models.shufflenet_v2_x0_5()
    missing, unknown = theirs.load_state_dict(safetensors.torch.load_file(file), strict=False)
    assert (missing, unknown) == (["fc.weight", "fc.bias"], [])


def test_what_cannot_be_written_is_refused_before(tmp_path: Path) -> None:
    torch.manual_seed(0)
    own = build_model(resolve({"image_size": 32, "backbone": "preact_resnet18"}), CLASSES, pretrained=False)
    with pytest.raises(WeightsError, match="this one is our own"):
        save_backbone(own, tmp_path / "weights.safetensors")
    with pytest.raises(WeightsError, match=r"ends in \.safetensors"):
        save_backbone(trained("shufflenet_v2_x0_5", 0), tmp_path / "weights.pth")
    assert not [*tmp_path.iterdir()]


def test_a_training_keeps_what_its_file_said_as_it_began(tmp_path: Path) -> None:
    """Though the file is another by the time it goes on."""
    file, model = tmp_path / "weights.safetensors", trained("shufflenet_v2_x0_5", 0)
    first, second = Learnt(("isic2018",), frozenset({"a" * 16}), whole=True), Learnt(("isic2017",))
    save_backbone(model, file, first)
    state = small_training(backbone__shufflenet_v2_x0_5__weights=str(file)).state_dict()
    save_backbone(model, file, second)
    resumed = small_training(backbone__shufflenet_v2_x0_5__weights=str(file))
    assert Learnt.from_json(resumed.state_dict()["learnt"]) == second
    resumed.load_state_dict(state)
    assert Learnt.from_json(resumed.state_dict()["learnt"]) == first
