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


TEMPERATURES = (0.25, 4.0)
"""Bounds of a temperature: a model that is right on every one of a few images would be given none at all."""


def fitted_temperature(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """The temperature T with the least log-loss of softmax(log p / T), within `TEMPERATURES`.

    Guo et al. 2017, arXiv:1706.04599, section 4.2; log p takes the place of logits, which a mean of several networks
    does not have. The log-loss is convex in 1/T, so its slope is bisected. Arguments as of `balancing_weights`.
    """
    logs, y = _logs(probabilities), np.asarray(labels, np.int64)
    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    for _ in range(60):
        middle = (low + high) / 2
        expected = (_softmax(logs * middle) * logs).sum(axis=1)
        slope = float((expected - logs[np.arange(len(y)), y]).mean())
        low, high = (middle, high) if slope < 0 else (low, middle)
    return 2 / (low + high)


def cautious_temperature(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """The temperature nearest to 1 that validation cannot tell from `fitted_temperature`.

    That is: whose log-loss is within one standard error (of the paired differences, image by image) of the least one,
    the rule by which trials count as equals, too (Breiman et al. 1984, section 3.4.3). Trials and epochs were chosen on
    the same images and look surer there than they are elsewhere; on few images a fit follows that luck.

    >>> cautious_temperature([[0.6, 0.4]] * 10, [0] * 7 + [1] * 3)
    1.0
    """
    logs, y = _logs(probabilities), np.asarray(labels, np.int64)
    best = fitted_temperature(probabilities, labels)
    least = _surprise(logs / best, y)

    def is_equal(temperature: float) -> bool:
        more = _surprise(logs / temperature, y) - least
        error = more.std(ddof=1) / np.sqrt(len(more)) if len(more) > 1 else np.inf
        return bool(more.mean() <= error)

    if is_equal(1.0):
        return 1.0
    near, far = best, 1.0  # near is equal, far is not
    for _ in range(40):
        middle = (near + far) / 2
        near, far = (middle, far) if is_equal(middle) else (near, middle)
    return near


def tempered(probabilities: npt.ArrayLike, temperature: float) -> npt.NDArray[np.float64]:
    """softmax(log p / T) of probabilities (N, classes): sharper below 1, softer above; their order stays."""
    p = np.asarray(probabilities, np.float64)
    return p if temperature == 1.0 else _softmax(_logs(p) / temperature)


def _logs(probabilities: npt.ArrayLike) -> npt.NDArray[np.float64]:
    logs: npt.NDArray[np.float64] = np.log(np.maximum(np.asarray(probabilities, np.float64), FLOOR))
    return logs


def _softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), np.float64)


def _surprise(logits: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Negative log-probability of the true class of each image, (N,)."""
    return -np.log(np.maximum(_softmax(logits)[np.arange(len(labels)), labels], FLOOR))
