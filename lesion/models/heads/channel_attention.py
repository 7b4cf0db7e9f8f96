"""Channel attention: each channel of the map is weighed by what the image shows as a whole."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from lesion.models.heads.parts import Dropout, Reduction, average, classifier, heads


@heads.register
def channel_attention(
    channels: int, classes: Sequence[str], *, reduction: Reduction = 8, dropout: Dropout = 0.2
) -> nn.Module:
    """Channels weighed by a shared bottleneck (Woo et al. 2018), global average pooling, dropout, one linear layer."""
    return nn.Sequential(
        ChannelAttention(channels, reduction), average(), nn.Dropout(dropout), classifier(channels, classes)
    )


class ChannelAttention(nn.Module):
    """F ⊙ σ(B(average of F) + B(maximum of F)), one bottleneck B: C → C / r, ReLU → C.

    CBAM's channel attention (Woo et al. 2018, arXiv:1807.06521, equation 2). A map (N, C, H, W) stays one.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        narrow = max(1, channels // reduction)
        self.bottleneck = nn.Sequential(nn.Linear(channels, narrow), nn.ReLU(), nn.Linear(narrow, channels))

    def forward(self, features: torch.Tensor) -> torch.Tensor:  # noqa: D102
        mean, largest = features.mean(dim=(2, 3)), features.amax(dim=(2, 3))
        weights: torch.Tensor = self.bottleneck(mean) + self.bottleneck(largest)  # (N, C)
        return features * weights.sigmoid()[:, :, None, None]
