"""The class-balanced loss: a class weighs by the effective number of its images, which overlap the more there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from lesion.classes import ClassCounts
from lesion.losses.base import Gamma, Loss, MeanLoss, losses
from lesion.losses.entropy import CrossEntropy
from lesion.losses.focal import Focal
from lesion.registry import Range


@losses.register(corrects=lambda settings: settings.get("beta", 0.999) != 0.0)
def class_balanced(
    classes: ClassCounts,
    *,
    beta: Annotated[float, Range(0.0, 0.99999)] = 0.999,
    of: Literal["cross_entropy", "focal"] = "cross_entropy",
    gamma: Gamma = 2.0,
) -> Loss:
    """Mean of w_c × loss, w_c ∝ (1 - β) / (1 - β^n_c) with mean 1 (Cui et al. 2019, arXiv:1901.05555, equation 10).

    n_c are the images of a class in the training part as drawn. β = 0 weighs all classes alike, β near 1 by the
    inverse frequency. `gamma` is of the focal loss, and has no part in cross entropy.
    """
    base = CrossEntropy() if of == "cross_entropy" else Focal(gamma)
    return ClassBalanced(torch.from_numpy(effective_weights(classes.drawn, beta)), base)


@dataclass(frozen=True, eq=False)
class ClassBalanced(MeanLoss):
    """Terms of `base` times the weight of the true class (classes,); their plain mean, as in the paper's program."""

    weights: torch.Tensor
    base: MeanLoss

    def terms(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:  # noqa: D102
        return self.weights.to(logits)[labels] * self.base.terms(logits, labels)


def effective_weights(class_counts: NDArray[np.int64], beta: float) -> NDArray[np.float64]:
    """Weights (1 - β) / (1 - β^n), scaled to a mean of 1 over the classes that have images; 0 for the others.

    >>> effective_weights(np.array([1, 2, 0]), 0.5).round(3)
    array([1.2, 0.8, 0. ])
    """
    counts = np.asarray(class_counts, dtype=np.float64)
    there = counts > 0
    weights = np.divide(1 - beta, 1 - beta**counts, out=np.zeros_like(counts), where=there)
    scaled: NDArray[np.float64] = weights * there.sum() / weights.sum()
    return scaled
