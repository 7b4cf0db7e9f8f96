"""Models: a backbone, what is known of the patient, a head, and their assembly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from lesion.metadata import WIDTH, nothing_known
from lesion.models.backbones import Backbone, backbones
from lesion.models.heads import heads
from lesion.models.metadata import metadatas

if TYPE_CHECKING:
    from lesion.settings import Plan

__all__ = ["Backbone", "Model", "backbones", "build_model", "heads", "metadatas"]


class Model(nn.Module):
    """Images in [0, 1], RGB, (N, 3, S, S) → logits (N, classes).

    The model normalises by itself with what its weights expect, so that nobody else can do it wrong. `metadata`, where
    it has one, works what is known of the patient into the feature map.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, backbone: Backbone, metadata: nn.Module | None, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.metadata, self.head = backbone, metadata, head
        self.register_buffer("mean", torch.tensor(backbone.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(backbone.std).view(1, 3, 1, 1))

    def forward(
        self, images: torch.Tensor, people: torch.Tensor | None = None, labels: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Logits (N, classes) of images; arguments as of `classify`."""
        return self.classify(self.features(images), people, labels)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Feature map (N, channels, H, W) of images."""
        features: torch.Tensor = self.backbone((images - self.mean) / self.std)
        return features

    def classify(
        self, features: torch.Tensor, people: torch.Tensor | None = None, labels: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Logits of feature maps.

        `people` (N, width) is what `lesion.metadata` encodes, None if nothing is known of anybody; a model without
        metadata ignores it. With `labels`, a head that spells classes as words is led along the right word at each
        step, and gives (N, steps, words).
        """
        # The head in float32: rounded to bfloat16, one row in a thousand has two largest logits, and no decision.
        with torch.autocast(features.device.type, enabled=False):
            features = features.float()
            if self.metadata is not None:
                known = torch.from_numpy(nothing_known(len(features))).to(features) if people is None else people
                features = self.metadata(features, known)
            if labels is not None and self.spells:
                logits: torch.Tensor = self.head.spell(features, labels)  # type: ignore[operator]
            else:
                logits = self.head(features)
        return logits

    @property
    def added(self) -> nn.Module:
        """What stands on the backbone, and learns from nothing."""
        return nn.ModuleList(module for module in (self.metadata, self.head) if module is not None)

    @property
    def spells(self) -> bool:
        """Whether the head writes a class as a row of words."""
        return hasattr(self.head, "spell")


def build_model(plan: Plan, classes: Sequence[str] | int, *, pretrained: bool = True) -> Model:
    """The model of a plan, its new layers initialised from torch's generator.

    `classes` are the names in order, or their number where no head asks for names.
    `pretrained=False` leaves the weights file unread, for a model whose trained weights are loaded next.
    Raises WeightsError and SettingError.
    """
    backbone, metadata, head = (plan.choices[kind] for kind in ("backbone", "metadata", "head"))
    body = backbones[backbone.name].build(plan.general["image_size"], pretrained, **backbone.settings)
    joined = metadatas[metadata.name].build(body.channels, WIDTH, **metadata.settings)
    names = [f"class {n}" for n in range(classes)] if isinstance(classes, int) else classes
    channels = body.channels if joined is None else joined.channels
    return Model(body, joined, heads[head.name].build(channels, names, **head.settings))
