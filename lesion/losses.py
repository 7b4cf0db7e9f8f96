"""Losses: from logits (N, classes) and labels (N,) to a scalar.

A loss is built from the class counts of the training part as it is drawn (after balancing), so that a
weight never corrects what a resampler corrected already.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from lesion.registry import Range, Registry

losses = Registry("loss")

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Smoothing = Annotated[float, Range(0.0, 0.9)]


@losses.register
def cross_entropy(class_counts: NDArray[np.int64], *, label_smoothing: Smoothing = 0.0) -> Loss:
    """Categorical cross entropy, with label smoothing (Szegedy et al. 2016, arXiv:1512.00567, section 7)."""
    return lambda logits, labels: F.cross_entropy(logits, labels, label_smoothing=label_smoothing)


@losses.register(corrects=lambda settings: settings.get("exponent", 1.0) != 0.0)
def weighted_cross_entropy(
    class_counts: NDArray[np.int64],
    *,
    exponent: Annotated[float, Range(0.0, 2.0)] = 1.0,
    label_smoothing: Smoothing = 0.0,
) -> Loss:
    """Cross entropy weighted by class: w_c = (N / (K n_c))^exponent.

    Exponent 0 is plain cross entropy, 1 the inverse frequency. The weighted terms are averaged over their
    weights, as in ``torch.nn.CrossEntropyLoss``.
    """
    return _Weighted(torch.from_numpy(class_weights(class_counts, exponent)), label_smoothing)


@losses.register
def focal(
    class_counts: NDArray[np.int64],
    *,
    gamma: Annotated[float, Range(0.0, 10.0)] = 2.0,
    alpha: Annotated[float, Range(0.0, 100.0)] = 1.0,
) -> Loss:
    """Focal loss: mean of -α (1 - p_t)^γ log p_t (Lin et al. 2017, arXiv:1708.02002, equation 5)."""

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        log_p = F.log_softmax(logits, dim=1).gather(1, labels[:, None]).squeeze(1)  # (N,)
        # -expm1(log p) is 1 - p without the cancellation that breaks the gradient of p near 1.
        doubt = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)
        return (-alpha * doubt**gamma * log_p).mean()

    return loss


def mass(loss: Loss, labels: torch.Tensor) -> float:
    """How much examples with these labels (N,) weigh in the mean that `loss` takes over a batch.

    The loss of a batch is the mean of the losses of its parts, weighted by their mass.
    """
    return float(loss.weights[labels.cpu()].sum()) if isinstance(loss, _Weighted) else float(len(labels))


@dataclass(frozen=True)
class _Weighted:
    weights: torch.Tensor  # (classes,) float64
    label_smoothing: float

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits, labels, self.weights.to(logits), label_smoothing=self.label_smoothing)


def class_weights(class_counts: NDArray[np.int64], exponent: float = 1.0) -> NDArray[np.float64]:
    """Weights (N / (K n_c))^exponent of K classes, N images in all; a class without images has weight 0.

    >>> class_weights(np.array([374, 254, 1372])).round(4)
    array([1.7825, 2.6247, 0.4859])
    """
    counts = np.asarray(class_counts, dtype=np.float64)
    inverse = np.divide(counts.sum(), len(counts) * counts, out=np.zeros_like(counts), where=counts > 0)
    weights: NDArray[np.float64] = np.where(counts > 0, inverse**exponent, 0.0)
    return weights
