"""Which trials of a study become its model: the best ones, as far as validation can tell them from the best.

A validation part of 150 images cannot tell two good trials apart, and the single best of two dozen is as much lucky
as good. So the trials that lie within one standard error of the best (Breiman et al. 1984, section 3.4.3) count as
equals, and up to `limit` of them average their probabilities. Nothing else is fitted to the validation part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from zipfile import BadZipFile

from lesion.data.packed import PackedDataset
from lesion.metrics import Interval, bootstrap
from search.errors import PromotionBlockedError
from search.predictions import PREDICTIONS, load_predictions
from search.rows import TrialRow
from search.study import StudyStatus
from search.workspace import Workspace


@dataclass(frozen=True)
class Selection:
    """Trials chosen on validation, best first, and the interval of the best one's objective."""

    rows: tuple[TrialRow, ...]
    best: Interval
    standard_error: float


def select(
    place: Workspace,
    status: StudyStatus,
    data: PackedDataset,
    limit: int,
    *,
    why_not: Callable[[TrialRow], str] = lambda row: "",
    say: Callable[[str], None] = lambda text: None,
) -> Selection:
    """Up to `limit` complete trials within one standard error of the best; PromotionBlockedError if there is none.

    `data` are seen through the study's task. A trial that `why_not` speaks against is passed over for the next best
    one, and `say` is told so.
    """
    sign = 1.0 if status.identity.direction == "maximize" else -1.0
    complete = [row for row in status.rows if row.state == "complete" and row.value is not None]
    if not complete:
        raise PromotionBlockedError(
            f"{status.name} has no complete trial yet ({_counts(status)}); continue it with 'lesion-search run'"
        )
    ranked = sorted(complete, key=lambda row: (-sign * float(row.value or 0.0), row.number))
    passed_over: dict[int, str] = {}

    def sound(row: TrialRow, *problems: str) -> bool:
        why = next((problem for problem in (*problems, why_not(row)) if problem), "")
        if why:
            passed_over[row.number] = why
            say(f"trial {row.number} ({row.value:.4g}) is passed over: {why}")
        return not why

    best = next((row for row in ranked if sound(row, _unpredicted(place, status.name, row))), None)
    if best is None:
        raise PromotionBlockedError(
            "\n  ".join([f"no complete trial of {status.name} can be promoted:", *passed_over.values()])
        )
    interval = _interval(place, status, data, best)
    error = (interval.high - interval.low) / (2 * 1.96)  # a 95 % interval is that many standard errors wide
    near = (row for row in ranked if 0 <= sign * (float(best.value or 0.0) - float(row.value or 0.0)) <= error)
    others = (row for row in near if row != best and row.number not in passed_over and sound(row))
    return Selection((best, *islice(others, max(1, limit) - 1)), interval, error)


def _unpredicted(place: Workspace, study: str, row: TrialRow) -> str:
    """Why the validation probabilities of a trial are not to be had; empty where they are."""
    path = place.trial(study, row.number) / PREDICTIONS
    try:
        _, epoch, value = load_predictions(path)
    except (OSError, ValueError, KeyError, BadZipFile) as problem:
        return f"{path} cannot be read: {problem}"
    if (epoch, value) != (row.epoch, row.value):
        return f"{path} holds predictions of value {value:.4g} after epoch {epoch}, not those of this trial"
    return ""


def _interval(place: Workspace, status: StudyStatus, data: PackedDataset, row: TrialRow) -> Interval:
    rows = data.split(status.identity.split).validation
    intervals = bootstrap(
        load_predictions(place.trial(status.name, row.number) / PREDICTIONS)[0],
        data.labels[rows],
        data.classes,
        groups=data.table["group"].iloc[rows].astype(str).tolist(),
        seed=0,
    )
    return intervals[status.identity.objective]


def _counts(status: StudyStatus) -> str:
    return ", ".join(f"{count} {state}" for state, count in status.counts.items() if count) or "no trial at all"
