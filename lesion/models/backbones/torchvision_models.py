"""Every torchvision classification model by its own name, cut into stages before its pooling."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torchvision import models

from lesion.errors import SettingError
from lesion.models.backbones.backbone import Backbone, BatchNorm, Normalisation, Trainable, backbones, colours_of
from lesion.models.backbones.freezing import Freezing
from lesion.models.cuts import PatchTokens, cut
from lesion.models.paper import OnPaper
from lesion.models.weights import load_pretrained, normalisation_of


# What it draws, once a process, must not show in the weights of that first model.
@cache
@torch.random.fork_rng(devices=())
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
        normalisation: Normalisation = "weights",
        trainable_stages: Trainable | None = None,
        trainable_layers: Trainable | None = None,
        batch_norm: BatchNorm = "train",
    ) -> Backbone:
        freezing = Freezing(trainable_stages, trainable_layers, batch_norm)
        ends, channels = structure(name, image_size)
        whole = _whole(name, image_size)
        if pretrained and weights != "none":
            load_pretrained(whole, name, weights)
        modules = cut(whole)
        stages = nn.ModuleList(nn.Sequential(*modules[a:b]) for a, b in pairwise((0, *ends)))
        colours = colours_of(normalisation, normalisation_of(name, weights))
        made = Backbone(stages, channels, colours, freezing)
        called = {id(tensor): key for key, tensor in whole.state_dict(keep_vars=True).items()}
        made.origin = {key: called[id(tensor)] for key, tensor in made.state_dict(keep_vars=True).items()}
        return made

    backbone.__doc__ = f"torchvision's {name}, cut before its pooling."
    backbones.add(name, backbone)


for _name in models.list_models(module=models):
    _register(_name)
