"""Pre-activation ResNets for training from scratch, as system A does.

He et al. 2016, "Identity mappings in deep residual networks", arXiv:1603.05027: batch norm and ReLU stand before each
convolution, so that nothing stands on the way of the identity. There are no pretrained weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from lesion.models.backbones.backbone import (
    IMAGENET,
    Backbone,
    BatchNorm,
    Normalisation,
    Trainable,
    backbones,
    colours_of,
)
from lesion.models.backbones.freezing import Freezing

WIDTHS = (64, 128, 256, 512)
BASIC = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
BOTTLENECK = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Blocks of each group by depth: two 3×3 convolutions a block, or 1×1, 3×3 and 1×1 to four times the width."""


class Block(nn.Module):
    """BN-ReLU-convolution for each of `shapes`, added to the input, which is projected where its shape changes.

    `shapes` are (kernel, channels) of the convolutions; the first 3×3 one has the `stride`. The `first` block of all
    begins with its convolution, for the stem has normalised just before.
    """

    def __init__(self, inputs: int, shapes: Sequence[tuple[int, int]], stride: int, *, first: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels, left = inputs, stride
        for kernel, outputs in shapes:
            if layers or not first:
                layers += [nn.BatchNorm2d(channels), nn.ReLU()]
            step, left = (left, 1) if kernel == 3 else (1, left)
            layers.append(nn.Conv2d(channels, outputs, kernel, step, padding=kernel // 2, bias=False))
            channels = outputs
        self.residual = nn.Sequential(*layers)
        self.shortcut = (
            nn.Identity() if (stride, inputs) == (1, channels) else nn.Conv2d(inputs, channels, 1, stride, bias=False)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        added: torch.Tensor = self.shortcut(x) + self.residual(x)
        return added


def preact_stages(blocks: Sequence[int], *, bottleneck: bool) -> tuple[nn.ModuleList, int]:
    """Stem and four groups of blocks, He normal; with the channels of the map that they make."""
    stem = nn.Sequential(nn.Conv2d(3, 64, 7, 2, padding=3, bias=False), nn.BatchNorm2d(64), nn.ReLU())
    stages: list[list[nn.Module]] = [[stem]]
    channels = 64
    for group, (width, count) in enumerate(zip(WIDTHS, blocks, strict=True)):
        shapes = [(1, width), (3, width), (1, 4 * width)] if bottleneck else [(3, width), (3, width)]
        stage: list[nn.Module] = [] if group else [nn.MaxPool2d(3, 2, padding=1)]
        for number in range(count):
            stride = 2 if group and not number else 1
            stage.append(Block(channels, shapes, stride, first=not group and not number))
            channels = shapes[-1][1]
        stages.append(stage)
    stages[-1] += [nn.BatchNorm2d(channels), nn.ReLU()]
    whole = nn.ModuleList(nn.Sequential(*stage) for stage in stages)
    for module in whole.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
    return whole, channels


def _register(depth: int, blocks: Sequence[int], *, bottleneck: bool) -> None:
    def backbone(
        image_size: int,
        pretrained: bool,
        *,
        normalisation: Normalisation = "weights",
        trainable_stages: Trainable | None = None,
        trainable_layers: Trainable | None = None,
        batch_norm: BatchNorm = "train",
    ) -> Backbone:
        freezing = Freezing(trainable_stages, trainable_layers, batch_norm)
        stages, channels = preact_stages(blocks, bottleneck=bottleneck)
        return Backbone(stages, channels, colours_of(normalisation, IMAGENET), freezing)

    backbone.__doc__ = f"Pre-activation ResNet-{depth}, from scratch (He et al. 2016, arXiv:1603.05027)."
    backbones.add(f"preact_resnet{depth}", backbone)


def _register_all(depths: Mapping[int, Sequence[int]], *, bottleneck: bool) -> None:
    for depth, blocks in depths.items():
        _register(depth, blocks, bottleneck=bottleneck)


_register_all(BASIC, bottleneck=False)
_register_all(BOTTLENECK, bottleneck=True)
