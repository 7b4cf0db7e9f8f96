"""Backbones: every torchvision classification model by its own name, cut before its pooling.

A backbone is a row of stages. A stage ends where the map is about to shrink, so ResNet-50, MobileNetV2 and
VGG have five; a vision transformer, which never shrinks its map, has four of equal depth. `trainable_stages`
counts from the end: 1 trains the last stage alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
from torch import nn
from torchvision import models

from lesion.errors import SettingError
from lesion.models.cuts import PatchTokens, cut
from lesion.models.paper import OnPaper
from lesion.models.weights import load_pretrained, normalisation
from lesion.registry import Range, Registry

backbones = Registry("backbone")


class Backbone(nn.Module):
    """Images (N, 3, S, S), normalised → feature map (N, `channels`, S', S').

    `mean` and `std` (RGB, of images in [0, 1]) are what its weights were trained with.
    """

    def __init__(
        self,
        stages: Sequence[nn.Module],
        channels: int,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        *,
        trainable_stages: int | None,
        batch_norm: str,
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.channels, self.mean, self.std = channels, mean, std
        count = len(self.stages)
        if trainable_stages is not None and trainable_stages > count:
            raise SettingError(f"trainable_stages is {trainable_stages}, but the backbone has {count} stages")
        self.frozen = 0 if trainable_stages is None else count - trainable_stages
        self.batch_norm = batch_norm
        for stage in self.stages[: self.frozen]:
            stage.requires_grad_(False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:  # noqa: D102
        for stage in self.stages:
            images = stage(images)
        return images

    def train(self, mode: bool = True) -> Backbone:
        """As in torch, but frozen stages stay in evaluation mode, and so does frozen batch norm.

        Otherwise the statistics of frozen layers drift and their dropout goes on.
        """
        super().train(mode)
        for stage in self.stages[: self.frozen]:
            stage.eval()
        if self.batch_norm == "frozen":
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self


def _torchvision(
    name: str, image_size: int, pretrained: bool, weights: str, trainable_stages: int | None, batch_norm: str
) -> Backbone:
    ends, channels = structure(name, image_size)
    whole = _whole(name, image_size)
    if pretrained and weights != "none":
        load_pretrained(whole, name, weights)
    modules = cut(whole)
    stages = [nn.Sequential(*modules[a:b]) for a, b in pairwise((0, *ends))]
    mean, std = normalisation(name, weights)
    return Backbone(stages, channels, mean, std, trainable_stages=trainable_stages, batch_norm=batch_norm)


@cache
def structure(name: str, image_size: int) -> tuple[tuple[int, ...], int]:
    """Where the stages of a model end among its modules, and the channels of its map.

    Found on the meta device, where nothing is computed: a stage ends before a module that shrinks the map.
    Raises SettingError when the model cannot take images of this size.
    """
    try:
        with torch.no_grad():
            modules = cut(_skeleton(name, image_size))
            x = torch.empty(1, 3, image_size, image_size, device="meta")
            sides = [_side(x := module(x)) for module in modules]
    except (RuntimeError, ValueError, AssertionError) as problem:
        raise SettingError(f"backbone {name} cannot take images of {image_size} pixels: {problem}") from problem
    if isinstance(modules[0], PatchTokens):
        return _quarters(len(modules)), x.shape[1]
    ends = [i for i in range(1, len(sides)) if sides[i] < sides[i - 1]]
    # A pooling layer alone is no stage, it has nothing to train: it goes with a stage beside it.
    ends = [e for e in ends if any(True for module in modules[e:] for _ in module.parameters())]
    ends = [e for a, e in pairwise((0, *ends)) if any(True for module in modules[a:e] for _ in module.parameters())]
    return (*ends, len(modules)), x.shape[1]


def _skeleton(name: str, image_size: int) -> nn.Module:
    with OnPaper():
        return _whole(name, image_size).to("meta").eval()


def _side(x: torch.Tensor) -> int:
    """Shorter side of a map, whichever axis its channels are on; tokens count as one size."""
    if x.ndim == 3:
        return 1
    return min(x.shape[1:3]) if x.shape[1] == x.shape[2] else min(x.shape[2:4])


def _quarters(count: int) -> tuple[int, ...]:
    # First the patch embedding, last the norm and the map: the encoder layers between are cut in four.
    layers = count - 3
    return (*(1 + layers * q // 4 for q in (1, 2, 3)), count)


def _whole(name: str, image_size: int) -> nn.Module:
    options: dict[str, Any] = {"weights": None}
    if name.startswith("vit_"):
        options["image_size"] = image_size
    if name.startswith("maxvit"):
        options["input_size"] = (image_size, image_size)
    if name in ("googlenet", "inception_v3"):
        options |= {"aux_logits": False, "init_weights": False, "transform_input": False}
    model: nn.Module = models.get_model(name, **options)
    return model


def _register(name: str) -> None:
    def backbone(
        image_size: int,
        pretrained: bool,
        *,
        weights: str = "none",
        trainable_stages: Annotated[int, Range(0, None)] | None = None,
        batch_norm: Literal["train", "frozen"] = "train",
    ) -> Backbone:
        return _torchvision(name, image_size, pretrained, weights, trainable_stages, batch_norm)

    backbone.__doc__ = f"torchvision's {name}, cut before its pooling."
    backbones.add(name, backbone)


for _name in models.list_models(module=models):
    _register(_name)
