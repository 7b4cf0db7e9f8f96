"""What a model says beside its probabilities: which class it is, and whether somebody should look.

Three questions that one set of numbers cannot all answer well are kept apart:

- *How likely is each class?* Probabilities, with a temperature that was calibrated on validation. They hold where
  classes are about as frequent as in the validation part.
- *Which class is it?* The largest probability after `decision_weights`, which make the decision fair to rare classes.
  The probabilities that are reported stay what they are, and with them every AUC.
- *Should somebody look?* The operating point: the probability of melanoma (or of all malignant classes together) is at
  or above the threshold that reached the sensitivity asked for on validation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lesion.calibration import tempered
from lesion.errors import DataError, SettingError, unknown

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

SUSPECTED = ("melanoma", "mel", "malignant")
"""Class names, in any case, of what is looked for where nobody says what is."""


@dataclass(frozen=True)
class OperatingPoint:
    """Photos whose probabilities of `classes` add up to `threshold` or more are flagged.

    `asked` is the sensitivity that the threshold was set for; `sensitivity` and `specificity` are what it reached on
    `images` validation images, of which `positives` were of these classes.
    """

    classes: tuple[str, ...]
    threshold: float
    asked: float
    sensitivity: float
    specificity: float
    images: int
    positives: int

    def flagged(self, probabilities: npt.ArrayLike, classes: Sequence[str]) -> Bools:
        """Whether each row of calibrated probabilities (N, `classes`) reaches the threshold, (N,)."""
        return probability_of(probabilities, classes, self.classes) >= self.threshold

    def __str__(self) -> str:
        return (
            f"{' or '.join(self.classes)} at {self.threshold:.3f} or more: sensitivity {self.sensitivity:.2f}, "
            f"specificity {self.specificity:.2f} on {self.images} validation images ({self.positives} positive)"
        )


@dataclass(frozen=True)
class Rules:
    """How the mean of all members and views is read; the plain rules change nothing and flag nothing."""

    temperature: float = 1.0
    decision_weights: tuple[float, ...] | None = None
    operating_point: OperatingPoint | None = None

    def calibrated(self, probabilities: npt.ArrayLike) -> Floats:
        """The probabilities (N, classes) that are reported."""
        return tempered(probabilities, self.temperature)

    def decisive(self, probabilities: npt.ArrayLike) -> Floats:
        """Calibrated probabilities (N, classes) under the decision weights, scaled to sum to 1: the largest decides."""
        return reweighted(probabilities, self.decision_weights)


def reweighted(probabilities: npt.ArrayLike, weights: Sequence[float] | None) -> Floats:
    """Weighted, w p / Σ w p, for each row (N, classes); as they are without weights."""
    p = np.asarray(probabilities, np.float64)
    if weights is None:
        return p
    weighted = p * np.asarray(weights, np.float64)
    return np.asarray(weighted / weighted.sum(axis=1, keepdims=True), np.float64)


def confidence(probabilities: npt.ArrayLike, decisive: npt.ArrayLike) -> Floats:
    """The probability of what is decided by `decisive`, (N,); both are (N, classes)."""
    p = np.asarray(probabilities, np.float64)
    return np.asarray(p[np.arange(len(p)), np.asarray(decisive).argmax(axis=1)], np.float64)


def probability_of(probabilities: npt.ArrayLike, classes: Sequence[str], looked_for: Sequence[str]) -> Floats:
    """The probability of any of the classes `looked_for`, (N,); SettingError for a class that is not there."""
    for name in looked_for:
        if name not in classes:
            raise SettingError(unknown("class", name, classes))
    columns = [list(classes).index(name) for name in looked_for]
    return np.asarray(np.asarray(probabilities, np.float64)[:, columns].sum(axis=1), np.float64)


def suspected(classes: Sequence[str]) -> tuple[str, ...]:
    """The class that is looked for where nobody says: melanoma, by the names it goes by; none without one.

    >>> suspected(("NV", "MEL")), suspected(("benign", "malignant")), suspected(("nevus", "wart"))
    (('MEL',), ('malignant',), ())
    """
    by_name = {name.casefold(): name for name in classes}
    return next(((by_name[name],) for name in SUSPECTED if name in by_name), ())


def operating_point(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    classes: Sequence[str],
    looked_for: Sequence[str],
    sensitivity: float,
) -> OperatingPoint:
    """The highest threshold at which at least `sensitivity` (0 to 1) of the images of `looked_for` are flagged.

    `probabilities` (N, classes) are calibrated, of validation images. Raises DataError where none of these is of
    `looked_for` or all are.
    """
    score, y = probability_of(probabilities, classes, looked_for), np.asarray(labels, np.int64)
    positive = np.isin(y, [list(classes).index(name) for name in looked_for])
    if positive.all() or not positive.any():
        raise DataError(
            f"{int(positive.sum())} of {len(y)} validation images are of {', '.join(looked_for)}: "
            "an operating point needs some that are and some that are not"
        )
    # The small number is for 0.9 · 30 = 27.000000000000004.
    needed = max(1, math.ceil(sensitivity * positive.sum() - 1e-9))
    threshold = min(1.0, float(np.sort(score[positive])[::-1][needed - 1]))
    flagged = score >= threshold
    return OperatingPoint(
        tuple(looked_for),
        threshold,
        sensitivity,
        float(flagged[positive].mean()),
        float(1 - flagged[~positive].mean()),
        len(y),
        int(positive.sum()),
    )
