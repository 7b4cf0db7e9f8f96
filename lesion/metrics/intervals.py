"""Bootstrap intervals: by how much a score would move on another draw of patients.

Resampling is *stratified by class*: the number of images of each diagnosis was fixed by whoever put the set
together, it is not what a new draw of patients would vary, and a plain bootstrap of a set with three
vascular lesions loses the class, and with it every score, in one sample of twenty. Photographs of one lesion
are not independent, so where lesion ids are known whole lesions are drawn.

An interval goes t standard errors of the samples to either side on the score's logit scale (its logarithm where it has
no upper bound), so it stays inside the bounds and leans away from them. Student's t and the factor n / (n - 1) of the
variance have n lesions of what the score hangs on: a sensitivity on those of its class, a specificity on all others, an
AUC on the fewer of the two, a mean over classes on the rarest. Percentiles of the samples are too narrow for thirty
melanomas: of an AUC near 0.97 they held the truth 860 times in a thousand (`benchmarks/intervals.py`).

Sensitivity, specificity and accuracy are shares of images, the balanced accuracy is a mean of such. They have Wilson's
interval (`lesion.metrics.shares`), whose width is not that of the share which happened to be seen, with z: Student's t
is for a variance that is a guess of its own, and that of a share follows from the share. A difference of two scores has
no bounds worth a transformation: its interval goes t standard errors to either side.
The expected calibration error is a sum of sizes, which chance makes larger: `inflated_interval`
takes that off, and so may lie below the value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lesion.errors import DataError
from lesion.metrics.catalogue import METRICS, PER_CLASS, metrics_of
from lesion.metrics.curves import Floats
from lesion.metrics.scores import Ints, checked, report, sampled_report
from lesion.metrics.shares import Share, mean_share, sampled_share
from lesion.metrics.variance import Variance, sampled_variance

POOLED = frozenset({"accuracy", "micro_auc", "weighted_auc", "log_loss", "brier", "ece"})
"""Scores of all images together, whatever their class."""
SHARES = frozenset({"sensitivity", "specificity"})
"""Scores of a class that are shares of images which are known beforehand; accuracy is one too."""
INFLATED = frozenset({"ece"})
"""Sums of absolute values, which are too large of few images: the ECE of 150 by a calibrated model is about 0.07.

By how much depends on the model as well, so differences of two have no interval.
"""
Z = 1.959964
LIMIT = 50.0
"""Largest reach on the logit scale: beyond it an interval holds all there is."""
CELLS = 2_000_000
"""Numbers held at once, per array: samples are computed in portions of this many (image, class) cells."""


@dataclass(frozen=True)
class Interval:
    """A score on all images and its 95 % interval; all three NaN where it is undefined."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:z.3f} ({self.low:z.3f}–{self.high:z.3f})"


def bootstrap(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    classes: Sequence[str],
    *,
    groups: Sequence[str] | npt.ArrayLike | None = None,
    samples: int = 1000,
    seed: int,
) -> dict[str, Interval]:
    """95 % interval of every score of `report`.

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
    sampled = {name: np.concatenate([part[name] for part in parts]) for name in values}
    return intervals_of(values, sampled, _lesions(strata, classes), classes, images=_lesions(y, classes))


def intervals_of(
    values: Mapping[str, float],
    sampled: Mapping[str, Floats],
    lesions: npt.ArrayLike,
    classes: Sequence[str],
    *,
    images: npt.ArrayLike | None = None,
) -> dict[str, Interval]:
    """95 % intervals of scores from their bootstrap samples (samples,); NaN among these is left out.

    `lesions` (classes,) are those of `lesions_of`, `images` (classes,) their photos, one a lesion unless given. The
    balanced accuracy is that of the sensitivities, which must be among the scores.
    """
    bounds, photos = metrics_of(classes), lesions if images is None else images
    found = {}
    for name, value in values.items():
        count = limited_by(name, classes, lesions)
        if name in INFLATED:
            found[name] = inflated_interval(value, sampled[name], sampled_variance(sampled[name], count))
        elif parts := shares_in(name, classes, photos):
            counts = [[limited_by(each, classes, of) for of in (lesions, photos)] for each in parts]
            shares = [sampled_share(values[each], sampled[each], *n) for each, n in zip(parts, counts, strict=True)]
            found[name] = replace(share_interval(mean_share(shares)), value=value)
        else:
            found[name] = score_interval(value, sampled[name], count, bounds[name].low, bounds[name].high)
    return found


def shares_in(name: str, classes: Sequence[str], images: npt.ArrayLike) -> tuple[str, ...]:
    """The shares of `images` (classes,) whose mean the score `name` is; none where it is no such mean.

    >>> shares_in("balanced_accuracy", ("nevus", "melanoma"), [90, 10])
    ('sensitivity_nevus', 'sensitivity_melanoma')
    """
    if name == "balanced_accuracy":
        present = np.asarray(images) > 0
        return tuple(f"sensitivity_{label}" for label, some in zip(classes, present, strict=True) if some)
    return (name,) if name == "accuracy" or _of_class(name, classes)[0] in SHARES else ()


def lesions_of(
    labels: npt.ArrayLike, classes: Sequence[str], groups: Sequence[str] | npt.ArrayLike | None = None
) -> Ints:
    """Lesions of each class, (classes,), of images with labels (N,) and lesion ids `groups` (N,), as of `bootstrap`.

    >>> lesions_of([0, 0, 0, 1], ("nevus", "melanoma"), ["a", "a", "", ""])
    array([2, 1])
    """
    return _lesions(_grouped(np.asarray(labels, np.int64), groups)[1], classes)


def limited_by(name: str, classes: Sequence[str], lesions: npt.ArrayLike) -> int:
    """How many of the `lesions` (classes,) the score `name` hangs on: of its class, of the others, of the rarest class.

    >>> [limited_by(f"{score}_nevus", ("nevus", "melanoma"), [90, 10]) for score in ("sensitivity", "specificity")]
    [90, 10]
    """
    counts = np.asarray(lesions, np.int64)
    if name in POOLED:
        return int(counts.sum())
    if name in METRICS:
        return int(counts[counts > 0].min())
    metric, of = _of_class(name, classes)
    own, others = int(counts[of]), int(counts.sum() - counts[of])
    return {"sensitivity": own, "specificity": others}.get(metric, min(own, others))


def score_interval(value: float, sampled: Floats, count: int, low: float = 0.0, high: float = 1.0) -> Interval:
    """95 % interval of a score from its bootstrap samples (samples,), of which NaN are left out.

    `count` lesions are what it hangs on (`limited_by`), `low` and `high` its bounds; an infinite `high` is none.
    """
    return interval_within(value, sampled_variance(sampled, count), low, high)


def interval_within(value: float, variance: Variance, low: float = 0.0, high: float = 1.0) -> Interval:
    """As `score_interval`, from the score's variance."""
    if math.isnan(value) or math.isnan(variance.value):
        return _undefined()
    if value in (low, high):
        # Every sample is there too.
        reach = _no_exception(variance.freedom + 1) * (high - low if math.isfinite(high) else 0.0)
        return Interval(value, value, value + reach) if value == low else Interval(value, value - reach, value)
    if math.isinf(high):
        spread = math.exp(min(variance.reach / (value - low), LIMIT))
        return Interval(value, low + (value - low) / spread, low + (value - low) * spread)
    odds = (value - low) / (high - value)
    spread = math.exp(min(variance.reach * (1 / (value - low) + 1 / (high - value)), LIMIT))
    ends = (odds / spread, odds * spread)
    return Interval(value, *(low + (high - low) * end / (1 + end) for end in ends))


