"""Logit adjustment: the frequency of a class is added to its logit while training, and so need not be learnt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F

from lesion.classes import ClassCounts
from lesion.losses.base import Loss, MeanLoss, losses
from lesion.registry import Range


@losses.register(corrects=lambda settings: settings.get("tau", 1.0) != 0.0)
def logit_adjusted(classes: ClassCounts, *, tau: Annotated[float, Range(0.0, 4.0)] = 1.0) -> Loss:
    """Cross entropy of the logits + τ log π, π the shares of the classes (Menon et al. 2021, arXiv:2007.07314, eq. 10).

    With τ = 1 the minimum of the loss is the minimum of the balanced error; 0 is plain cross entropy. The shares are
    of the training part as drawn; a class without an image is given one, for its logit would be pushed by -∞.
    """
    counts = np.maximum(classes.drawn, 1)
    return LogitAdjusted(torch.from_numpy(tau * np.log(counts / counts.sum())))


@dataclass(frozen=True, eq=False)
class LogitAdjusted(MeanLoss):
    """Cross entropy of shifted logits; `shift` (classes,) float64."""

    shift: torch.Tensor

    def terms(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:  # noqa: D102
        return F.cross_entropy(logits + self.shift.to(logits), labels, reduction="none")
