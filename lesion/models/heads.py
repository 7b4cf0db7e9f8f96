"""Heads: from a feature map to class logits.

A head is built from the channels of the map and the names of the classes and maps (N, channels, H, W) to
logits (N, classes), so that every head goes on every backbone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from torch import nn

from lesion.registry import Range, Registry

heads = Registry("head")

Dropout = Annotated[float, Range(0.0, 0.95)]


@heads.register
def linear(channels: int, classes: Sequence[str], *, dropout: Dropout = 0.2) -> nn.Module:
    """Global average pooling, dropout, one linear layer."""
    return nn.Sequential(_pool(), nn.Dropout(dropout), _linear(channels, len(classes)))


@heads.register
def dense(
    channels: int, classes: Sequence[str], *, units: Annotated[int, Range(1, 8192)] = 256, dropout: Dropout = 0.5
) -> nn.Module:
    """Global average pooling, a ReLU layer of `units`, dropout, one linear layer."""
    hidden = nn.Linear(channels, units)
    nn.init.kaiming_normal_(hidden.weight, nonlinearity="relu")
    nn.init.zeros_(hidden.bias)
    return nn.Sequential(_pool(), hidden, nn.ReLU(), nn.Dropout(dropout), _linear(units, len(classes)))


def _pool() -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())  # (N, C, H, W) → (N, C)


def _linear(inputs: int, classes: int) -> nn.Linear:
    # Small weights: at the first step every class is about as likely, and the backbone is not torn apart
    # by the gradient of confident nonsense.
    layer = nn.Linear(inputs, classes)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer
