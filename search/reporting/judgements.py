"""What can be compared: probabilities for known images, found by a short name.

isic2017                     the best complete trial of a study, on its validation part
isic2017:12                  trial 12, on the same part
isic2017:12/1                the first fresh seed of trial 12 among the finalists, "12 seed 1" in the tables
isic2017:12/fold-0           its run on that fold, on the fold's validation part
isic2017:12/1/20             where finalists were run for several numbers of epochs, that of 20
isic2017:test                the promoted model on the test part; of several promotions the champion, else the newest
isic2017:test-bea5875e       another promotion, by the beginning of its key
folder/per_image.csv         any table of image, truth and p_<class>
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lesion.data.packed import PackedDataset
from lesion.errors import LesionError
from lesion.submission import image_ids
from search.errors import ReportError, SearchError
from search.reopened import data_of, open_test_of, through_task
from search.reporting.judged import Judge, judge_of
from search.reporting.promoted import Promoted, promotions, read_per_image
from search.reporting.versions import versions_by_promotion
from search.rows import TrialRow
from search.series import Series, series_of
from search.standings import predictions_of
from search.study import StudyStatus, study_status
from search.workspace import Workspace

FINALIST = re.compile(r"(?P<study>[^/:]+):(?P<trial>\d+)/(?P<run>\d+|fold-\d+)(/(?P<epochs>\d+))?")


@dataclass(frozen=True, eq=False)
class Judgement:
    """Probabilities (N, classes) of images with labels (N,); `groups` are lesion ids, "" where unknown.

    `decisive` (N, classes) is largest where it was decided, by whatever rules; `chosen` says that the model was chosen
    by these very images. `note` says which of several was taken where the name did not.
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
    note: str = ""


def judgement_named(place: Workspace, name: str) -> Judgement:
    """The judgement called `name`; ReportError, LedgerError or DataError says what is missing."""
    finalist = FINALIST.fullmatch(name)
    if finalist:
        return _fresh(place, study_status(place, finalist["study"]), finalist)
    if name.endswith(".csv") or os.sep in name:
        return _table(Path(name))
    study, _, what = name.partition(":")
    status = study_status(place, study)
    if what.startswith("test"):
        return _tested(place, status, name, what.removeprefix("test").removeprefix("-"))
    if what and not what.isdigit():
        raise ReportError(
            f"{name!r}: after the study's name comes a trial's number or 'test', as in {study}:12; "
            f"run 1 of its finalists is {study}:12/1"
        )
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
    return _on_validation(f"{status.name}:{row.number}", status.identity.split, judge, probabilities)


def _fresh(place: Workspace, status: StudyStatus, named: re.Match[str]) -> Judgement:
    """A run of a finalist: of a fresh seed on the study's validation part, or of a fold on the fold's own."""
    trial, known = int(named["trial"]), {}
    for series in series_of(place, status.name):
        for row in series.rows:
            if row.finalist_of == trial and row.settings:
                known[_finalist(series, row)] = series, row
    asked = named[0].removeprefix(f"{status.name}:")
    fitting = [asked] if asked in known else [name for name in known if name.rpartition("/")[0] == asked]
    if len(fitting) != 1:
        names = ", ".join(f"{status.name}:{name}" for name in fitting or known)
        none = f"none: 'lesion-search finalists {status.name} --trials {trial}' runs it again"
        which = "is of several numbers of epochs" if fitting else "is no run of its finalists"
        raise ReportError(f"{named[0]!r} {which}; known: {names or none}")
    series, row = known[fitting[0]]
    judge = judge_of(place, status)
    if isinstance(judge, str):
        raise ReportError(f"{status.name}: {judge}")
    split = row.split or status.identity.split
    judge = replace(judge, rows=np.asarray(judge.data.split(split).validation, np.int64))
    probabilities = predictions_of(place, series, row)
    if probabilities is None or probabilities.shape != (len(judge.rows), len(judge.data.classes)):
        raise ReportError(f"{named[0]} ({row.state}) has no validation predictions")
    # A fold's images are others than those that the settings were chosen on.
    told = _on_validation(f"{status.name}:{fitting[0]}", split, judge, np.asarray(probabilities, np.float64))
    return replace(told, chosen=row.split is None)


def _finalist(series: Series, row: TrialRow) -> str:
    """``3/1``, ``3/fold-0``, ``3/1/20`` where it trained for other epochs than the search."""
    longer = "" if series.as_long_as_the_search else f"/{series.epochs}"
    return f"{row.finalist_of}/{row.split or row.index + 1}{longer}"


def _on_validation(name: str, split: str, judge: Judge, probabilities: npt.NDArray[np.float64]) -> Judgement:
    return Judgement(
        name,
        f"validation, split {split} of {judge.status.identity.data}",
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
    last, note = _taken(place, status.name, name, found)
    return Judgement(
        f"{status.name}:test-{last.key[:8]}",
        f"test part of {status.identity.data}",
        last.classes,
        last.images,
        last.labels,
        _lesions(place, status, last.images),
        last.probabilities,
        last.decisive,
        note=note,
    )


def _taken(place: Workspace, study: str, name: str, found: Sequence[Promoted]) -> tuple[Promoted, str]:
    """The promotion that is meant by a name that fits several, oldest first, and in words which and why."""
    if len(found) == 1:
        return found[0], ""
    known, unknown = versions_by_promotion(place, study)
    champions = [each for each in found if any(version.champion for version in known.get(each.key, ()))]
    taken, why = found[-1], "the newest of"
    if champions:
        taken, why = champions[-1], "the champion among" if len(champions) == 1 else "the newest champion among"
    others = " or ".join(f"{study}:test-{each.key[:8]}" for each in found if each is not taken)
    told = f"{name} is promotion {taken.key[:8]}, {why} {len(found)}; name another as {others}"
    return taken, told + (f" ({unknown})" if unknown else "")


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
