"""Attention to channels and places that a state asks for: the eyes of the taxonomy decoder."""

from __future__ import annotations

import torch
from torch import nn


class StateAttention(nn.Module):
    """What P states see of an image's places: tokens (N, L, D), state (N, P, S) → (N, P, D), weights (N, P, L).

    Barata et al. 2021, doi:10.1016/j.patcog.2020.107413. Channels: β = σ(expand(tanh(c + query(state)))) with
    c = ReLU(W average) + ReLU(W maximum), and X' = β ⊙ X. Places: α = softmax of score(tanh(X' + place(state))); what
    is seen is Σ α X'. With `narrow` 0 channels are left as they are, or else it is the width of c.
    """

    def __init__(self, channels: int, state: int, narrow: int, dropout: float) -> None:
        super().__init__()
        self.squeeze = nn.Sequential(nn.Linear(channels, narrow), nn.ReLU()) if narrow else None
        self.query = nn.Linear(state, narrow) if narrow else None
        self.expand = nn.Linear(narrow, channels) if narrow else None
        self.place = nn.Linear(state, channels)
        self.dropout = nn.Dropout(dropout)
        self.score = nn.Linear(channels, 1)

    def forward(self, tokens: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: D102
        shown = self._weigh_channels(tokens, state)  # (N, P or 1, L, D)
        judged = self.dropout(torch.tanh(shown + self.place(state)[:, :, None]))  # (N, P, L, D)
        weights = self.score(judged).squeeze(3).softmax(dim=2)  # (N, P, L)
        seen = weights[:, :, None] @ shown  # (N, P, 1, D)
        return seen.squeeze(2), weights

    def _weigh_channels(self, tokens: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        if self.squeeze is None or self.query is None or self.expand is None:
            return tokens[:, None]
        squeezed = self.squeeze(tokens.mean(dim=1)) + self.squeeze(tokens.amax(dim=1))  # (N, narrow)
        gate = torch.sigmoid(self.expand(torch.tanh(squeezed[:, None] + self.query(state))))  # (N, P, D)
        return tokens[:, None] * gate[:, :, None]
