"""Two models on the same images: whether one is better, or the images were kind to it.

Judged by the same images, two models make many of the same mistakes, so their difference is known better than either
score. Three tests use that: DeLong's for an AUC, McNemar's for a share of right decisions, a bootstrap for the rest.

>>> import numpy as np
>>> positive = np.array([True, True, True, False, False, False])
>>> test = delong([0.9, 0.8, 0.3, 0.4, 0.2, 0.1], [0.9, 0.2, 0.3, 0.4, 0.8, 0.1], positive)
>>> round(test.difference, 3), test.p > 0.05
(0.333, True)
>>> mcnemar([True] * 9 + [False], [False] * 8 + [True, True]).p  # 8 against 1: 2 · (1 + 9) / 2⁹
0.0390625
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr

from lesion.errors import DataError
from lesion.metrics.curves import Floats
from lesion.metrics.intervals import INFLATED, Z, interval_around, interval_within, lesions_of, limited_by, resamples
from lesion.metrics.scores import sampled_summary, summary
from lesion.metrics.variance import Variance, sampled_variance


@dataclass(frozen=True)
class Paired:
    """The first score, the second, and first minus second with its 95 % interval and two-sided `p`.

    All NaN where the labels define no score.
    """

    test: str
    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float


def delong(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    positive: npt.ArrayLike,
    groups: Sequence[str] | None = None,
) -> Paired:
    """AUCs of two scores (N,) for the same images (DeLong, DeLong & Clarke-Pearson 1988, by Sun & Xu 2014's ranks).

    `groups` (N,) are lesion ids, "" where unknown: photos of one lesion are not independent, and are taken together
    as in Obuchowski 1997, which is DeLong's where every lesion has one photo. p is Student's t of the lesions of the
    rarer side. The interval puts together those of both areas on the logit scale, by the areas' correlation (Newcombe
    1998, Zou & Donner 2008): near 1 the variance of a difference hangs on two or three images, and where these were not
    drawn it is too small. Raises DataError for other lengths.
    """
    scores = np.stack([np.asarray(first, np.float64), np.asarray(second, np.float64)])  # (2, N)
    truth = np.asarray(positive, bool)
    if truth.shape != scores.shape[1:]:
        raise DataError(f"scores are {scores.shape[1:]}, truth is {truth.shape}; one of each an image is needed")
    if not truth.any() or truth.all():
        return _undefined("DeLong")
    areas, above, below = _placements(scores, truth)
    covariance, freedom = _covariance(above - areas[:, None], below - areas[:, None], truth, groups)
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    tested = _tested("DeLong", float(areas[0]), float(areas[1]), Variance(max(variance, 0.0), freedom))
    if math.isnan(variance) or np.array_equal(_midranks(scores[0]), _midranks(scores[1])):
        return tested  # one ranking has no difference to itself on any images
    low, high = _difference_of(areas, covariance, freedom)
    return replace(tested, low=low, high=high)


def mcnemar(first: npt.ArrayLike, second: npt.ArrayLike) -> Paired:
    """Shares of right decisions (N,) of the same images: McNemar's exact test; interval of Agresti & Min 2005.

    Photos count as independent.
    """
    a, b = np.asarray(first, bool), np.asarray(second, bool)
    if a.shape != b.shape:
        raise DataError(f"{a.shape} decisions against {b.shape}; one of each an image is needed")
    if a.size == 0:
        return _undefined("McNemar")
    count, only_first, only_second = len(a), int((a & ~b).sum()), int((~a & b).sum())
    differing = only_first + only_second
    p = min(1.0, 2 * float(bdtr(min(only_first, only_second), differing, 0.5))) if differing else 1.0
    # Half an image more in every cell of the table of both decisions.
    difference = (only_first - only_second) / (count + 2)
    error = math.sqrt(differing + 1 - (only_first - only_second) ** 2 / (count + 2)) / (count + 2)
    low, high = difference - Z * error, difference + Z * error
    return Paired("McNemar", float(a.mean()), float(b.mean()), (only_first - only_second) / count, low, high, p)


def paired_bootstrap(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    labels: npt.ArrayLike,
    classes: Sequence[str],
    *,
    groups: Sequence[str] | None = None,
    samples: int = 1000,
    seed: int,
) -> dict[str, Paired]:
    """Every score of `summary` of two sets of probabilities (N, classes), on the same samples of lesions.

    But those of `INFLATED`: chance makes both larger, the worse model by another amount than the better one.

    Intervals are those of `difference_interval`, p is Student's t of as many lesions (`limited_by`).
    """
    values = summary(first, labels, classes), summary(second, labels, classes)
    lesions = lesions_of(labels, classes, groups)
    weights = resamples(labels, groups=groups, samples=samples, seed=seed)
    drawn = [sampled_summary(each, labels, classes, weights) for each in (first, second)]
    found = {}
    for name in [name for name in values[0] if name not in INFLATED]:
        variance = sampled_variance(drawn[0][name] - drawn[1][name], limited_by(name, classes, lesions))
        found[name] = _tested("bootstrap", values[0][name], values[1][name], variance)
    return found


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p: of many tests, one below 0.05 by chance alone happens once in twenty times (Holm 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p)), key=lambda place: p[place])
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = largest
    return adjusted


def _placements(scores: Floats, positive: npt.NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    """AUCs (2,); share of negatives below each positive (2, m); share of positives above each negative (2, n)."""
    m, n = int(positive.sum()), int((~positive).sum())
    above, below = np.empty((2, m)), np.empty((2, n))
    for place, each in enumerate(scores):
        everywhere = _midranks(each)
        above[place] = (everywhere[positive] - _midranks(each[positive])) / n
        below[place] = 1 - (everywhere[~positive] - _midranks(each[~positive])) / m
    return above.mean(axis=1), above, below


def _midranks(scores: Floats) -> Floats:
    """Ranks from 1; equal scores share the mean of theirs."""
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(count) - (count - 1) / 2)[place]
    return ranks


def _difference_of(areas: Floats, covariance: Floats, freedom: float) -> tuple[float, float]:
    """Ends of the 95 % interval of the first area minus the second, from each one's own interval."""
    own = [interval_within(float(areas[k]), Variance(float(covariance[k, k]), freedom)) for k in (0, 1)]
    product = float(covariance[0, 0] * covariance[1, 1])
    correlation = float(covariance[0, 1]) / math.sqrt(product) if product > 0 else 0.0
    difference = float(areas[0] - areas[1])

    def apart(first: float, second: float) -> float:
        return math.sqrt(max(0.0, first**2 + second**2 - 2 * correlation * first * second))

    return (
        difference - apart(own[0].value - own[0].low, own[1].high - own[1].value),
        difference + apart(own[0].high - own[0].value, own[1].value - own[1].low),
    )


