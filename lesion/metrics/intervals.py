"""Bootstrap intervals: by how much a score would move on another draw of patients.

Resampling is *stratified by class*: the number of images of each diagnosis was fixed by whoever put the set
together, it is not what a new draw of patients would vary, and a plain bootstrap of a set with three
vascular lesions loses the class, and with it every score, in one sample of twenty. Photographs of one lesion
are not independent, so where lesion ids are known whole lesions are drawn. Intervals are percentiles: they
stay inside the bounds of the score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lesion.errors import DataError
from lesion.metrics.curves import Floats
from lesion.metrics.scores import Ints, checked, report, sampled_report

CELLS = 2_000_000
"""Numbers held at once, per array: samples are computed in portions of this many (image, class) cells."""


@dataclass(frozen=True)
class Interval:
    """A score on all images and its 95 % interval; all three NaN where it is undefined."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}–{self.high:.3f})"


def bootstrap(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    classes: Sequence[str],
    *,
    groups: Sequence[str] | npt.ArrayLike | None = None,
    samples: int = 1000,
    seed: int,
) -> dict[str, Interval]:
    """95 % percentile interval of every score of `report`.

    `groups` (N,) are lesion ids; images of one id are drawn together, an empty id is a lesion of its own. A
    group counts to the class of its first image. Samples in which a score is undefined are left out of its
    interval. Raises DataError for arguments that do not fit together.
    """
    p, y = checked(probabilities, labels, classes)
    _require_samples(samples)
    rng = np.random.default_rng(seed)
    members, strata = _grouped(y, groups)
    portion = max(1, CELLS // p.size)
    parts = [
        sampled_report(p, y, classes, _counts(rng, members, strata, min(portion, samples - done)))
        for done in range(0, samples, portion)
    ]
    values = report(p, y, classes)
    return {name: _interval(values[name], np.concatenate([part[name] for part in parts])) for name in values}


def resamples(
    labels: npt.ArrayLike, *, groups: Sequence[str] | npt.ArrayLike | None = None, samples: int = 1000, seed: int
) -> Floats:
    """How often each image is drawn in each bootstrap sample, (samples, N): the very draws of `bootstrap`.

    Two models that are judged by the same images are compared on the same samples.
    """
    _require_samples(samples)
    members, strata = _grouped(np.asarray(labels, np.int64), groups)
    return _counts(np.random.default_rng(seed), members, strata, samples)


def _require_samples(samples: int) -> None:
    if samples < 1:
        raise DataError(f"samples is {samples}, must be at least 1")


def _grouped(y: Ints, groups: Sequence[str] | npt.ArrayLike | None) -> tuple[Ints, Ints]:
    """Group index of each image (N,), and class of each group."""
    if groups is None:
        return np.arange(len(y)), y
    ids = np.asarray(groups).astype(str)
    if ids.shape != y.shape:
        raise DataError(f"groups are {ids.shape}, must be {y.shape}: one lesion id an image, '' if unknown")
    keys = [f"lesion {name}" if name else f"image {row}" for row, name in enumerate(ids.tolist())]
    _, first, members = np.unique(keys, return_index=True, return_inverse=True)
    return members.astype(np.int64), y[first]


def _counts(rng: np.random.Generator, members: Ints, strata: Ints, samples: int) -> Floats:
    """How often each image is drawn, (samples, N)."""
    drawn = np.zeros((samples, len(strata)))
    for stratum in np.unique(strata):
        inside = np.flatnonzero(strata == stratum)
        drawn[:, inside] = rng.multinomial(len(inside), np.full(len(inside), 1 / len(inside)), size=samples)
    return drawn[:, members]


def _interval(value: float, sampled: Floats) -> Interval:
    defined = sampled[~np.isnan(sampled)]
    if np.isnan(value) or len(defined) == 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    low, high = np.quantile(defined, [0.025, 0.975])
    return Interval(value, float(low), float(high))
