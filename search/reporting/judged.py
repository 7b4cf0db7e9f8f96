"""How the best trials judge the validation images: scores with intervals, differences, and the hardest images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from lesion.data.packed import PackedDataset
from lesion.errors import LesionError
from lesion.evaluation import Evaluation, evaluate
from lesion.metrics import (
    INFLATED,
    Interval,
    difference_interval,
    intervals_of,
    lesions_of,
    limited_by,
    resamples,
    sampled_summary,
    summary,
)
from search.errors import SearchError
from search.predictions import PREDICTIONS, load_confusions, load_metrics, load_predictions
from search.reopened import data_of, through_task
from search.rows import TrialRow
from search.study import StudyStatus
from search.workspace import Workspace

Floats = npt.NDArray[np.float64]

TOP, HARDEST = 10, 24
"""Trials that are judged, and images that are shown."""
SAMPLES = 1000


@dataclass(frozen=True, eq=False)
class Judge:
    """The validation part of a study, as its trials saw it; `rows` are positions in `data`."""

    place: Workspace
    status: StudyStatus
    data: PackedDataset
    rows: npt.NDArray[np.int64]

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Labels (N,) of the validation part."""
        return np.asarray(self.data.labels[self.rows], np.int64)

    @property
    def images(self) -> list[str]:
        """Image ids (N,)."""
        return [str(name) for name in self.data.table["image"].iloc[self.rows]]

    @property
    def groups(self) -> list[str]:
        """Lesion ids (N,)."""
        return [str(name) for name in self.data.table["group"].iloc[self.rows]]

    def probabilities(self, row: TrialRow) -> Floats | None:
        """What a trial predicted after its last epoch, (N, classes); None where that is not to be had."""
        try:
            found, epoch, _ = load_predictions(self.place.trial(self.status.name, row.number) / PREDICTIONS)
        except (OSError, ValueError, KeyError, BadZipFile):
            return None
        fits = epoch == row.epoch and found.shape == (len(self.rows), len(self.data.classes))
        return np.asarray(found, np.float64) if fits else None

    def confusions(self, row: TrialRow) -> dict[int, npt.NDArray[np.int64]]:
        """Counts (classes, classes + 1) of (true, decided) after each epoch of a trial, as far as they were kept."""
        try:
            found = load_confusions(self.place.trial(self.status.name, row.number) / PREDICTIONS)
        except (OSError, ValueError, KeyError):
            return {}
        fits = (len(self.data.classes), len(self.data.classes) + 1)
        return {epoch: counts for epoch, counts in found.items() if counts.shape == fits and epoch <= row.epoch}

    def epochs(self, row: TrialRow) -> dict[int, dict[str, float]]:
        """All metrics after each epoch of a trial, as far as they were kept."""
        try:
            found = load_metrics(self.place.trial(self.status.name, row.number) / PREDICTIONS)
        except (OSError, ValueError, KeyError):
            return {}
        return {epoch: metrics for epoch, metrics in found.items() if epoch <= row.epoch}


@dataclass(frozen=True)
class Ranked:
    """A complete trial, its objective with interval, and by how much the best of them is better (None for that one)."""

    row: TrialRow
    score: Interval
    behind: Interval | None


@dataclass(frozen=True)
class Hard:
    """A validation image on which the best trials are most wrong together: mean probability of the truth."""

    row: int
    image: str
    truth: str
    decision: str
    probability: float


def judge_of(place: Workspace, status: StudyStatus) -> Judge | str:
    """The judge of a study, or in words why there is none any more."""
    try:
        data = through_task(status.identity, data_of(place, status.name, status.identity))
        return Judge(place, status, data, np.asarray(data.split(status.identity.split).validation, np.int64))
    except (LesionError, SearchError) as problem:
        return str(problem)


def ranked(judge: Judge, rows: Sequence[TrialRow], *, seed: int = 0) -> list[Ranked]:
    """The best `TOP` of complete `rows`, which come best first; differences are paired, on the same images."""
    objective, classes = judge.status.identity.objective, judge.data.classes
    sign = 1.0 if judge.status.identity.direction == "maximize" else -1.0
    lesions = lesions_of(judge.labels, classes, judge.groups)
    images = lesions_of(judge.labels, classes)
    weights = resamples(judge.labels, groups=judge.groups, samples=SAMPLES, seed=seed)
    found: list[Ranked] = []
    first: tuple[float, Floats] | None = None
    for row in rows[:TOP]:
        probabilities = judge.probabilities(row)
        if probabilities is None or row.value is None:
            found.append(Ranked(row, Interval(float(row.value or np.nan), np.nan, np.nan), None))
            continue
        drawn = sampled_summary(probabilities, judge.labels, classes, weights)
        values = {**summary(probabilities, judge.labels, classes), objective: row.value}
        score = intervals_of(values, drawn, lesions, classes, images=images)[objective]
        sampled = drawn[objective]
        behind = None
        if first is not None and objective not in INFLATED:
            count = limited_by(objective, classes, lesions)
            behind = difference_interval(sign * (first[0] - row.value), sign * (first[1] - sampled), count)
        first = first or (row.value, sampled)
        found.append(Ranked(row, score, behind))
    return found


def evaluated(judge: Judge, row: TrialRow, *, seed: int = 0, samples: int = SAMPLES) -> Evaluation | None:
    """Everything about a trial's validation predictions, intervals of so many draws; None where there are none."""
    probabilities = judge.probabilities(row)
    if probabilities is None:
        return None
    return evaluate(
        probabilities, judge.labels, judge.data.classes,
        images=judge.images, groups=judge.groups, seed=seed, samples=samples,
    )  # fmt: skip


def hardest(judge: Judge, rows: Sequence[TrialRow], count: int = HARDEST) -> list[Hard]:
    """Images by the mean probability that `rows` give to the truth, lowest first."""
    known = [found for found in map(judge.probabilities, rows) if found is not None]
    if not known:
        return []
    mean = np.mean(known, axis=0)
    given = mean[np.arange(len(mean)), judge.labels]
    classes = judge.data.classes
    return [
        Hard(
            int(judge.rows[place]),
            judge.images[place],
            classes[judge.labels[place]],
            classes[int(mean[place].argmax())],
            float(given[place]),
        )
        for place in np.argsort(given, kind="stable")[:count]
    ]
