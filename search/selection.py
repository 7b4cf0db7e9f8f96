"""Which trials of a study become its model: the best ones, as far as validation can tell them from the best.

A validation part of 150 images cannot tell two good trials apart, and the single best of two dozen is as much lucky
as good. So the trials that lie within one standard error of the best (Breiman et al. 1984, section 3.4.3) count as
equals, and up to `limit` of them average their probabilities. Nothing else is fitted to the validation part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lesion.data.packed import PackedDataset
from lesion.metrics import Interval, bootstrap
from search.errors import PromotionError
from search.rows import TrialRow
from search.study import StudyStatus
from search.trial import PREDICTIONS, load_predictions
from search.workspace import Workspace


@dataclass(frozen=True)
class Selection:
    """Trials chosen on validation, best first, and the interval of the best one's objective."""

    rows: tuple[TrialRow, ...]
    best: Interval
    standard_error: float


def select(place: Workspace, status: StudyStatus, data: PackedDataset, limit: int) -> Selection:
    """Up to `limit` complete trials within one standard error of the best; PromotionError if there is none."""
    sign = 1.0 if status.identity.direction == "maximize" else -1.0
    complete = [row for row in status.rows if row.state == "complete" and row.value is not None]
    if not complete:
        raise PromotionError(
            f"{status.name} has no complete trial yet ({_counts(status)}); continue it with 'lesion-search run'"
        )
    ranked = sorted(complete, key=lambda row: (-sign * float(row.value or 0.0), row.number))
    interval = _interval(place, status, data, ranked[0])
    error = (interval.high - interval.low) / (2 * 1.96)  # a 95 % interval is that many standard errors wide
    near = [row for row in ranked if sign * (float(ranked[0].value or 0.0) - float(row.value or 0.0)) <= error]
    return Selection(tuple(near[: max(1, limit)]), interval, error)


def validation_probabilities(place: Workspace, study: str, rows: Sequence[TrialRow]) -> NDArray[np.float64]:
    """Mean of the trials' validation probabilities (N, classes), as they were judged in the search."""
    stored = [load_predictions(place.trial(study, row.number) / PREDICTIONS)[0] for row in rows]
    mean: NDArray[np.float64] = np.mean(stored, axis=0, dtype=np.float64)
    return mean


def _interval(place: Workspace, status: StudyStatus, data: PackedDataset, row: TrialRow) -> Interval:
    rows = data.split(status.identity.split).validation
    intervals = bootstrap(
        validation_probabilities(place, status.name, [row]),
        data.labels[rows],
        data.classes,
        groups=data.table["group"].iloc[rows].astype(str).tolist(),
        seed=0,
    )
    return intervals[status.identity.objective]


def _counts(status: StudyStatus) -> str:
    return ", ".join(f"{count} {state}" for state, count in status.counts.items() if count) or "no trial at all"
