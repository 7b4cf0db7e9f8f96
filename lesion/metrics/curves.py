"""Everything that is read off a ranking: ROC curve, its area, average precision, operating points.

A ranking is cumulated once for many sets of row weights at the same time. A bootstrap sample is a row of
counts, "each image this many times", so a thousand samples cost one sort and one cumulative sum:

>>> import numpy as np
>>> scores, positive = np.array([0.9, 0.8, 0.3]), np.array([True, False, True])
>>> auc(rank(scores, positive, np.array([[1.0, 1.0, 1.0], [2.0, 1.0, 1.0]])))
array([0.5       , 0.66666667])
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Ranking:
    """Weight of the positives and negatives at or above each distinct score, highest first.

    `true` and `false` are (samples, thresholds + 1) and begin with zeros: nothing called positive.
    """

    true: Floats
    false: Floats

    @property
    def tpr(self) -> Floats:
        """Sensitivity at each threshold; NaN in a sample without positives."""
        return ratio(self.true, self.true[:, -1:])

    @property
    def fpr(self) -> Floats:
        """One minus specificity at each threshold; NaN in a sample without negatives."""
        return ratio(self.false, self.false[:, -1:])


def rank(scores: Floats, positive: Bools, weights: Floats) -> Ranking:
    """Rank (N,) scores; equal scores share a threshold. `weights` is (samples, N), not negative."""
    order = np.argsort(-scores)
    descending = scores[order]
    ends = np.append(np.flatnonzero(np.diff(descending)), len(scores) - 1)
    ordered = weights[:, order]
    true = np.cumsum(ordered * positive[order], axis=1)[:, ends]
    both = np.cumsum(ordered, axis=1)[:, ends]
    return Ranking(_from_zero(true), _from_zero(both - true))


def auc(ranking: Ranking) -> Floats:
    """Area under the ROC curve of each sample, (samples,); NaN where a side is missing."""
    return _area(ranking.fpr, ranking.tpr)


def average_precision(ranking: Ranking) -> Floats:
    """Sum of precision times gain in recall, without interpolation, (samples,); NaN without positives."""
    precision = _or_zero(ratio(ranking.true, ranking.true + ranking.false))
    return np.asarray((np.diff(ranking.tpr, axis=1) * precision[:, 1:]).sum(axis=1), np.float64)


def specificity_at(ranking: Ranking, sensitivity: float) -> Floats:
    """Specificity at the first point of the curve with at least this sensitivity in (0, 1]; (samples,)."""
    tpr, fpr = ranking.tpr, ranking.fpr
    first = np.argmax(tpr >= sensitivity, axis=1)
    found = 1.0 - fpr[np.arange(len(fpr)), first]
    return np.where(np.isnan(tpr[:, -1]), np.nan, found)


def area_above(ranking: Ranking, sensitivity: float) -> float:
    """Area under the part of a single ROC curve at or above a sensitivity in (0, 1], not normalised.

    The curve is cut at the target by linear interpolation; NaN where a side is missing.
    """
    tpr, fpr = ranking.tpr[0], ranking.fpr[0]
    if np.isnan(tpr[-1]) or np.isnan(fpr[-1]):
        return float("nan")
    start = int(np.searchsorted(tpr, sensitivity, side="left"))
    cut = np.interp(sensitivity, tpr[start - 1 : start + 1], fpr[start - 1 : start + 1])
    x = np.concatenate([[cut], fpr[start:]])
    y = np.concatenate([[sensitivity], tpr[start:]])
    return float(_area(x[None], y[None])[0])


def ratio(numerator: npt.ArrayLike, denominator: npt.ArrayLike) -> Floats:
    """Quotient of not negative numbers; 0/0 is NaN without a warning."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.divide(numerator, denominator), np.float64)


def _or_zero(values: Floats) -> Floats:
    return np.where(np.isnan(values), 0.0, values)


def _from_zero(cumulated: Floats) -> Floats:
    return np.concatenate([np.zeros((len(cumulated), 1)), cumulated], axis=1)


def _area(x: Floats, y: Floats) -> Floats:
    return np.asarray((np.diff(x, axis=1) * (y[:, 1:] + y[:, :-1])).sum(axis=1) / 2.0, np.float64)