def _covariance(
    above: Floats, below: Floats, positive: npt.NDArray[np.bool_], groups: Sequence[str] | None
) -> tuple[Floats, float]:
    """Covariance (2, 2) of two AUCs, from deviations of the placements summed within lesions, and its freedom."""
    ids = [f"image {row}" for row in range(len(positive))]
    if groups is not None:
        if len(groups) != len(positive):
            raise DataError(f"{len(groups)} lesion ids for {len(positive)} images; one each is needed")
        ids = [f"lesion {name}" if name else own for name, own in zip(groups, ids, strict=True)]
    _, lesion = np.unique(ids, return_inverse=True)
    count = int(lesion.max()) + 1
    a = np.stack([np.bincount(lesion[positive], each, minlength=count) for each in above])  # (2, lesions)
    b = np.stack([np.bincount(lesion[~positive], each, minlength=count) for each in below])
    m, n = above.shape[1], below.shape[1]
    with_a, with_b = len(np.unique(lesion[positive])), len(np.unique(lesion[~positive]))
    if min(with_a, with_b) < 2:
        return np.full((2, 2), np.nan), math.inf
    crossed = a @ b.T
    covariance: Floats = (
        _corrected(with_a) * (a @ a.T) / m**2
        + _corrected(with_b) * (b @ b.T) / n**2
        + _corrected(count) * (crossed + crossed.T) / (m * n)
    )
    return covariance, min(with_a, with_b) - 1.0


def _corrected(count: int) -> float:
    return count / (count - 1)


def _tested(test: str, first: float, second: float, variance: Variance) -> Paired:
    difference = first - second
    interval = interval_around(difference, variance)
    return Paired(test, first, second, difference, interval.low, interval.high, variance.p(difference))


def _undefined(test: str) -> Paired:
    return Paired(test, *(math.nan,) * 6)
