"""What a loss is: a term for each example, and what the example weighs in the mean of its batch.

A loss of its own gives `terms`, already weighted, and `masses` where examples do not all weigh one. The loss of a
batch is ``terms.sum() / masses.sum()``, so a batch that is cut into micro-batches has the loss of the whole.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Protocol

import torch

from lesion.registry import Range, Registry

losses = Registry("loss")

Smoothing = Annotated[float, Range(0.0, 0.9)]
Gamma = Annotated[float, Range(0.0, 10.0)]


class Loss(Protocol):
    """From logits (N, classes) and labels (N,), int64, to a scalar to be minimised."""

    @property
    def spells(self) -> bool:
        """Whether it wants the logits (N, steps, words) of each step from a head that spells classes as words."""

    def terms(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss of each example (N,), multiplied with what it weighs."""

    def masses(self, labels: torch.Tensor) -> torch.Tensor:
        """What each example weighs (N,), at least 0, on the device of `labels`."""

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss of the batch, ``terms.sum() / masses.sum()``."""


class MeanLoss(ABC):
    """A `Loss` by its `terms` alone: every example weighs one."""

    spells = False

    @abstractmethod
    def terms(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss of each example (N,), multiplied with what it weighs."""

    def masses(self, labels: torch.Tensor) -> torch.Tensor:
        """What each example weighs (N,)."""
        return torch.ones(len(labels), device=labels.device)

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss of the batch."""
        return self.terms(logits, labels).sum() / self.masses(labels).sum()
