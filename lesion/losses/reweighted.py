"""Any loss with class weights that came from balancing."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from lesion.losses.base import Loss, MeanLoss


def weighted(loss: Loss, class_weights: NDArray[np.float64]) -> Loss:
    """`loss` whose every example weighs what its class does, beside what it weighs anyhow; weights (classes,)."""
    return _Reweighted(loss, torch.from_numpy(class_weights))


class _Reweighted(MeanLoss):
    def __init__(self, loss: Loss, class_weights: torch.Tensor) -> None:
        self.spells, self._loss, self._weights = loss.spells, loss, class_weights

    def terms(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        terms = self._loss.terms(logits, labels)
        return terms * self._weights.to(terms)[labels]

    def masses(self, labels: torch.Tensor) -> torch.Tensor:
        masses = self._loss.masses(labels)
        return masses * self._weights.to(masses)[labels]
