"""How finalists stand: settings ranked on the mean of their fresh runs, and how much the search had flattered them.

Intervals have two parts. That of the images comes from drawing lesions again (`lesion.metrics.bootstrap`), the same
draws for every run that was judged on the same images, so settings are compared on the same draws of patients. That of
the runs is the variance of a setting's fresh values, of R runs with R - 1 degrees of freedom: Student's t of both
together (`lesion.metrics.variance`) goes far where three runs differ by more than their images explain. How far a
setting is behind takes the variance of a run of all settings, pooled, and so does the mean of a single run; where no
setting has two, there are no intervals.

On folds every run has its own images, which all settings share. What is left when a fold's mean and a setting's are
taken off is the luck of runs, of all settings together: the residual of a two-way table, a randomised block design
(Fisher 1935). Folds that learnt from much the same images are taken as independent (Bengio & Grandvalet 2004 say that
nothing better is to be had from them alone).

The winner's curse: the search's score of a setting that was chosen for that score is too good. Its drop is that score
minus the mean of the fresh ones; the expected drop is the mean over these settings, as uncertain as their fresh means
are. On fresh seeds the validation images are those that the search had chosen on, so what is seen is the luck of the
run; the luck of the images is seen on folds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from lesion.data.packed import PackedDataset
from lesion.metrics import (
    INFLATED,
    Interval,
    Variance,
    inflated_interval,
    interval_around,
    interval_within,
    lesions_of,
    limited_by,
    metric_named,
    resamples,
    sampled_summary,
    sampled_variance,
)
from search.predictions import PREDICTIONS, load_predictions
from search.rows import TrialRow
from search.series import Series
from search.workspace import Workspace

Samples = npt.NDArray[np.float64]
SAMPLES = 1000


@dataclass(frozen=True, eq=False)
class Draws:
    """Bootstrap samples (draws,) of the objective of runs, by the run's number.

    `lesions` are what the objective hangs on (`lesion.metrics.limited_by`), `low` and `high` its bounds; `inflated`
    says that chance makes it larger (`lesion.metrics.INFLATED`).
    """

    of: Mapping[int, Samples]
    lesions: int
    low: float = 0.0
    high: float = 1.0
    inflated: bool = False


@dataclass(frozen=True)
class Standing:
    """One setting among the finalists.

    `trial` is the search's, `runs` its complete fresh ones and `planned` all that were begun. `mean` and `deviation`
    (NaN for a single run) are of the fresh values. `interval` is of the mean, `behind` of how far the first one's mean
    is better, both None where the predictions or the data are not to be had, or nothing shows how runs differ. `drop`
    is by how much the search's value was better than the mean, None where it is not comparable: the trial was pruned,
    or trained for as many epochs as the runs did not.
    """

    trial: TrialRow
    runs: tuple[TrialRow, ...]
    planned: int
    mean: float
    deviation: float
    interval: Interval | None = None
    behind: Interval | None = None
    drop: float | None = None

    @property
    def of_runs(self) -> Variance | None:
        """Of the mean, by which of all fresh runs there were; a single one does not show it."""
        count = len(self.runs)
        return Variance(self.deviation**2 / count, count - 1) if count > 1 else None


def standings(
    place: Workspace, series: Series, searched: Sequence[TrialRow], data: PackedDataset | None
) -> tuple[Standing, ...]:
    """The settings of `series` that have a fresh value, best mean first.

    `searched` are the rows of the search; `data` are seen through the study's task, None leaves the intervals out.
    """
    return ranked(series, searched, None if data is None else resampled(place, series, data))


def ranked(series: Series, searched: Sequence[TrialRow], draws: Draws | None) -> tuple[Standing, ...]:
    """As `standings`, from the draws of the runs of the series."""
    sign = 1.0 if series.identity.direction == "maximize" else -1.0
    trials = {row.number: row for row in searched}
    settings: dict[int, list[TrialRow]] = {}
    for row in series.rows:
        if row.finalist_of in trials:
            settings.setdefault(row.finalist_of, []).append(row)
    found = [_standing(series, trials[number], rows, sign) for number, rows in settings.items()]
    # Means over other folds are of other images: a setting that lacks one comes after those that lack none.
    most = max((len(each.runs) for each in found), default=0) if series.on_folds else 0
    found = [each for each in found if each.runs]
    found.sort(key=lambda each: (len(each.runs) < most, -sign * each.mean, each.trial.number))
    if draws is None:
        return tuple(found)
    doubt = _Doubt(draws, _left_over(found) if series.on_folds else _pooled(found), series.on_folds)
    return tuple(
        replace(
            each,
            interval=doubt.interval(each),
            behind=doubt.behind(sign * (found[0].mean - each.mean), found[0], each, len(found) - 1),
        )
        for each in found
    )


@dataclass(frozen=True, eq=False)
class _Doubt:
    """How far the means of settings may be off: `single` is the variance of a run of any setting, where it is known."""

    draws: Draws
    single: Variance | None
    on_folds: bool

    def interval(self, standing: Standing) -> Interval | None:
        """Of a setting's mean; None where it is not known."""
        own, luck = _drawn(standing, self.draws.of), self._luck(standing)
        if own is None or luck is None:
            return None
        # Of one setting alone the folds' values differ by their images, too.
        together = self.on_folds and self.single is None
        variance = luck if together else sampled_variance(own, self.draws.lesions) + luck
        if self.draws.inflated:
            return inflated_interval(standing.mean, own, variance)
        return interval_within(standing.mean, variance, self.draws.low, self.draws.high)

    def behind(self, value: float, first: Standing, other: Standing, others: int) -> Interval | None:
        """Behind the first, which any of `others` might have been: so wide that all hold together (after Hsu 1984)."""
        drawn = [_drawn(each, self.draws.of) for each in (first, other)]
        if drawn[0] is None or drawn[1] is None or self.single is None or self.draws.inflated:
            return None
        runs = self.single.value * (1 / len(first.runs) + 1 / len(other.runs))
        variance = Variance(runs, self.single.freedom)
        if not self.on_folds or _folds(first) != _folds(other):
            # Else what a fold's images do to one setting and not to the other is in what its runs differ by.
            variance += sampled_variance(drawn[0] - drawn[1], self.draws.lesions)
        return interval_around(value, variance, others)

    def _luck(self, standing: Standing) -> Variance | None:
        if standing.of_runs is not None and not (self.on_folds and self.single is not None):
            return standing.of_runs
        return None if self.single is None else Variance(self.single.value / len(standing.runs), self.single.freedom)


