"""Which trials of a study become its model, as far as validation can tell.

Without finalists: a validation part of 150 images cannot tell two good trials apart, and the single best of two dozen
is as much lucky as good. So the trials that lie within one standard error of the best (Breiman et al. 1984, section
3.4.3) count as equals, and up to `limit` of them average their probabilities. Nothing else is fitted to validation.

With finalists: the largest ensemble that forward selection on their validation predictions finds as good as its best
(`search.ensemble`); the search's own trials stay outside, because they would come first by the very luck that finalists
take away.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from lesion.data.packed import PackedDataset
from lesion.metrics import (
    Interval,
    bootstrap,
    lesions_of,
    limited_by,
    resamples,
    sampled_summary,
    sampled_variance,
    summary,
)
from search.candidates import Pool, fold_candidates, left_out, predictions_file, seed_candidates, sign_of, unpredicted
from search.ensemble import Candidate, Step, forward_selection
from search.errors import PromotionBlockedError, PromotionError
from search.predictions import load_predictions
from search.retention import KEPT
from search.rows import TrialRow
from search.series import FOLDS, series_of
from search.study import StudyStatus
from search.workspace import Workspace

SOURCES = ("folds", "seeds", "search")
"""What a model can be made of, in the order in which it is looked for."""
Problem = Callable[[TrialRow], str]
Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Selection:
    """Trials chosen on validation, best first, and the interval of the best one's objective.

    `source` is one of `SOURCES`; `steps` has the objective after each addition where trials were added one by one.
    `judged` are the data's rows (images,) and the probabilities (images, classes) on which it was done where that is
    not the study's validation part: each image was judged by the members that had not trained on it.
    """

    rows: tuple[TrialRow, ...]
    best: Interval
    standard_error: float
    source: str = "search"
    steps: tuple[float, ...] = ()
    judged: tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]] | None = None


def select(
    place: Workspace,
    status: StudyStatus,
    data: PackedDataset,
    limit: int,
    *,
    source: str | None = None,
    why_not: Problem = lambda row: "",
    say: Say = lambda text: None,
) -> Selection:
    """Up to `limit` complete trials, from `source` or from the first of `SOURCES` that has any.

    `data` are seen through the study's task. A trial that `why_not` speaks against is passed over for the next best
    one, and `say` is told so. Raises PromotionBlockedError if there is none.
    """
    pools = {name: [each for each in series_of(place, status.name) if each.kind == name] for name in SOURCES}
    begun = {name: any(each.complete for each in pool) for name, pool in pools.items()}
    source = source or next((name for name in SOURCES if begun[name]), "search")
    if source == "search":
        return _equals(place, status, data, limit, why_not, say)
    if not begun[source]:
        raise PromotionError(
            f"{status.name} has no complete finalists on {source}; run 'lesion-search finalists {status.name}' first"
        )
    for line in left_out(status, pools[source]):
        say(line)
    pool = fold_candidates if source == FOLDS else seed_candidates
    return _forward(place, status, data, limit, pool(place, status, pools[source], data, say), source, why_not, say)


def _equals(
    place: Workspace, status: StudyStatus, data: PackedDataset, limit: int, why_not: Problem, say: Say
) -> Selection:
    """The best trial of the search and those within one standard error of it."""
    if not 1 <= limit <= KEPT:
        raise PromotionError(f"an ensemble of {limit} trials: must be 1 to {KEPT}, whose checkpoints a study keeps")
    sign = sign_of(status)
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

    best = next((row for row in ranked if sound(row, unpredicted(place, status.name, row))), None)
    if best is None:
        raise PromotionBlockedError(
            "\n  ".join([f"no complete trial of {status.name} can be promoted:", *passed_over.values()])
        )
    rows = data.split(status.identity.split).validation
    interval = _interval(status, data, rows, load_predictions(predictions_file(place, status.name, best))[0])
    error = _standard_error(interval)
    near = (row for row in ranked if 0 <= sign * (float(best.value or 0.0) - float(row.value or 0.0)) <= error)
    others = (row for row in near if row != best and row.number not in passed_over and sound(row))
    return Selection((best, *islice(others, max(1, limit) - 1)), interval, error)


def _forward(
    place: Workspace,
    status: StudyStatus,
    data: PackedDataset,
    limit: int,
    pool: Pool,
    source: str,
    why_not: Problem,
    say: Say,
) -> Selection:
    """Forward selection, again without whatever turns out to be lost of what it chose."""
    labels, sign = data.labels[pool.images], sign_of(status)

    def score(probabilities: npt.NDArray[np.float64]) -> float:
        return sign * summary(probabilities, labels, data.classes)[status.identity.objective]

    groups = data.table["group"].iloc[pool.images].astype(str).tolist()

    weights = resamples(labels, groups=groups, seed=0)
    count = limited_by(status.identity.objective, data.classes, lesions_of(labels, data.classes, groups))

    def error(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
        drawn = [
            sampled_summary(each, labels, data.classes, weights)[status.identity.objective] for each in (first, second)
        ]
        return math.sqrt(sampled_variance(drawn[0] - drawn[1], count).value)

    candidates, problems = list(pool.candidates), list(pool.problems)
    while candidates:
        steps = forward_selection(candidates, score, limit, error)
        if not steps:
            size = min(len(each.rows) for each in candidates)
            raise PromotionError(f"an ensemble of {limit} cannot hold the {size} folds of a setting; allow {size}")
        lost = {step.candidate: why for step in steps if (why := _first_problem(step.candidate, why_not))}
        if not lost:
            return _chosen(status, data, pool, steps, source)
        for candidate, why in lost.items():
            problems.append(f"trial {candidate.label} is passed over: {why}")
            say(problems[-1])
            candidates.remove(candidate)
    raise PromotionBlockedError("\n  ".join([f"no finalist of {status.name} can be promoted:", *problems]))


def _chosen(status: StudyStatus, data: PackedDataset, pool: Pool, steps: Sequence[Step], source: str) -> Selection:
    interval = _interval(status, data, pool.images, steps[0].candidate.probabilities)
    rows = tuple(row for step in steps for row in step.candidate.rows)
    judged = None
    if source == FOLDS:
        judged = pool.images, np.mean([step.candidate.probabilities for step in steps], axis=0)
    scores = tuple(sign_of(status) * step.score for step in steps)
    return Selection(rows, interval, _standard_error(interval), source, scores, judged)


def _first_problem(candidate: Candidate, why_not: Problem) -> str:
    return next((why for row in candidate.rows if (why := why_not(row))), "")


def _interval(
    status: StudyStatus, data: PackedDataset, images: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float64]
) -> Interval:
    intervals = bootstrap(
        probabilities,
        data.labels[images],
        data.classes,
        groups=data.table["group"].iloc[images].astype(str).tolist(),
        seed=0,
    )
    return intervals[status.identity.objective]


def _standard_error(interval: Interval) -> float:
    return (interval.high - interval.low) / (2 * 1.96)  # a 95 % interval is that many standard errors wide


def _counts(status: StudyStatus) -> str:
    return ", ".join(f"{count} {state}" for state, count in status.counts.items() if count) or "no trial at all"
