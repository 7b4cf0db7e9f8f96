"""Losses: from logits and labels to what is minimised.

A loss is built from the class counts of the training part, before balancing and after, so that a weight need never
correct what a resampler corrected already.
"""

from __future__ import annotations

from lesion.losses import class_balanced, cost_matrix, entropy, focal, logit_adjusted, path  # noqa: F401 - importing registers
from lesion.losses.base import Loss, MeanLoss, losses
from lesion.losses.entropy import class_weights
from lesion.losses.reweighted import weighted

__all__ = ["Loss", "MeanLoss", "class_weights", "losses", "weighted"]
