"""Cross entropy, plain and weighted by class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from lesion.classes import ClassCounts
from lesion.losses.base import Loss, MeanLoss, Smoothing, losses
from lesion.registry import Range


@losses.register
def cross_entropy(classes: ClassCounts, *, label_smoothing: Smoothing = 0.0) -> Loss:
    """Categorical cross entropy, with label smoothing (Szegedy et al. 2016, arXiv:1512.00567, section 7)."""
    return CrossEntropy(label_smoothing)


@losses.register(corrects=lambda settings: settings.get("exponent", 1.0) != 0.0)
def weighted_cross_entropy(
    classes: ClassCounts,
    *,
    exponent: Annotated[float, Range(0.0, 2.0)] = 1.0,
    label_smoothing: Smoothing = 0.0,
    counts: Literal["drawn", "original"] = "drawn",
) -> Loss:
    """Cross entropy weighted by class: w_c = (N / (K n_c))^exponent.

    Exponent 0 is plain cross entropy, 1 the inverse frequency. The weighted terms are averaged over their
    weights, as in ``torch.nn.CrossEntropyLoss``. The counts n are those of the training part as it is `drawn`, so that
    weights do not correct what a resampler has corrected; with `original` they do.
    """
    weights = class_weights(classes.drawn if counts == "drawn" else classes.original, exponent)
    return WeightedCrossEntropy(torch.from_numpy(weights), label_smoothing)


@dataclass(frozen=True, eq=False)
class CrossEntropy(MeanLoss):
    """-log p of the true class, its target smoothed towards all classes."""

    label_smoothing: float = 0.0

    def terms(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:  # noqa: D102
        return F.cross_entropy(logits, labels, reduction="none", label_smoothing=self.label_smoothing)


@dataclass(frozen=True, eq=False)
class WeightedCrossEntropy(MeanLoss):
    """Cross entropy whose terms weigh what the true class weighs; `weights` (classes,) float64."""

    weights: torch.Tensor
    label_smoothing: float = 0.0

    def terms(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:  # noqa: D102
        weights = self.weights.to(logits)
        return F.cross_entropy(logits, labels, weights, reduction="none", label_smoothing=self.label_smoothing)

    def masses(self, labels: torch.Tensor) -> torch.Tensor:  # noqa: D102
        return self.weights.to(labels.device, torch.float32)[labels]


def class_weights(class_counts: NDArray[np.int64], exponent: float = 1.0) -> NDArray[np.float64]:
    """Weights (N / (K n_c))^exponent of K classes, N images in all; a class without images has weight 0.

    >>> class_weights(np.array([374, 254, 1372])).round(4)
    array([1.7825, 2.6247, 0.4859])
    """
    counts = np.asarray(class_counts, dtype=np.float64)
    inverse = np.divide(counts.sum(), len(counts) * counts, out=np.zeros_like(counts), where=counts > 0)
    weights: NDArray[np.float64] = np.where(counts > 0, inverse**exponent, 0.0)
    return weights
