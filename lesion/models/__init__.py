"""Models: a backbone, a head and their assembly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from lesion.models.backbones import Backbone, backbones
from lesion.models.heads import heads

if TYPE_CHECKING:
    from lesion.settings import Plan

__all__ = ["Backbone", "Model", "backbones", "build_model", "heads"]


class Model(nn.Module):
    """Images in [0, 1], RGB, (N, 3, S, S) → logits (N, classes).

    The model normalises by itself with what its weights expect, so that nobody else can do it wrong.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, backbone: Backbone, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self.register_buffer("mean", torch.tensor(backbone.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(backbone.std).view(1, 3, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:  # noqa: D102
        features = self.backbone((images - self.mean) / self.std)
        # The head in float32: rounded to bfloat16, one row in a thousand has two largest logits, and no decision.
        with torch.autocast(images.device.type, enabled=False):
            logits: torch.Tensor = self.head(features.float())
        return logits


def build_model(plan: Plan, classes: Sequence[str] | int, *, pretrained: bool = True) -> Model:
    """The model of a plan, its new layers initialised from torch's generator.

    `classes` are the names in order, or their number where no head asks for names.
    `pretrained=False` leaves the weights file unread, for a model whose trained weights are loaded next.
    Raises WeightsError and SettingError.
    """
    choice = plan.choices["backbone"]
    backbone = backbones[choice.name].build(plan.general["image_size"], pretrained, **choice.settings)
    head = plan.choices["head"]
    names = [f"class {n}" for n in range(classes)] if isinstance(classes, int) else classes
    return Model(backbone, heads[head.name].build(backbone.channels, names, **head.settings))
