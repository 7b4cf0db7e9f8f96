"""Exponential moving average of a model's weights, which predicts better than the last weights do."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy

import torch

from lesion.models import Model


class WeightAverage:
    """Average of the weights and batch-norm statistics: a ← d·a + (1 - d)·w after each step.

    d = min(decay, (1 + step) / (10 + step)), so that the first steps do not hold on to the initial weights
    (the warm-up of TensorFlow's ExponentialMovingAverage; Polyak & Juditsky 1992 for averaging itself).
    """

    def __init__(self, model: Model, decay: float) -> None:
        self.model = deepcopy(model).requires_grad_(False).eval()
        self._decay = decay

    @torch.no_grad()
    def update(self, model: Model, step: int) -> None:
        """Take in the weights after optimizer step `step`, counted from 0."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for average, now in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if average.is_floating_point():
                average.lerp_(now, 1 - decay)
            else:
                average.copy_(now)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The averaged weights."""
        return self.model.state_dict()

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on from averaged weights."""
        self.model.load_state_dict(state)
