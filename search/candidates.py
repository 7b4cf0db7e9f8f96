"""What promotion can choose among: finalists with their predictions of images that they had not trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from lesion.data.packed import PackedDataset
from search.ensemble import Candidate
from search.predictions import PREDICTIONS, load_predictions
from search.rows import TrialRow, best_row
from search.series import Series
from search.study import StudyStatus
from search.workspace import Workspace

Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Pool:
    """Candidates, the rows of the data (images,) that all of them were judged on, and what was not to be had."""

    images: npt.NDArray[np.int64]
    candidates: Sequence[Candidate]
    problems: Sequence[str]


def seed_candidates(
    place: Workspace, status: StudyStatus, pool: Sequence[Series], data: PackedDataset, say: Say
) -> Pool:
    """Every complete run on a fresh seed, best value first."""
    sign = sign_of(status)
    rows = [row for series in pool for row in series.complete]
    rows.sort(key=lambda row: (-sign * float(row.value or 0.0), row.series or "", row.number))
    found = [(row, unpredicted(place, status.name, row)) for row in rows]
    told = [f"trial {row.label} is passed over: {why}" for row, why in found if why]
    for line in told:
        say(line)
    candidates = [
        Candidate((row,), load_predictions(predictions_file(place, status.name, row))[0])
        for row, why in found
        if not why
    ]
    return Pool(data.split(status.identity.split).validation, candidates, told)


def fold_candidates(
    place: Workspace, status: StudyStatus, pool: Sequence[Series], data: PackedDataset, say: Say
) -> Pool:
    """The settings that were run on every fold, each with its out-of-fold predictions; of the series with most runs."""
    series = max(pool, key=lambda each: (len(each.complete), each.name))
    splits = sorted({row.split or "" for row in series.rows if row.settings})
    images = np.concatenate([data.split(name).validation for name in splits])
    candidates, told = [], []
    for number in sorted({row.finalist_of or 0 for row in series.complete}):
        runs = {row.split: row for row in series.complete if row.finalist_of == number}
        problems = [unpredicted(place, status.name, row) for row in runs.values()]
        missing = [name for name in splits if name not in runs]
        if missing or any(problems):
            why = f"no complete run on {', '.join(missing)}" if missing else next(filter(None, problems))
            told.append(f"the folds of trial {number} are passed over: {why}")
            say(told[-1])
            continue
        rows = tuple(runs[name] for name in splits)
        parts = [load_predictions(predictions_file(place, status.name, row))[0] for row in rows]
        candidates.append(Candidate(rows, np.concatenate(parts)))
    return Pool(images, candidates, told)


def left_out(status: StudyStatus, pool: Sequence[Series]) -> Iterator[str]:
    """What a reader of the promotion would want to know about finalists that are not there."""
    rows = [row for series in pool for row in series.rows]
    if waiting := sum(not row.finished for row in rows):
        yield f"{waiting} finalists are not finished and stay outside; the same 'finalists' command continues them"
    best = best_row(list(status.rows), status.identity.direction)
    if best is not None and best.number not in {row.finalist_of for row in rows}:
        yield f"trial {best.number}, the best of the search by now, was never run again; 'finalists' does so"


def unpredicted(place: Workspace, study: str, row: TrialRow) -> str:
    """Why the validation probabilities of a trial are not to be had; empty where they are."""
    path = predictions_file(place, study, row)
    try:
        _, epoch, value = load_predictions(path)
    except (OSError, ValueError, KeyError, BadZipFile) as problem:
        return f"{path} cannot be read: {problem}"
    if (epoch, value) != (row.epoch, row.value):
        return f"{path} holds predictions of value {value:.4g} after epoch {epoch}, not those of this trial"
    return ""


def predictions_file(place: Workspace, study: str, row: TrialRow) -> Path:
    """Where the validation probabilities of a trial of `study`, or of one of its finalists, are."""
    return place.trial(row.series or study, row.number) / PREDICTIONS


def sign_of(status: StudyStatus) -> float:
    """1 where a higher objective is better, -1 where a lower one is."""
    return 1.0 if status.identity.direction == "maximize" else -1.0
