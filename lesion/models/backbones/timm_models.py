"""timm's models, called ``timm/<name>`` or ``timm/<name>.<tag>``: those of them that yield a feature map.

timm is an extra: without it such a name is refused with the way to install it. A model is run whole, by its own
`forward_features`; its stages, which say what can be frozen, are found by watching it (`anatomy.py`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib import import_module
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lesion.errors import SettingError, WeightsError, unknown
from lesion.models.backbones.anatomy import Anatomy, dissect
from lesion.models.backbones.backbone import (
    IMAGENET,
    Backbone,
    BatchNorm,
    Colours,
    Normalisation,
    Trainable,
    backbones,
    colours_of,
)
from lesion.models.backbones.freezing import Freezing
from lesion.models.paper import OnPaper
from lesion.models.weights import SUFFIXES, adapt, fact, read_state
from lesion.registry import Component

PREFIX = "timm/"
Layout = Callable[[torch.Tensor], torch.Tensor]


class TimmBackbone(Backbone):
    """A timm model up to its feature map, brought to (N, C, H, W)."""

    def __init__(
        self, model: nn.Module, anatomy: Anatomy, layout: Layout, channels: int, colours: Colours, freezing: Freezing
    ) -> None:
        for name in anatomy.idle:  # the classifier and what else the map does not need
            setattr(model, name, nn.Identity())
        stages = [nn.ModuleList(map(model.get_submodule, stage)) for stage in anatomy.stages]
        inside = {id(parameter) for stage in stages for parameter in stage.parameters()}
        loose = [parameter for parameter in model.parameters() if id(parameter) not in inside]
        stages[0].insert(0, nn.ParameterList(loose))  # position embeddings and class tokens
        # In a tuple, for `model` has all of this already.
        super().__init__(tuple(stages), channels, colours, freezing)
        self.model, self._layout = model, layout
        self.origin = {f"model.{key}": key for key in model.state_dict()}

    def forward(self, images: torch.Tensor) -> torch.Tensor:  # noqa: D102
        return self._layout(self.model.forward_features(images))  # type: ignore[operator]


@cache
def family(name: str) -> Component | None:
    """The component of ``timm/<name>``; SettingError when timm is not installed or has no such model."""
    if not name.startswith(PREFIX):
        return None
    model_name = name.removeprefix(PREFIX)
    _config(model_name)

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
        anatomy, layout, channels = structure(model_name, image_size)
        model = _whole(model_name, image_size, pretrained=pretrained and weights == "imagenet")
        if pretrained and weights not in ("none", "imagenet"):
            _load(model, model_name, weights, anatomy)
        colours = colours_of(normalisation, _colours(model_name))
        return TimmBackbone(model, anatomy, layout, channels, colours, freezing)

    backbone.__doc__ = f"timm's {model_name}, up to its feature map."
    return Component("backbone", name, backbone)


backbones.add_family(family)


# What it draws, once a process, must not show in the weights of that first model.
@cache
@torch.random.fork_rng(devices=())
def structure(name: str, image_size: int) -> tuple[Anatomy, Layout, int]:
    """The anatomy of a model, how its features become a map (N, C, H, W), and C.

    Raises SettingError when the model cannot take images of this size or yields no map.
    """
    images = torch.empty(1, 3, image_size, image_size, device="meta")
    try:
        with OnPaper():
            model = _create(name, image_size).to("meta").eval()
        anatomy, features = dissect(model, model.forward_features, images)  # type: ignore[arg-type]
    except Exception as problem:  # whatever a thousand models raise
        raise SettingError(
            f"backbone {PREFIX}{name} cannot take images of {image_size} pixels, or cannot be built on paper: "
            f"{fact(problem)}"
        ) from problem
    layout = _layout(name, model, features)
    return anatomy, layout, layout(features).shape[1]


def _layout(name: str, model: nn.Module, features: Any) -> Layout:
    """How to make a map of what `forward_features` gives: a map already, its channels last, or tokens."""
    channels = model.num_features
    shape: tuple[int, ...] = tuple(getattr(features, "shape", ()))
    if len(shape) == 4 and shape[1] == channels and getattr(model, "output_fmt", "NCHW") != "NHWC":
        return _identity
    if len(shape) == 4 and shape[3] == channels:
        return _channels_first
    if len(shape) == 3 and shape[2] == channels and shape[1] > 1:
        # Tokens of the whole image, such as the class token, stand before those of its places.
        others = shape[1] - isqrt(shape[1]) ** 2
        others = getattr(model, "num_prefix_tokens", None) or others
        if isqrt(shape[1] - others) ** 2 == shape[1] - others:
            return partial(_grid, others=others)
    what = f"features of shape {shape}" if shape else f"a {type(features).__name__}"
    raise SettingError(f"backbone {PREFIX}{name} yields no feature map but {what}; take another model")


def _identity(features: torch.Tensor) -> torch.Tensor:
    return features


def _channels_first(features: torch.Tensor) -> torch.Tensor:
    return features.permute(0, 3, 1, 2).contiguous()


def _grid(tokens: torch.Tensor, others: int) -> torch.Tensor:
    tokens = tokens[:, others:]
    side = isqrt(tokens.shape[1])
    return tokens.transpose(1, 2).reshape(len(tokens), -1, side, side)


def _timm() -> Any:
    try:
        return import_module("timm")
    except ImportError as problem:
        raise SettingError(
            f"backbones called {PREFIX}… need timm, which is not installed: pip install 'lesion-search[timm]'"
        ) from problem


@cache
def _config(name: str) -> Any:
    """What timm says of the weights of a model; SettingError for a name or tag that it does not have."""
    timm = _timm()
    model, _, tag = name.partition(".")
    if not timm.is_model(model):
        raise SettingError(unknown("backbone", PREFIX + name, (PREFIX + known for known in timm.list_models())))
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{model}.*")]
    if tag and tag not in tags:
        raise SettingError(unknown(f"weights of {PREFIX}{model} tagged", tag, tags))
    return timm.get_pretrained_cfg(name)


def _colours(name: str) -> Colours:
    config = _config(name)
    if config is None:
        return IMAGENET
    (a, b, c), (d, e, f) = config.mean, config.std
    return (a, b, c), (d, e, f)


def _create(name: str, image_size: int, **options: Any) -> nn.Module:
    # Only those with positions for each place want to know, and the others do not take the argument.
    if getattr(_config(name), "fixed_input_size", False):
        options["img_size"] = image_size
    model: nn.Module = _timm().create_model(name, **options)
    return model


def _whole(name: str, image_size: int, *, pretrained: bool) -> nn.Module:
    if not pretrained:
        return _create(name, image_size)
    if not getattr(_config(name), "has_weights", False):
        raise WeightsError(f"timm has no pretrained weights of {name}; give a file, another tag, or weights: none")
    try:
        return _create(name, image_size, pretrained=True)
    except Exception as problem:  # no connection, a torn download, a full disk
        raise WeightsError(
            f"timm's weights of {name} could not be fetched: {fact(problem)}; give a file instead, or run once on a "
            "machine with a connection and copy its Hugging Face cache"
        ) from problem


def _load(model: nn.Module, name: str, weights: str, anatomy: Anatomy) -> None:
    """Load a file of timm's layout, older ones through timm's own translation; its classifier may differ."""
    if not weights.endswith(SUFFIXES):
        known = ("imagenet", "none")
        message = unknown(f"weights of {PREFIX}{name}", weights, known)
        raise WeightsError(f"{message}; a file ends in {', '.join(SUFFIXES)}")
    state: Mapping[str, torch.Tensor] = read_state(Path(weights))
    if translate := getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None):
        try:
            state = translate(dict(state), model)
        except Exception as problem:
            raise WeightsError(f"{weights} does not fit {PREFIX}{name}: {fact(problem)}") from problem
    idle = tuple(f"{child}." for child in anatomy.idle)
    body = {key for key in model.state_dict() if not key.startswith(idle)}
    adapt(model, PREFIX + name, state, body=body, where=weights)
