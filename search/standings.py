"""How finalists stand: settings ranked on the mean of their fresh runs, and how much the search had flattered them.

Intervals have two parts. That of the images comes from drawing lesions again (`lesion.metrics.bootstrap`), the same
draws for every run that was judged on the same images, so settings are compared on the same draws of patients. That of
the runs is the variance of a setting's fresh values, of R runs with R - 1 degrees of freedom: Student's t of both
together (`lesion.metrics.variance`) goes far where three runs differ by more than their images explain. A setting with
a single run borrows the variance of the others' runs, pooled; where no setting has two, there are no intervals. On
folds only lesions are drawn: folds differ in their lesions already.

The winner's curse: the search's score of a setting that was chosen for that score is too good. Its drop is that score
minus the mean of the fresh ones; the expected drop is the mean over the settings, with a t interval. On fresh seeds
the validation images are those that the search had chosen on, so what is seen is the luck of the run; the luck of the
images is seen on folds.
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
    drawn = [_drawn(each, draws.of) for each in found]
    pooled = _pooled(found)
    runs = [Variance(0.0) if series.on_folds else each.of_runs or pooled for each in found]
    return tuple(
        replace(
            each,
            interval=_interval(each.mean, own, spread, draws),
            behind=_behind(
                sign * (found[0].mean - each.mean), (drawn[0], runs[0]), (own, spread), draws, len(found) - 1
            ),
        )
        for each, own, spread in zip(found, drawn, runs, strict=True)
    )


def _pooled(found: Sequence[Standing]) -> Variance | None:
    """Of a single run, from all settings that have several; None where there is none."""
    several = [each for each in found if len(each.runs) > 1]
    freedom = sum(len(each.runs) - 1 for each in several)
    if not freedom:
        return None
    return Variance(sum((len(each.runs) - 1) * each.deviation**2 for each in several) / freedom, freedom)


def expected_drop(standings: Sequence[Standing]) -> Interval | None:
    """Mean drop over the settings with its 95 % t interval; None of fewer than two drops.

    >>> expected_drop([])
    """
    from scipy.stats import t  # noqa: PLC0415 - most of a second

    drops = np.array([each.drop for each in standings if each.drop is not None])
    if len(drops) < 2:
        return None
    half = float(t.ppf(0.975, len(drops) - 1) * drops.std(ddof=1) / math.sqrt(len(drops)))
    mean = float(drops.mean())
    return Interval(mean, mean - half, mean + half)


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


def _interval(mean: float, own: Samples | None, runs: Variance | None, draws: Draws) -> Interval | None:
    if own is None or runs is None:
        return None
    variance = sampled_variance(own, draws.lesions) + runs
    if draws.inflated:
        return inflated_interval(mean, own, variance)
    return interval_within(mean, variance, draws.low, draws.high)


def _behind(
    value: float,
    first: tuple[Samples | None, Variance | None],
    own: tuple[Samples | None, Variance | None],
    draws: Draws,
    others: int,
) -> Interval | None:
    """Behind the first, which any of the `others` might have been: so wide that all hold together (after Hsu 1984)."""
    (drawn_first, runs_first), (drawn, runs) = first, own
    if drawn_first is None or drawn is None or runs_first is None or runs is None or draws.inflated:
        return None
    variance = sampled_variance(drawn_first - drawn, draws.lesions) + runs_first + runs
    return interval_around(value, variance, others)
