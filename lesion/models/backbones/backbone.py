"""What every backbone is: stages that make a feature map, of which the last train and the first may be frozen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
from torch import nn

from lesion.models.backbones.freezing import Freezing
from lesion.registry import Range, Registry

backbones = Registry("backbone")

Triple = tuple[float, float, float]
Colours = tuple[Triple, Triple]
"""Mean and standard deviation of RGB in [0, 1]."""

Trainable = Annotated[int, Range(0, None)]
BatchNorm = Literal["train", "frozen"]
Normalisation = Literal["weights", "imagenet", "half", "unit"]
"""What images are normalised with: `weights` is what the weights expect; see `NORMALISATIONS` for the others."""

IMAGENET: Colours = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
NORMALISATIONS: Mapping[str, Colours] = {
    "imagenet": IMAGENET,
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "unit": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
"""By name: ImageNet's statistics; [0, 1] stretched to [-1, 1]; [0, 1] as it is. For weights files trained otherwise."""


class Backbone(nn.Module):
    """Images (N, 3, S, S), normalised → feature map (N, `channels`, S', S').

    `mean` and `std` (RGB, of images in [0, 1]) are what its weights were trained with; `origin` tells what its tensors
    are called in the library it comes from, and is empty for one of our own. Raises SettingError when more is to train
    than there is.
    """

    stages: Sequence[nn.Module] | nn.ModuleList
    origin: Mapping[str, str]

    def __init__(
        self, stages: Sequence[nn.Module] | nn.ModuleList, channels: int, colours: Colours, freezing: Freezing
    ) -> None:
        super().__init__()
        self.stages, self.channels, self.origin = stages, channels, {}
        self.mean, self.std = colours
        # In a tuple: they have their place among the modules already.
        self._still = tuple(freezing.apply(list(stages)))

    def forward(self, images: torch.Tensor) -> torch.Tensor:  # noqa: D102
        for stage in self.stages:
            images = stage(images)
        return images

    @property
    def still(self) -> bool:
        """Whether nothing in it ever changes, so that an image has the same map in every epoch: all of it is frozen."""
        kept = {id(module) for module in self._still}
        inside = (module for stage in self.stages for module in stage.modules())
        return not any(p.requires_grad for p in self.parameters()) and all(id(module) in kept for module in inside)

    def train(self, mode: bool = True) -> Backbone:
        """As in torch, but what is frozen stays in evaluation mode.

        Otherwise the statistics of frozen layers drift and their dropout goes on.
        """
        super().train(mode)
        for module in self._still:
            module.training = False
        return self


def colours_of(normalisation: str, own: Colours) -> Colours:
    """Mean and standard deviation of the setting `normalisation`; `own` are those of the weights."""
    return own if normalisation == "weights" else NORMALISATIONS[normalisation]