def _pooled(found: Sequence[Standing]) -> Variance | None:
    """Of a single run, from all settings that have several; None where there is none."""
    several = [each for each in found if len(each.runs) > 1]
    freedom = sum(len(each.runs) - 1 for each in several)
    if not freedom:
        return None
    return Variance(sum((len(each.runs) - 1) * each.deviation**2 for each in several) / freedom, freedom)


def _table(found: Sequence[Standing]) -> Samples:
    """Values (settings, folds) of the settings that have the folds which the first has."""
    folds = _folds(found[0])
    return np.array([[row.value for row in each.runs] for each in found if _folds(each) == folds], np.float64)


def _folds(standing: Standing) -> list[int]:
    return [row.index for row in standing.runs]


def _left_over(found: Sequence[Standing]) -> Variance | None:
    """Of a single run beside what its fold and its setting make of it; None of fewer than two of either."""
    values = _table(found) if found else np.zeros((0, 0))
    if min(values.shape) < 2:
        return None
    freedom = (values.shape[0] - 1) * (values.shape[1] - 1)
    left = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
    return Variance(float((left**2).sum()) / freedom, freedom)


def dropped(standings: Sequence[Standing], *, on_folds: bool = False) -> tuple[Standing, ...]:
    """Those over which the expected drop is: that have one, on folds of the same folds as the first that has one."""
    found = tuple(each for each in standings if each.drop is not None)
    return tuple(each for each in found if _folds(each) == _folds(found[0])) if on_folds else found


