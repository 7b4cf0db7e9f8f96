"""What is drawn of one set of probabilities, as numbers: points of curves, bins of reliability, cells of confusion.

Charts and CSV files both take theirs from here, so that a file holds what a chart shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lesion.metrics import UNDECIDED, calibration_table, confusion_matrix, curves

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

POINTS = 400
"""A curve of more points looks the same, and makes the page heavy."""

CURVE_COLUMNS = ("class", "threshold", "false_positive_rate", "sensitivity", "precision")
RELIABILITY_COLUMNS = ("images", "confidence", "right")
CONFUSION_COLUMNS = ("true", "decided", "images")


@dataclass(frozen=True, eq=False)
class Curve:
    """One class against the rest at falling thresholds, at most `POINTS` of them; every array is (points,).

    `sensitivity` is the recall, too. The first threshold is infinite: nothing is called positive, and there is no
    precision (NaN). Without images of the class there is no sensitivity either.
    """

    name: str
    threshold: Floats
    false_positive_rate: Floats
    sensitivity: Floats
    precision: Floats
    average_precision: float


def class_curves(probabilities: Floats, labels: Ints, classes: Sequence[str]) -> list[Curve]:
    """The curve of each class, of probabilities (N, classes) and labels (N,)."""
    return [_curve(name, probabilities[:, k], labels == k) for k, name in enumerate(classes)]


def _curve(name: str, scores: Floats, positive: npt.NDArray[np.bool_]) -> Curve:
    ranking = curves.rank(scores, positive, np.ones((1, len(scores))))
    threshold = np.append(np.inf, np.unique(scores)[::-1])  # equal scores share a threshold, as in `rank`
    precision = curves.ratio(ranking.true[0], ranking.true[0] + ranking.false[0])
    kept = np.unique(np.linspace(0, len(threshold) - 1, min(len(threshold), POINTS)).astype(int))
    return Curve(
        name,
        threshold[kept],
        ranking.fpr[0][kept],
        ranking.tpr[0][kept],
        precision[kept],
        float(curves.average_precision(ranking)[0]),
    )


def curve_rows(probabilities: Floats, labels: Ints, classes: Sequence[str]) -> list[tuple[Any, ...]]:
    """Rows of `CURVE_COLUMNS`: the ROC curve is sensitivity over false positive rate, the other one its precision."""
    return [
        (each.name, *point)
        for each in class_curves(probabilities, labels, classes)
        for point in np.stack(
            [each.threshold, each.false_positive_rate, each.sensitivity, each.precision], axis=1
        ).tolist()
    ]


def reliability_rows(probabilities: Floats, labels: Ints, classes: Sequence[str]) -> list[tuple[int, float, float]]:
    """Rows of `RELIABILITY_COLUMNS`: a bin of the top probability each, its mean, and the share of right decisions."""
    table = calibration_table(probabilities, labels, classes)
    return [(int(count), confidence, right) for count, confidence, right in table[table[:, 0] > 0].tolist()]


def confusion_counts(decisive: Floats, labels: Ints, classes: Sequence[str]) -> tuple[list[str], Ints]:
    """Names of what was decided, and counts of (true, decided); undecided only where there are such images."""
    counts = confusion_matrix(decisive, labels, classes)
    if counts[:, -1].any():
        return [*classes, UNDECIDED], counts
    return list(classes), counts[:, :-1]


def confusion_rows(decisive: Floats, labels: Ints, classes: Sequence[str]) -> list[tuple[str, str, int]]:
    """Rows of `CONFUSION_COLUMNS`."""
    columns, counts = confusion_counts(decisive, labels, classes)
    return [
        (true, decided, int(count))
        for true, line in zip(classes, counts, strict=True)
        for decided, count in zip(columns, line, strict=True)
    ]
