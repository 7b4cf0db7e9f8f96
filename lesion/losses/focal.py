"""The focal loss: examples that are easy already count for less."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F

from lesion.classes import ClassCounts
from lesion.losses.base import Gamma, Loss, MeanLoss, losses
from lesion.registry import Range


@losses.register
def focal(classes: ClassCounts, *, gamma: Gamma = 2.0, alpha: Annotated[float, Range(0.0, 100.0)] = 1.0) -> Loss:
    """Focal loss: mean of -α (1 - p_t)^γ log p_t (Lin et al. 2017, arXiv:1708.02002, equation 5)."""
    return Focal(gamma, alpha)


@dataclass(frozen=True, eq=False)
class Focal(MeanLoss):
    """-α (1 - p_t)^γ log p_t; with γ = 0 and α = 1 it is cross entropy."""

    gamma: float
    alpha: float = 1.0

    def terms(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:  # noqa: D102
        log_p = F.log_softmax(logits, dim=1).gather(1, labels[:, None]).squeeze(1)  # (N,)
        # -expm1(log p) is 1 - p without the cancellation that breaks the gradient of p near 1.
        doubt = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)
        return -self.alpha * doubt**self.gamma * log_p
