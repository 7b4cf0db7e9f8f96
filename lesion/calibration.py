"""Decisions that are fair to rare classes, whatever balance the training had."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lesion.errors import DataError

ROUNDS, TOLERANCE = 1000, 1e-10
FLOOR = 1e-12
"""A smaller probability counts as this: no factor, however large, could make up for 0."""


def balancing_weights(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[float, ...]:
    """Factors on class probabilities after which every class is equally likely where classes are equally frequent.

    `probabilities` (N, classes) and `labels` (N,) are of validation images. With images weighted so that each class
    weighs the same, the adjusted probabilities w_c p_c / Σ w p of each class average 1/K: the condition that a
    multinomial logistic calibration of the intercepts alone fulfils (King & Zeng 2001, section 4.1, for the binary
    case). Only K - 1 numbers are fitted, so a few dozen images of a class are enough; the ranking of images within
    one decision is kept. The factors multiply to 1. Raises DataError when a class has no image.

    >>> balancing_weights([[0.2, 0.8], [0.05, 0.95]], [0, 1])[0] > 1
    True
    """
    p, y = np.maximum(np.asarray(probabilities, np.float64), FLOOR), np.asarray(labels, np.int64)
    counts = np.bincount(y, minlength=p.shape[1])
    if not counts.all():
        raise DataError(f"class {int(np.argmin(counts))} has no validation image: decisions cannot be balanced")
    share = 1.0 / (p.shape[1] * counts[y])  # (N,), sums to 1
    weights = np.ones(p.shape[1])
    for _ in range(ROUNDS):
        adjusted = p * weights
        adjusted /= adjusted.sum(axis=1, keepdims=True)
        mean = share @ adjusted
        weights = weights / (mean * p.shape[1])
        weights /= np.exp(np.log(weights).mean())
        if np.abs(mean * p.shape[1] - 1).max() < TOLERANCE:
            break
    return tuple(float(weight) for weight in weights)