def share_interval(share: Share) -> Interval:
    """95 % interval of a share of images (Wilson 1927); exact where none is an exception (Clopper & Pearson 1934)."""
    value, images = share.value, share.images
    if math.isnan(value):
        return _undefined()
    if value in (0.0, 1.0):
        end = abs(value - _no_exception(images))
        return Interval(value, min(value, end), max(value, end))
    squared = Z**2 / images
    middle = (value + squared / 2) / (1 + squared)
    half = math.sqrt(squared * (value * (1 - value) + squared / 4)) / (1 + squared)
    return Interval(value, middle - half, middle + half)


def inflated_interval(value: float, sampled: Floats, variance: Variance) -> Interval:
    """95 % interval of a score of `INFLATED` from its bootstrap samples (samples,) and its variance.

    The value is larger than the truth as samples are larger than the value, for they add the same noise once more.
    Noise adds up in squares: of no error at all it makes a mean |noise|, of the value's noise and the sample's √2 as
    much. What t standard errors around the value hold is therefore shrunk, x to √(x² - (mean² - value²)), not below 0.
    This is Bröcker's 2012 and Kumar, Liang & Ma's 2019 correction of squares, for absolute values. The truth of a
    calibrated model is near 0, and the value may lie above the interval.

    >>> chance = np.array([0.09, 0.11])  # of an error of 0.07, which is no more than chance would make
    >>> print(inflated_interval(0.07, chance, Variance(0.0001)))
    0.070 (0.000–0.054)
    """
    defined = sampled[~np.isnan(sampled)]
    if value == 0.0 or math.isnan(value) or not len(defined):
        return interval_within(value, variance)
    noise = max(0.0, float(defined.mean()) ** 2 - value**2)
    ends = (max(0.0, value - variance.reach), min(1.0, value + variance.reach))
    return Interval(value, *(math.sqrt(max(0.0, end**2 - noise)) for end in ends))


def difference_interval(value: float, sampled: Floats, count: int) -> Interval:
    """95 % interval of a difference of two scores on the same samples (samples,), of which NaN are left out.

    `count` as of `score_interval`.
    """
    return interval_around(value, sampled_variance(sampled, count))


def interval_around(value: float, variance: Variance, comparisons: int = 1) -> Interval:
    """As `difference_interval`, from the difference's variance; one of so many that are to hold together."""
    if math.isnan(value) or math.isnan(variance.value):
        return _undefined()
    reach = variance.reach_among(comparisons)
    return Interval(value, value - reach, value + reach)


def _no_exception(count: float) -> float:
    """How frequent what was not seen in `count` may be: so frequent that this happens once in forty times."""
    return float(1 - 0.025 ** (1 / count))


def _of_class(name: str, classes: Sequence[str]) -> tuple[str, int]:
    """Metric and class of a score of one class; of one of all classes its name and -1.

    By the whole name: "sensitivity_non_melanoma" ends like a score of melanoma.
    """
    if name in METRICS:
        return name, -1
    return next((metric, k) for metric in PER_CLASS for k, c in enumerate(classes) if name == f"{metric}_{c}")


def _undefined() -> Interval:
    return Interval(math.nan, math.nan, math.nan)


def _lesions(strata: Ints, classes: Sequence[str]) -> Ints:
    return np.bincount(strata, minlength=len(classes)).astype(np.int64)


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
