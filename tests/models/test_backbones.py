"""Backbones against torchvision's own forward pass, and what their stages are."""

import pytest
import torch
from torch import nn
from torchvision import models

from lesion.errors import SettingError
from lesion.models import build_model
from lesion.models.backbones import backbones, structure, timm_models
from lesion.models.cuts import cut
from lesion.models.paper import OnPaper
from lesion.models.weights import normalisation_of
from lesion.settings import resolve
from search.space.vocabulary import build_on_paper


def small_family_members():
    """One model of each large family, with few layers: whole models are in the slow test."""
    stages = [models.convnext.CNBlockConfig(8, 16, 1), models.convnext.CNBlockConfig(16, None, 1)]
    return {
        "resnet": models.ResNet(models.resnet.Bottleneck, [1, 1, 1, 1]),
        "densenet": models.DenseNet(growth_rate=4, block_config=(2, 2), num_init_features=8),
        "convnext": models.ConvNeXt(stages, stochastic_depth_prob=0.1),
        "swin": models.SwinTransformer([4, 4], 8, [1, 1], [1, 2], [2, 2]),
        "vit": models.VisionTransformer(32, 8, num_layers=4, num_heads=2, hidden_dim=16, mlp_dim=32),
        "maxvit": models.MaxVit((64, 64), 8, 2, [8, 16], [1, 1], 8, stochastic_depth_prob=0.1),
        "regnet": models.RegNet(models.regnet.BlockParams([1, 1], [8, 16], [8, 8], [1.0, 1.0], [2, 2], se_ratio=0.25)),
    }


def shake(model):
    """Random biases, scales and statistics, so that no layer does nothing."""
    generator = torch.Generator().manual_seed(0)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point() and tensor.ndim in (1, 3):
            tensor.mul_(0.8 + 0.4 * torch.rand(tensor.shape, generator=generator))
            tensor.add_(0.1 * torch.rand(tensor.shape, generator=generator))
    return model.eval()


def input_of(module, run):
    """What `module` is given while `run` runs."""
    given = []
    hook = module.register_forward_pre_hook(lambda _, arguments: given.append(arguments[0]))
    run()
    hook.remove()
    return given[-1]


def own_map(model, images):
    """What torchvision's `model` computes before it pools, or its mean over places where pooling is no module."""
    if isinstance(model, models.VisionTransformer):
        hidden = []
        hook = model.encoder.register_forward_hook(lambda *_: hidden.append(_[-1]))
        model(images)
        hook.remove()
        side = images.shape[2] // model.patch_size
        return hidden[0][:, 1:].transpose(1, 2).reshape(len(images), -1, side, side)
    named = dict(model.named_children())
    last = named.get("avgpool") or named.get("classifier") or named["fc"]
    return input_of(last, lambda: model(images))


def check(model, images, stages):
    """The stages give, to the bit, what the model computes; where only its mean is seen, that to rounding."""
    with torch.no_grad():
        expected, x = own_map(model, images.clone()), images.clone()
        normalisation_of_convnext = stages.pop() if isinstance(model, models.ConvNeXt) else None
        for stage in stages:
            x = stage(x)
    assert x.shape[1] == expected.shape[1]
    if expected.ndim == 4:
        assert torch.equal(x, expected)
    else:
        torch.testing.assert_close(x.mean(dim=(2, 3)), expected, rtol=1e-5, atol=1e-6)
    assert x.std() > 1e-3
    if normalisation_of_convnext is not None:
        assert normalisation_of_convnext(x)[:, :, 0, 0].mean(dim=1).abs().max() < 1


@pytest.mark.parametrize("family", ["resnet", "densenet", "convnext", "swin", "vit", "maxvit", "regnet"])
def test_small_models_of_every_large_family_are_cut_at_their_own_map(family):
    torch.manual_seed(0)
    model = shake(small_family_members()[family])
    side = 64 if family in ("densenet", "maxvit") else 32
    check(model, torch.randn(2, 3, side, side), cut(model))


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "squeezenet1_1", "mnasnet0_5", "mobilenet_v3_small"])
def test_small_backbones_give_the_map_of_torchvision_from_a_file_of_its_layout(name, tmp_path):
    compare(name, 64, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet18", 64), ("mobilenet_v2", 64), ("densenet121", 64), ("efficientnet_b0", 64), ("convnext_tiny", 64),
        ("swin_t", 64), ("swin_v2_t", 64), ("vit_b_16", 32), ("googlenet", 64), ("inception_v3", 96),
        ("regnet_y_400mf", 64), ("vgg11", 64), ("alexnet", 64), ("maxvit_t", 224),
    ],
)  # fmt: skip
def test_backbones_give_the_map_of_torchvision_from_a_file_of_its_layout(name, size, tmp_path):
    compare(name, size, tmp_path)


