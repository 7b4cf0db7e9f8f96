"""timm's models as backbones, against timm's own features."""

import re
import sys
from copy import deepcopy

import pytest
import timm
import torch
from torch import nn

from lesion.errors import SettingError, WeightsError
from lesion.models.backbones import backbones, structure, timm_models
from lesion.models.backbones.freezing import LAYERS
from lesion.models.paper import OnPaper
from lesion.settings import resolve

SIZE = 64
SMALL = ["test_resnet", "test_efficientnet", "test_convnext", "test_mambaout", "test_vit"]


def whole(name, **options):
    torch.manual_seed(0)
    return timm.create_model(name, **options).eval()


def on_paper(name, size=224, **settings):
    with OnPaper():
        return backbones[f"timm/{name}"].build(size, False, **settings)


@pytest.fixture
def _forgotten():
    """What is remembered of names is forgotten, before and after."""
    for cached in (timm_models.family, timm_models._config):
        cached.cache_clear()
    yield
    for cached in (timm_models.family, timm_models._config):
        cached.cache_clear()


@pytest.mark.parametrize("name", SMALL)
def test_the_map_is_timms_own_from_a_file_of_its_layout(name, tmp_path):
    options = {"img_size": SIZE} if name == "test_vit" else {}
    model = whole(name, **options)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    images = torch.randn(2, 3, SIZE, SIZE)
    with torch.no_grad():
        expected = model.forward_features(images)
        if name == "test_vit":  # a class token, then 4 × 4 places
            expected = expected[:, 1:].unflatten(1, (4, 4)).permute(0, 3, 1, 2)
        if name == "test_mambaout":
            expected = expected.permute(0, 3, 1, 2)
        torch.manual_seed(1)
        backbone = backbones[f"timm/{name}"].build(SIZE, True, weights=str(tmp_path / "weights.pth")).eval()
        assert torch.equal(backbone(images), expected)
    assert backbone.channels == expected.shape[1]


def test_a_file_of_another_number_of_classes_fits_and_one_of_another_model_does_not(tmp_path):
    torch.save(whole("test_resnet", num_classes=3).state_dict(), tmp_path / "3.pth")
    backbones["timm/test_resnet"].build(SIZE, True, weights=str(tmp_path / "3.pth"))
    with pytest.raises(WeightsError, match=r"3\.pth does not fit timm/test_efficientnet: \d+ tensors missing"):
        backbones["timm/test_efficientnet"].build(SIZE, True, weights=str(tmp_path / "3.pth"))


def test_positions_of_another_image_size_are_resampled_as_timm_does(tmp_path):
    torch.save(whole("test_vit", img_size=96).state_dict(), tmp_path / "96.pth")
    backbone = backbones["timm/test_vit"].build(SIZE, True, weights=str(tmp_path / "96.pth"))
    assert backbone.model.pos_embed.shape == whole("test_vit", img_size=SIZE).pos_embed.shape


def test_the_stages_of_a_resnet50_are_those_of_torchvisions():
    theirs = on_paper("resnet50")
    with OnPaper():
        ours = backbones["resnet50"].build(224, False)
    sizes = [[sum(p.numel() for p in stage.parameters()) for stage in b.stages] for b in (theirs, ours)]
    assert sizes[0] == sizes[1]
    assert theirs.channels == 2048
    assert len(structure("resnet50", 224)[0]) == 5


@pytest.mark.parametrize(
    ("name", "stages", "channels"), [("tf_efficientnet_lite0", 5, 1280), ("deit_tiny_patch16_224", 4, 192)]
)
def test_stages(name, stages, channels):
    backbone = on_paper(name)
    assert (len(backbone.stages), backbone.channels) == (stages, channels)
    inside = [id(p) for stage in backbone.stages for p in stage.parameters()]
    assert sorted(inside) == sorted(map(id, backbone.parameters()))  # every weight in one stage


