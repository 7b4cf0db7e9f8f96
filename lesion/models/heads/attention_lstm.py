"""The attention-LSTM head of system B: an LSTM reads the places of the map, attention weighs what it found."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from lesion.models.heads.channel_attention import ChannelAttention
from lesion.models.heads.parts import Dropout, Reduction, Units, classifier, heads, relu_layer, remember, tokens_of


@heads.register
def attention_lstm(
    channels: int,
    classes: Sequence[str],
    *,
    hidden: Units = 512,
    units: Units = 512,
    reduction: Reduction = 8,
    dropout: Dropout = 0.5,
) -> nn.Module:
    """Channel attention, an LSTM over the places in row order, dot-product attention, a ReLU layer (system B).

    hidden: width of the LSTM's state and of keys and values. units: of the ReLU layer. reduction: of the channel
    attention's bottleneck. With the defaults on ResNet-50 it is the network of system B, parameter for parameter.
    """
    return AttentionLSTM(channels, classes, hidden, units, reduction, dropout)


class AttentionLSTM(nn.Module):
    """(N, C, H, W) → logits (N, classes); `attention` (N, 1, H, W) is the mean weight that a place was given."""

    attention: torch.Tensor | None = None

    def __init__(
        self, channels: int, classes: Sequence[str], hidden: int, units: int, reduction: int, dropout: float
    ) -> None:
        super().__init__()
        self.channel_attention = ChannelAttention(channels, reduction)
        self.start = nn.Linear(channels, 2 * hidden)
        self.lstm = nn.LSTM(channels, hidden, batch_first=True)
        self.values = nn.Linear(channels, hidden)
        self.classify = nn.Sequential(
            relu_layer(hidden + channels, units), nn.Dropout(dropout), classifier(units, classes)
        )
        remember(self.lstm)

    def forward(self, features: torch.Tensor) -> torch.Tensor:  # noqa: D102
        tokens = tokens_of(self.channel_attention(features))  # (N, L, C)
        mean = tokens.mean(dim=1)
        hidden, cell = self.start(mean).tanh().chunk(2, dim=1)
        self.lstm.flatten_parameters()  # a copied model's are scattered, and a GPU would warn at each pass
        outputs, _ = self.lstm(tokens, (hidden[None].contiguous(), cell[None].contiguous()))  # (N, L, hidden)
        values = self.values(tokens)  # (N, L, hidden): the keys as well
        weights = (outputs @ values.transpose(1, 2)).softmax(dim=2)  # (N, L, L), unscaled
        self.attention = weights.detach().mean(dim=1).view(features.shape[0], 1, *features.shape[2:])
        context = (weights @ values).mean(dim=1)  # (N, hidden)
        logits: torch.Tensor = self.classify(torch.cat([context, mean], dim=1))
        return logits
