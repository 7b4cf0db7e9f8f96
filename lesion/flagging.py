"""What an operating point does on images that it was not set on: how many it flags that it should, and should not.

A threshold reaches the sensitivity asked for on the validation images that it was chosen by. What it reaches elsewhere
is a finding, with an interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from lesion.evaluation import Evaluation
from lesion.metrics import Interval, lesions_of, resamples, sampled_share, share_interval
from lesion.rules import OperatingPoint

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Flagging:
    """Sensitivity and specificity of a stored threshold with 95 % intervals; NaN where a side has no image.

    `images` were judged, `positives` of them are of the classes looked for, `flagged` reached the threshold.
    """

    sensitivity: Interval
    specificity: Interval
    images: int
    positives: int
    flagged: int

    def __str__(self) -> str:
        return (
            f"sensitivity {_shown(self.sensitivity)}, specificity {_shown(self.specificity)} on {self.images} images "
            f"({self.positives} positive, {self.flagged} flagged)"
        )

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON: sensitivity and specificity as [value, low, high], None where undefined."""
        scores = {name: _plain(getattr(self, name)) for name in ("sensitivity", "specificity")}
        return {**asdict(self), **scores}


def flagged_on(
    point: OperatingPoint, evaluation: Evaluation, groups: Sequence[str], *, samples: int = 1000, seed: int = 0
) -> Flagging:
    """What `point` does on the images of an evaluation; `groups` (N,) are lesion ids, "" where unknown.

    Intervals are Wilson's, for as many independent images as spread like `samples` bootstrap samples by lesion
    (`lesion.metrics.share_interval`).
    """
    flagged = point.flagged(evaluation.probabilities, evaluation.classes)
    of = [evaluation.classes.index(name) for name in point.classes]
    positive = np.isin(evaluation.labels, of)
    drawn = resamples(evaluation.labels, groups=groups, samples=samples, seed=seed)
    lesions = lesions_of(evaluation.labels, evaluation.classes, groups)
    found = int(lesions[of].sum())
    return Flagging(
        _share(flagged, positive, drawn, found),
        _share(~flagged, ~positive, drawn, int(lesions.sum()) - found),
        len(flagged),
        int(positive.sum()),
        int(flagged.sum()),
    )


def _share(right: Bools, of: Bools, samples: npt.NDArray[np.float64], lesions: int) -> Interval:
    """Share of those `right` (N,) among the images `of` (N,), which are of so many lesions."""
    if not of.any():
        return Interval(math.nan, math.nan, math.nan)
    with np.errstate(invalid="ignore"):
        sampled = samples @ (right & of) / (samples @ of)
    return share_interval(sampled_share(float(right[of].mean()), sampled, lesions, int(of.sum())))


def _plain(interval: Interval) -> list[float | None]:
    return [each if math.isfinite(each) else None for each in (interval.value, interval.low, interval.high)]


def _shown(interval: Interval) -> str:
    return "undefined" if math.isnan(interval.value) else str(interval)
