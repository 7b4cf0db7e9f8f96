"""Metadata branches: what is known of the patient, worked into the feature map before the head.

A branch is built from the channels of the map and the width of a row of `lesion.metadata` and is called as
``branch(features (N, C, H, W), metadata (N, width))``. It gives a map again, (N, `branch.channels`, H, W), so that
every head goes behind it.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import nn

from lesion.registry import Range, Registry

metadatas = Registry("metadata")


@metadatas.register
def none(channels: int, width: int) -> None:
    """The image alone."""


@metadatas.register
def metablock(channels: int, width: int) -> nn.Module:
    """MetaBlock: a gate for each channel and place, from image and patient (Pacheco & Krohling 2021)."""
    return MetaBlock(channels, width)


@metadatas.register
def concatenate(
    channels: int,
    width: int,
    *,
    units: Annotated[int, Range(1, 4096)] = 64,
    dropout: Annotated[float, Range(0.0, 0.95)] = 0.3,
) -> nn.Module:
    """A ReLU layer of `units` on the patient's data, appended to the map as constant channels."""
    return Concatenate(channels, width, units, dropout)


class MetaBlock(nn.Module):
    """σ(tanh(V ⊙ f(U)) + g(U)): V the map, U the metadata, f and g a linear layer with batch norm each.

    Pacheco & Krohling 2021, doi:10.1109/JBHI.2021.3062002. What comes out lies between 0 and 1 and takes
    the place of the map.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.channels = channels
        self.scale = nn.Sequential(nn.Linear(width, channels), nn.BatchNorm1d(channels))
        self.shift = nn.Sequential(nn.Linear(width, channels), nn.BatchNorm1d(channels))

    def forward(self, features: torch.Tensor, metadata: torch.Tensor) -> torch.Tensor:  # noqa: D102
        scale, shift = (part(metadata)[:, :, None, None] for part in (self.scale, self.shift))  # (N, C, 1, 1)
        return torch.sigmoid(torch.tanh(features * scale) + shift)


class Concatenate(nn.Module):
    """The map and, as further channels that are the same everywhere, what a small network makes of the metadata."""

    def __init__(self, channels: int, width: int, units: int, dropout: float) -> None:
        super().__init__()
        self.channels = channels + units
        self.network = nn.Sequential(nn.Linear(width, units), nn.ReLU(), nn.Dropout(dropout))

    def forward(self, features: torch.Tensor, metadata: torch.Tensor) -> torch.Tensor:  # noqa: D102
        more = self.network(metadata)[:, :, None, None].expand(-1, -1, *features.shape[2:])  # (N, units, H, W)
        return torch.cat([features, more], dim=1)
