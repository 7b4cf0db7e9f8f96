"""What heads are made of: their registry, pooling, the last layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import nn

from lesion.registry import Range, Registry

heads = Registry("head")

Dropout = Annotated[float, Range(0.0, 0.95)]
Units = Annotated[int, Range(1, 8192)]
Reduction = Annotated[int, Range(1, 256)]


def average() -> nn.Module:
    """Global average pooling: (N, C, H, W) → (N, C)."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def classifier(inputs: int, outputs: Sequence[str]) -> nn.Linear:
    """The last layer, from `inputs` to a logit for each name.

    Small weights: at the first step every class is about as likely, and the backbone is not torn apart by the
    gradient of confident nonsense.
    """
    layer = nn.Linear(inputs, len(outputs))
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer


def relu_layer(inputs: int, units: int) -> nn.Sequential:
    """A linear layer with ReLU, He normal."""
    layer = nn.Linear(inputs, units)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)
    return nn.Sequential(layer, nn.ReLU())


def remember(lstm: nn.LSTM | nn.LSTMCell) -> None:
    """Initialise as Keras does: Glorot uniform, orthogonal where it recurs, biases 0, but 1 for the forget gate.

    torch draws the forget gate's bias around 0: half of what the state holds is lost at each step.
    """
    for name, tensor in lstm.named_parameters():
        if name.startswith("weight_hh"):
            nn.init.orthogonal_(tensor)
        elif name.startswith("weight_ih"):
            nn.init.xavier_uniform_(tensor)
        else:
            nn.init.zeros_(tensor)
        if name.startswith("bias_ih"):
            nn.init.ones_(tensor.detach()[lstm.hidden_size : 2 * lstm.hidden_size])


def tokens_of(features: torch.Tensor) -> torch.Tensor:
    """Places of a map in row order, (N, C, H, W) → (N, H W, C)."""
    return features.flatten(2).transpose(1, 2).contiguous()
