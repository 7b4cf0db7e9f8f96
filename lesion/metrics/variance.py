"""Variances that are themselves estimates: how large, and of how many degrees of freedom.

Estimates of independent parts add up as in Welch 1947 and Satterthwaite 1946: a sum that is mostly of three runs is
little better known than three runs are, however many images there are beside them.

>>> images, runs = Variance(1.0, 100), Variance(1.0, 2)
>>> (images + runs).value, round((images + runs).freedom, 2)
(2.0, 7.84)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtr, stdtrit

ROUNDING = 1e-12


@dataclass(frozen=True)
class Variance:
    """An estimate of a variance; `freedom` are its degrees of freedom, more than 0, infinite where it is known."""

    value: float
    freedom: float = math.inf

    def __add__(self, other: Variance) -> Variance:
        """The variance of a sum of independent parts."""
        value = self.value + other.value
        doubt = self.value**2 / self.freedom + other.value**2 / other.freedom
        return Variance(value, value**2 / doubt if doubt > 0 else min(self.freedom, other.freedom))

    def over(self, count: float) -> Variance:
        """Of a `count`-th of what it is of."""
        return Variance(self.value / count**2, self.freedom)

    @property
    def reach(self) -> float:
        """How far a 95 % interval goes to either side."""
        return self.reach_among(1)

    def reach_among(self, comparisons: int) -> float:
        """As `reach`, of so many intervals that are to hold together (Bonferroni)."""
        return _quantile(self.freedom, 1 - 0.025 / max(1, comparisons)) * math.sqrt(self.value)

    def p(self, difference: float) -> float:
        """Two-sided p of a difference from 0 by Student's t; NaN where either is."""
        if math.isnan(self.value) or math.isnan(difference):
            return math.nan
        error = math.sqrt(self.value)
        # The same probabilities differ by rounding, and so do their samples: not by 2.7 standard errors.
        if error <= ROUNDING:
            return float(abs(difference) < ROUNDING)
        if math.isinf(self.freedom):
            return math.erfc(abs(difference) / error / math.sqrt(2))
        return 2 * float(stdtr(self.freedom, -abs(difference) / error))


def sampled_variance(sampled: npt.NDArray[np.float64], count: int) -> Variance:
    """Of a score from its bootstrap samples (samples,), which lack the factor n / (n - 1); NaN among these is left out.

    `count` lesions are what the score hangs on (`lesion.metrics.limited_by`).
    """
    defined, count = sampled[~np.isnan(sampled)], max(2, count)
    if not len(defined):
        return Variance(math.nan)
    return Variance(float(defined.var()) * count / (count - 1), count - 1)


def _quantile(freedom: float, share: float) -> float:
    return float(ndtri(share) if math.isinf(freedom) else stdtrit(freedom, share))
