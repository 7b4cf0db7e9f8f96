"""Pre-activation ResNets against their blocks written out."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lesion.models.backbones import backbones
from lesion.models.backbones.preact_resnet import Block, preact_stages
from lesion.models.counting import parameter_count
from lesion.models.paper import OnPaper


def shaken(module):
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.weight, part.bias, part.running_mean, part.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
    return module.eval()


def activated(norm, x):
    mean, var, scale, shift = (t.view(-1, 1, 1) for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias))
    return ((x - mean) / (var + norm.eps).sqrt() * scale + shift).clamp_min(0)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_basic_block(stride):
    block = shaken(Block(6, [(3, 8), (3, 8)], stride, first=False))
    norm, _, one, other, _, two = block.residual
    x = torch.randn(2, 6, 9, 9)
    between = F.conv2d(activated(norm, x), one.weight, stride=stride, padding=1)
    expected = F.conv2d(activated(other, between), two.weight, padding=1)
    expected = expected + F.conv2d(x, block.shortcut.weight, stride=stride)
    torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-5)


def test_a_bottleneck_halves_in_its_3x3_and_keeps_what_has_its_shape():
    layers = [m for m in Block(8, [(1, 2), (3, 2), (1, 8)], 2, first=False).residual if isinstance(m, nn.Conv2d)]
    assert [(m.kernel_size[0], m.stride[0]) for m in layers] == [(1, 1), (3, 2), (1, 1)]
    assert isinstance(Block(8, [(1, 2), (3, 2), (1, 8)], 1, first=False).shortcut, nn.Identity)


def test_only_the_very_first_block_begins_with_a_convolution():
    stages, _ = preact_stages([2, 2, 2, 2], bottleneck=False)
    blocks = [module for module in stages.modules() if isinstance(module, Block)]
    assert [isinstance(block.residual[0], nn.Conv2d) for block in blocks] == [True] + [False] * 7


def test_weights_begin_he_normal():
    torch.manual_seed(0)
    stages, _ = preact_stages([1, 1, 1, 1], bottleneck=True)
    for layer in (m for m in stages.modules() if isinstance(m, nn.Conv2d)):
        fan_in = layer.weight[0].numel()
        assert layer.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.1)


def parameters_of(blocks, bottleneck):
    """Convolutions and, for each, two numbers a channel of the batch norm before it; stem and end have one as well."""
    channels, total = 64, 7 * 7 * 3 * 64 + 2 * 64
    for group, (width, count) in enumerate(zip((64, 128, 256, 512), blocks, strict=True)):
        for number in range(count):
            if bottleneck:
                out = 4 * width
                total += width * (channels + 9 * width + out) + 2 * (channels + 2 * width)
            else:
                out = width
                total += 9 * width * (channels + width) + 2 * (channels + width)
            total -= 2 * channels if group == number == 0 else 0  # the first block has no norm before it
            total += channels * out if number == 0 and channels != out else 0  # the projection
            channels = out
    return total + 2 * channels


@pytest.mark.parametrize(
    ("depth", "blocks"),
    [(18, (2, 2, 2, 2)), (34, (3, 4, 6, 3)), (50, (3, 4, 6, 3)), (101, (3, 4, 23, 3)), (152, (3, 8, 36, 3))],
)
def test_depth_stages_and_parameters(depth, blocks):
    with OnPaper():
        backbone = backbones[f"preact_resnet{depth}"].build(224, False)
    assert len(backbone.stages) == 5
    assert backbone.channels == (512 if depth < 50 else 2048)
    in_blocks = [m for block in backbone.modules() if isinstance(block, Block) for m in block.residual.modules()]
    assert sum(isinstance(m, nn.Conv2d) for m in in_blocks) + 2 == depth  # with the stem and the classifier
    assert parameter_count(backbone) == parameters_of(blocks, depth >= 50)


def test_the_map_shrinks_thirty_two_fold_and_all_of_it_learns():
    torch.manual_seed(0)
    backbone = backbones["preact_resnet18"].build(64, False)
    x = torch.randn(2, 3, 64, 64)
    sides = []
    for stage in backbone.stages:
        x = stage(x)
        sides.append(x.shape[2])
    assert sides == [32, 16, 8, 4, 2]
    x.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() and p.grad.any() for p in backbone.parameters())