def expected_drop(standings: Sequence[Standing], *, on_folds: bool = False) -> Interval | None:
    """Mean drop of those settings that are `dropped`, with its 95 % interval; None of fewer than two.

    Their scores in the search are what they are: the fresh means are uncertain, by the luck of runs, on folds by that
    of images as well, of which the means of folds over the settings tell: None of fewer than two folds. Where no
    setting has a second run, the drops themselves must: they differ by the search's luck, too.

    >>> expected_drop([])
    """
    found = dropped(standings, on_folds=on_folds)
    if len(found) < 2:
        return None
    drops = np.array([each.drop for each in found], np.float64)
    single = _pooled(found)
    if on_folds:
        of_folds = _table(found).mean(axis=0)
        if len(of_folds) < 2:
            return None
        variance = Variance(float(of_folds.var(ddof=1)) / len(of_folds), len(of_folds) - 1)
    elif single is not None:
        variance = Variance(single.value * sum(1 / len(each.runs) for each in found) / len(found) ** 2, single.freedom)
    else:
        variance = Variance(float(drops.var(ddof=1)) / len(drops), len(drops) - 1)
    return interval_around(float(drops.mean()), variance)


def resampled(place: Workspace, series: Series, data: PackedDataset) -> Draws:
    """The objective of every complete run on draws of lesions.

    A run whose predictions are lost or of another epoch is left out.
    """
    objective = series.identity.objective
    found: dict[int, Samples] = {}
    lesions: dict[str, npt.NDArray[np.int64]] = {}
    for row in series.complete:
        probabilities = predictions_of(place, series, row)
        split = row.split or series.identity.split
        rows = data.split(split).validation
        if probabilities is None or len(probabilities) != len(rows):
            continue
        labels, groups = data.labels[rows], data.table["group"].iloc[rows].astype(str).tolist()
        drawn = resamples(labels, groups=groups, samples=SAMPLES, seed=row.index if series.on_folds else 0)
        found[row.number] = sampled_summary(probabilities, labels, data.classes, drawn)[objective]
        lesions[split] = lesions_of(labels, data.classes, groups)
    metric = metric_named(objective, data.classes)
    # Folds have no lesion in common, so what they have adds up.
    count = limited_by(objective, data.classes, np.sum(list(lesions.values()), axis=0)) if lesions else 0
    return Draws(found, count, metric.low, metric.high, objective in INFLATED)


def predictions_of(place: Workspace, series: Series, row: TrialRow) -> npt.NDArray[np.float64] | None:
    """Validation probabilities (images, classes) of a run after its last epoch, or None."""
    try:
        probabilities, epoch, value = load_predictions(place.trial(series.name, row.number) / PREDICTIONS)
    except (OSError, ValueError, KeyError, BadZipFile):
        return None
    return probabilities if (epoch, value) == (row.epoch, row.value) else None


def _standing(series: Series, trial: TrialRow, rows: Sequence[TrialRow], sign: float) -> Standing:
    runs = tuple(sorted((row for row in rows if row in series.complete), key=lambda row: row.index))
    values = np.array([row.value for row in runs], np.float64)
    mean = float(values.mean()) if len(values) else math.nan
    deviation = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    comparable = trial.state == "complete" and trial.value is not None and series.as_long_as_the_search
    drop = sign * (float(trial.value or 0.0) - mean) if comparable and runs else None
    return Standing(trial, runs, len(rows), mean, deviation, drop=drop)


def _drawn(standing: Standing, samples: Mapping[int, Samples]) -> Samples | None:
    """Draws of a setting's mean; None where those of a run are not to be had."""
    if any(row.number not in samples for row in standing.runs):
        return None
    return np.asarray(np.mean([samples[row.number] for row in standing.runs], axis=0))