def compare(name, size, folder):
    torch.manual_seed(0)
    options = {"image_size": size} if name.startswith("vit") else {}
    if name in ("googlenet", "inception_v3"):
        options |= {"init_weights": False}
    model = shake(models.get_model(name, weights=None, **options))
    file = folder / "weights.pth"
    # Without the large layers of a VGG's classifier: they may be missing.
    torch.save({key: tensor for key, tensor in model.state_dict().items() if tensor.numel() < 2**23}, file)
    backbone = backbones[name].build(size, True, weights=str(file)).eval()
    stages = [module for stage in backbone.stages for module in stage]
    check(model, torch.randn(2, 3, size, size), stages)
    ends, channels = structure(name, size)
    assert (len(stages), channels) == (ends[-1] - (name == "convnext_tiny"), backbone.channels)


@pytest.mark.parametrize(("name", "stages"), [("resnet50", 5), ("mobilenet_v2", 5), ("vgg16", 5), ("vit_b_16", 4)])
def test_stages_end_where_the_map_shrinks(name, stages):
    ends, _ = structure(name, 224)
    assert len(ends) == stages
    assert list(ends) == sorted(set(ends))


@pytest.mark.parametrize(
    ("name", "size"), [("vit_b_32", 48), ("inception_v3", 64), ("squeezenet1_1", 16), ("maxvit_t", 64)]
)
def test_sizes_that_a_backbone_cannot_take(name, size):
    with pytest.raises(SettingError, match=f"backbone {name} cannot take images of {size} pixels: "):
        structure(name, size)


def test_more_stages_than_there_are():
    with pytest.raises(SettingError, match="trainable_stages is 9, but the backbone has 4 stages"):
        backbones["shufflenet_v2_x0_5"].build(32, False, trainable_stages=9)


@pytest.mark.parametrize("trained", [0, 1, 3, 4, None])
def test_the_last_stages_train(trained):
    backbone = backbones["shufflenet_v2_x0_5"].build(32, False, trainable_stages=trained)
    count = 4 if trained is None else trained
    training = [any(p.requires_grad for p in stage.parameters()) for stage in backbone.stages]
    assert training == [False] * (4 - count) + [True] * count
    backbone.train()
    modes = [{module.training for module in stage.modules()} for stage in backbone.stages]
    assert modes == [{False}] * (4 - count) + [{True}] * count


def test_frozen_batch_norm_stays_in_evaluation_while_its_scale_trains():
    backbone = backbones["shufflenet_v2_x0_5"].build(32, False, batch_norm="frozen").train()
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)
    assert all(norm.weight.requires_grad for norm in norms)
    assert backbone.stages.training


def test_a_model_normalises_by_itself():
    torch.manual_seed(0)
    model = build_model(resolve({"image_size": 32, "backbone": "squeezenet1_1"}), 3).eval()
    images = torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(part).view(3, 1, 1) for part in normalisation_of("squeezenet1_1", "none"))
    torch.testing.assert_close(model(images), model.head(model.backbone((images - mean) / std)))
    assert not torch.allclose(model(images), model.head(model.backbone(images)))


def test_the_head_computes_in_float32_under_autocast():
    model = build_model(resolve({"image_size": 32, "backbone": "squeezenet1_1"}), 3).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = model(torch.rand(2, 3, 32, 32))
    assert logits.dtype is torch.float32
    assert not torch.equal(logits, logits.bfloat16().float())


@pytest.mark.parametrize("name", ["regnet_y_128gf", "vit_h_14", "swin_t"])
def test_the_largest_models_fit_on_paper(name):
    with OnPaper():
        model = build_model(resolve({"image_size": 224, "backbone": name}), 3, pretrained=False)
    assert {parameter.device.type for parameter in model.backbone.parameters() if parameter.numel() > 1e5} == {"meta"}
    assert len(model.backbone.stages) >= 4


def test_a_space_file_with_a_regnet_is_checked():
    build_on_paper({"image_size": 128, "backbone": "regnet_y_400mf"})
    with pytest.raises(SettingError, match="cannot take images of 100 pixels"):
        build_on_paper({"image_size": 100, "backbone": "vit_b_16"})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["swin_t", "timm/swin_tiny_patch4_window7_224"])
def test_the_first_model_of_a_process_begins_with_the_weights_of_every_other(name):
    structure.cache_clear()
    timm_models.structure.cache_clear()
    sums = []
    for _ in range(2):
        torch.manual_seed(3)
        model = build_model(resolve({"image_size": 64, "backbone": name}), 3, pretrained=False)
        sums.append(float(sum(parameter.detach().double().sum() for parameter in model.parameters())))
    assert sums[0] == sums[1]
