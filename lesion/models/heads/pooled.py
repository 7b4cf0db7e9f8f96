"""Heads that pool the map to a vector."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import torch
from torch import nn

from lesion.models.heads.parts import Dropout, Units, average, classifier, heads, relu_layer
from lesion.registry import Range


@heads.register
def linear(channels: int, classes: Sequence[str], *, dropout: Dropout = 0.2) -> nn.Module:
    """Global average pooling, dropout, one linear layer."""
    return nn.Sequential(average(), nn.Dropout(dropout), classifier(channels, classes))


@heads.register
def dense(channels: int, classes: Sequence[str], *, units: Units = 256, dropout: Dropout = 0.5) -> nn.Module:
    """Global average pooling, a ReLU layer of `units`, dropout, one linear layer."""
    return nn.Sequential(average(), *relu_layer(channels, units), nn.Dropout(dropout), classifier(units, classes))


@heads.register
def multi_sample_dropout(
    channels: int, classes: Sequence[str], *, samples: Annotated[int, Range(1, 64)] = 5, dropout: Dropout = 0.5
) -> nn.Module:
    """Global average pooling and one linear layer under `samples` dropout masks at once; their logits are averaged.

    After Inoue 2019, arXiv:1905.09788, who averages the losses; the SIIM-ISIC 2020 winners average the logits.
    """
    return nn.Sequential(average(), MultiSampleDropout(samples, dropout), classifier(channels, classes))


@heads.register
def generalised_pooling(
    channels: int,
    classes: Sequence[str],
    *,
    pooling: Literal["average_and_max", "mixed", "generalised_mean"] = "average_and_max",
    power: Annotated[float, Range(1.0, 20.0)] = 3.0,
    dropout: Dropout = 0.2,
) -> nn.Module:
    """Pooling between average and maximum, dropout, one linear layer.

    pooling: `average_and_max` has both side by side; `mixed` a learnt mean of the two, the same for all channels (Lee
    et al. 2016, arXiv:1509.08985); `generalised_mean` (mean of xᵖ)^(1/p) of what is positive, p learnt from `power` on
    (Radenović et al. 2019, arXiv:1711.02512): 1 is the average, ∞ the maximum.
    """
    pools: dict[str, Callable[[], nn.Module]] = {
        "average_and_max": AverageAndMax,
        "mixed": Mixed,
        "generalised_mean": lambda: GeneralisedMean(power),
    }
    width = 2 * channels if pooling == "average_and_max" else channels
    return nn.Sequential(pools[pooling](), nn.Dropout(dropout), classifier(width, classes))


class MultiSampleDropout(nn.Module):
    """The mean of a vector under several dropout masks.

    A linear layer behind it gives the mean of the logits that it would give under each.
    """

    def __init__(self, samples: int, dropout: float) -> None:
        super().__init__()
        self.samples, self.dropout = samples, nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        masked: torch.Tensor = self.dropout(x.expand(self.samples, *x.shape))
        return masked.mean(dim=0)


class AverageAndMax(nn.Module):
    """(N, C, H, W) → (N, 2 C): averages, then maxima."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        return torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1)


class Mixed(nn.Module):
    """(N, C, H, W) → (N, C): α maximum + (1 − α) average; α = σ(`balance`) is learnt and starts at a half."""

    def __init__(self) -> None:
        super().__init__()
        self.balance = nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        return torch.lerp(x.mean(dim=(2, 3)), x.amax(dim=(2, 3)), self.balance.sigmoid())


class GeneralisedMean(nn.Module):
    """(N, C, H, W) → (N, C): (mean of xᵖ)^(1/p) of x where it is above 1e-6; p = exp(`log_power`) is learnt."""

    def __init__(self, power: float) -> None:
        super().__init__()
        self.log_power = nn.Parameter(torch.tensor(math.log(power)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        p, x = self.log_power.exp(), x.clamp_min(1e-6)
        # In parts of the largest, which is 1: large powers of large numbers overflow.
        largest = x.detach().amax(dim=(2, 3), keepdim=True)
        mean = (x / largest).pow(p).mean(dim=(2, 3))
        return largest[:, :, 0, 0] * mean.pow(1 / p)
