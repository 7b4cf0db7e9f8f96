"""What can be compared: probabilities for known images, found by a short name.

isic2017                     the best complete trial of a study, on its validation part
isic2017:12                  trial 12, on the same part
isic2017:test                the promoted model on the test part, as the last promotion scored it
isic2017:test-bea5875e       another promotion, by the beginning of its key
folder/per_image.csv         any table of image, truth and p_<class>
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lesion.data.packed import PackedDataset
from lesion.errors import LesionError
from lesion.submission import image_ids
from search.errors import ReportError, SearchError
from search.reopened import data_of, open_test_of, through_task
from search.reporting.judged import judge_of
from search.reporting.promoted import promotions, read_per_image
from search.rows import TrialRow
from search.study import StudyStatus, study_status
from search.workspace import Workspace


@dataclass(frozen=True, eq=False)
class Judgement:
    """Probabilities (N, classes) of images with labels (N,); `groups` are lesion ids, "" where unknown.

    `decisive` (N, classes) is largest where it was decided, by whatever rules; `chosen` says that the model was chosen
    by these very images.
    """

    name: str
    part: str
    classes: tuple[str, ...]
    images: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    groups: tuple[str, ...]
    probabilities: npt.NDArray[np.float64]
    decisive: npt.NDArray[np.float64]
    chosen: bool = False


def judgement_named(place: Workspace, name: str) -> Judgement:
    """The judgement called `name`; ReportError, LedgerError or DataError says what is missing."""
    if name.endswith(".csv") or os.sep in name:
        return _table(Path(name))
    study, _, what = name.partition(":")
    status = study_status(place, study)
    if what.startswith("test"):
        return _tested(place, status, name, what.removeprefix("test").removeprefix("-"))
    if what and not what.isdigit():
        raise ReportError(f"{name!r}: after the study's name comes a trial's number or 'test', as in {study}:12")
    return _validated(place, status, _row(status, int(what) if what else None))


def _row(status: StudyStatus, number: int | None) -> TrialRow:
    if number is None:
        best = status.best
        if best is None:
            raise ReportError(f"{status.name} has no trial with a value yet; continue it with 'lesion-search run'")
        return best
    row = next((row for row in status.rows if row.number == number), None)
    if row is None:
        raise ReportError(f"{status.name} has no trial {number}; it has {len(status.rows)}, from 0")
    return row


def _validated(place: Workspace, status: StudyStatus, row: TrialRow) -> Judgement:
    judge = judge_of(place, status)
    if isinstance(judge, str):
        raise ReportError(f"{status.name}: {judge}")
    probabilities = judge.probabilities(row)
    if probabilities is None:
        raise ReportError(f"trial {row.number} of {status.name} ({row.state}) has no validation predictions")
    return Judgement(
        f"{status.name}:{row.number}",
        f"validation, split {status.identity.split} of {status.identity.data}",
        judge.data.classes,
        tuple(image_ids(judge.images)),
        judge.labels,
        tuple(judge.groups),
        probabilities,
        probabilities,
        chosen=True,
    )


def _tested(place: Workspace, status: StudyStatus, name: str, key: str) -> Judgement:
    found = [each for each in promotions(place, status.name) if each.key.startswith(key)]
    if not found:
        known = ", ".join(f"{status.name}:test-{each.key}" for each in promotions(place, status.name))
        raise ReportError(f"no promotion {name!r}; known: {known or 'none: its test part was never opened'}")
    last = found[-1]
    return Judgement(
        f"{status.name}:test-{last.key[:8]}",
        f"test part of {status.identity.data}",
        last.classes,
        last.images,
        last.labels,
        _lesions(place, status, last.images),
        last.probabilities,
        last.decisive,
    )


def _lesions(place: Workspace, status: StudyStatus, images: tuple[str, ...]) -> tuple[str, ...]:
    """Lesion ids of test images, or "" for each where the test part is not to be had any more."""
    try:
        data: PackedDataset = through_task(
            status.identity, open_test_of(place, data_of(place, status.name, status.identity))
        )
    except (LesionError, SearchError):
        return ("",) * len(images)
    known = dict(zip(image_ids([str(each) for each in data.table["image"]]), data.table["group"], strict=True))
    return tuple(str(known.get(image, "")) for image in images)


def _table(path: Path) -> Judgement:
    try:
        told = read_per_image(path)
    except FileNotFoundError:
        raise ReportError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as problem:
        raise ReportError(str(problem) if str(path) in str(problem) else f"{path}: {problem}") from problem
    unknown = ("",) * len(told.images)
    return Judgement(
        str(path), "a table", told.classes, told.images, told.labels, unknown, told.probabilities, told.decisive
    )
