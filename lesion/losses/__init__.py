"""Losses: from logits and labels to what is minimised.

A loss is built from the class counts of the training part, before balancing and after, so that a weight need never
correct what a resampler corrected already.
"""

from __future__ import annotations

import torch

from lesion.losses import class_balanced, cost_matrix, entropy, focal, logit_adjusted  # noqa: F401 - importing registers
from lesion.losses.base import Loss, MeanLoss, losses
from lesion.losses.entropy import class_weights

__all__ = ["Loss", "MeanLoss", "class_weights", "losses", "mass"]


def mass(loss: Loss, labels: torch.Tensor) -> float:
    """How much examples with these labels (N,) weigh in the mean that `loss` takes over a batch."""
    return float(loss.masses(labels).sum())