def test_the_classifier_is_gone_and_no_weight_is_kept_twice():
    backbone = on_paper("test_resnet", SIZE)
    assert not any(key.startswith("model.fc") for key in backbone.state_dict())
    assert len(backbone.state_dict()) == len(backbone.model.state_dict())


@pytest.mark.parametrize("trained", [0, 1, 4])
def test_the_last_stages_train(trained):
    backbone = on_paper("test_vit", SIZE, trainable_stages=trained).train()
    training = [{p.requires_grad for p in stage.parameters()} for stage in backbone.stages]
    assert training == [{False}] * (4 - trained) + [{True}] * trained
    assert backbone.model.pos_embed.requires_grad == (trained == 4)
    modes = [{m.training for m in stage.modules()} for stage in backbone.stages]
    assert modes == [{False}] * (4 - trained) + [{True}] * trained


def test_the_last_layers_train():
    backbone = on_paper("test_resnet", SIZE, trainable_layers=2).train()
    layers = [m for stage in backbone.stages for m in stage.modules() if isinstance(m, LAYERS)]
    assert [layer.weight.requires_grad for layer in layers] == [False] * (len(layers) - 2) + [True] * 2
    norms = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [norm.training for norm in norms] == [norm.weight.requires_grad for norm in norms]
    assert sum(norm.training for norm in norms) == 2


def test_a_copy_has_stages_of_its_own():
    backbone = backbones["timm/test_resnet"].build(SIZE, False, trainable_stages=1)
    copy = deepcopy(backbone).train()
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter.zero_()
    assert {id(p) for s in copy.stages for p in s.parameters()} == {id(p) for p in copy.parameters()}
    assert any(p.any() for p in backbone.parameters())


@pytest.mark.parametrize(
    ("name", "settings", "mean"),
    [
        ("tf_efficientnet_lite0", {}, 0.5),
        ("resnet50", {}, 0.485),
        ("resnet50", {"normalisation": "half"}, 0.5),
        ("resnet50", {"normalisation": "unit"}, 0.0),
    ],
)
def test_images_are_normalised_as_the_weights_expect_unless_it_is_said(name, settings, mean):
    assert on_paper(name, SIZE, **settings).mean[0] == mean


def test_a_plan_knows_names_with_tags():
    name = "timm/test_resnet.r160_in1k"
    plan = resolve({"backbone": name, f"backbone.{name}.trainable_layers": 3})
    assert plan.choices["backbone"].settings["trainable_layers"] == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm/resnet5", "no backbone 'timm/resnet5'; known: "),
        ("timm/test_resnet.in22k", "no weights of timm/test_resnet tagged 'in22k'; known: r160_in1k"),
    ],
)
def test_names_that_timm_does_not_have(name, message):
    with pytest.raises(SettingError, match=re.escape(message)):
        backbones[name]
    assert name not in backbones


@pytest.mark.usefixtures("_forgotten")
def test_without_timm_the_way_to_install_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(SettingError, match=re.escape("not installed: pip install 'lesion-search[timm]'")):
        backbones["timm/resnet50"]
    assert "resnet50" in backbones


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("pit_ti_224", 224, "yields no feature map but features of shape (1, 1, 256)"),
        ("efficientvim_m1", 224, "yields no feature map but a list"),
        ("crossvit_9_240", 224, "cannot take images of 224 pixels"),
    ],
)
def test_models_that_yield_no_map_or_take_no_such_images(name, size, message):
    with pytest.raises(SettingError, match=re.escape(message)):
        on_paper(name, size)


def test_weights_that_cannot_be_had(monkeypatch):
    with pytest.raises(WeightsError, match="no weights of timm/test_resnet 'imagnet'; known: imagenet, none"):
        backbones["timm/test_resnet"].build(SIZE, True, weights="imagnet")

    def offline(name, **options):
        raise OSError("no connection\nand more")

    on_paper("test_resnet", SIZE)  # remembered
    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(WeightsError, match="timm's weights of test_resnet could not be fetched: no connection; "):
        backbones["timm/test_resnet"].build(SIZE, True, weights="imagenet")
