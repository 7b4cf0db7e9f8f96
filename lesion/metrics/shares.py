"""Shares of images, and means of several: a sensitivity, the accuracy, the balanced accuracy of a group of people.

A share is told as of so many independent images: as would spread like its bootstrap samples do (Kott & Carr 1997; Dean
& Pagano 2015 compare what can be made of it). Photos of one lesion are fewer than they look. By how much is an estimate
of as many degrees of freedom as there are lesions, for which Korn & Graubard (1998) make them fewer once more. A mean
over classes has the variance of its parts.

>>> found = mean_share([Share(0.8, 10), Share(0.9, 40)])
>>> round(found.value, 2), round(found.images, 1)
(0.85, 28.2)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from lesion.metrics.curves import Floats
from lesion.metrics.variance import ROUNDING


@dataclass(frozen=True)
class Share:
    """A share from 0 to 1, and of how many independent `images` it is known so well; both NaN where it is undefined."""

    value: float
    images: float

    @property
    def smoothed(self) -> float:
        """The share with one image added to either side, for its variance (Agresti & Coull 1998, Agresti & Caffo 2000).

        >>> Share(1.0, 8).smoothed
        0.9
        """
        return (self.value * self.images + 1) / (self.images + 2)

    @property
    def variance(self) -> float:
        """Over other images: more than 0 also where these show no exception, as then no bootstrap sample does."""
        return self.smoothed * (1 - self.smoothed) / self.images


def sampled_share(value: float, sampled: Floats, lesions: int, images: int | None = None) -> Share:
    """A share from its bootstrap samples (samples,), of which NaN are left out.

    It is of so many `images` (those of whom it is a share) of so many `lesions`; one photo a lesion unless given.
    """
    defined = sampled[~np.isnan(sampled)]
    if math.isnan(value) or not len(defined):
        return Share(math.nan, math.nan)
    drawn = float(defined.var())
    # Where none is an exception, or no sample another share but by rounding, only the lesions can be counted.
    seen = 0 < value < 1 and drawn > ROUNDING**2
    independent = value * (1 - value) / drawn if seen else float(max(1, lesions))
    return Share(value, independent * (_t(images or lesions) / _t(lesions)) ** 2)


def mean_share(shares: Sequence[Share]) -> Share:
    """The mean of independent shares as one share, of as many images as have its variance."""
    count = len(shares)
    middle = sum(each.smoothed for each in shares) / count
    variance = sum(each.variance for each in shares) / count**2
    return Share(sum(each.value for each in shares) / count, middle * (1 - middle) / variance)


def _t(count: int) -> float:
    """How many standard errors hold 95 %, by Student's t of so many."""
    return float(stdtrit(max(1, count - 1), 0.975))
