"""Whether a search has come to its end: what can still be gained is less than the noise of the best value.

A Gaussian process over the settings says how much better than the best trial any setting of the space could still be,
at most, with high probability: the greatest upper confidence bound over points drawn from the space, less the greatest
lower one over the trials (Srinivas et al., ICML 2010, for the width of the bounds). The search is flat when that is
below the standard error of the best trial's value, as Makarova et al. (Automatic Termination for Hyperparameter
Optimization, AutoML 2022) propose; theirs is the error of cross-validation, ours that of the validation part, by
bootstrap. A difference that the validation part could not see is not worth another trial.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import optuna

from lesion.data.packed import PackedDataset
from lesion.metrics import bootstrap
from lesion.registry import Value
from search.identity import Identity
from search.ledger import Samples
from search.predictions import PREDICTIONS, load_predictions
from search.preflight import task_of
from search.rows import TrialRow
from search.space import Space
from search.workspace import Workspace

LEAST, MOST = 20, 200
"""Complete trials before which no end is seen, and how many of the last ones are looked at."""
DRAWN, SEED = 1000, 0
"""Points of the space that stand for all of it, and the seed that they are drawn with."""
CONFIDENCE = 0.1
"""How often the bounds may be wrong."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Left:
    """What is left to gain in the objective, at most, and the standard error of its best value."""

    gain: float
    noise: float

    @property
    def flat(self) -> bool:
        """Whether the search may end."""
        return self.gain < self.noise

    def __str__(self) -> str:
        return f"at most {self.gain:.2g} is left to gain, the best value is uncertain by {self.noise:.2g}"


def asker(
    place: Workspace, study: str, space: Space, data: PackedDataset, identity: Identity
) -> Callable[[Sequence[TrialRow]], Left | None]:
    """`left_to_gain` of the rows of one study."""
    task = task_of(space, data)
    noise = validation_noise(place, study, data if task is None else task.apply(data), identity)
    return lambda rows: left_to_gain(rows, space, identity.direction, noise)


def left_to_gain(
    rows: Sequence[TrialRow], space: Samples, direction: str, noise: Callable[[TrialRow], float]
) -> Left | None:
    """What a study may still gain; None before `LEAST` trials are complete, or where nothing can be told.

    `noise` is the standard error of a trial's value.
    """
    complete = [row for row in rows if row.state == "complete" and row.value is not None][-MOST:]
    if len(complete) < LEAST:
        return None
    sign = 1.0 if direction == "maximize" else -1.0
    values = sign * np.array([row.value for row in complete], np.float64)
    points = encoded([row.settings for row in complete], drawn(space))
    error = noise(complete[int(values.argmax())])
    if not math.isfinite(error):
        return None
    return Left(_regret(*points, values), error)


def validation_noise(
    place: Workspace, study: str, data: PackedDataset, identity: Identity
) -> Callable[[TrialRow], float]:
    """The standard error of a trial's value on the validation part, by bootstrap; NaN where it predicted nothing.

    `data` are seen through the study's task.
    """

    def noise(row: TrialRow) -> float:
        part = data.split(identity.split).validation
        try:
            probabilities, _, _ = load_predictions(place.trial(study, row.number) / PREDICTIONS)
        except (OSError, ValueError, KeyError, BadZipFile):
            return float("nan")
        groups = data.table["group"].iloc[part].astype(str).tolist()
        found = bootstrap(probabilities, data.labels[part], data.classes, groups=groups, samples=500, seed=SEED)
        interval = found[identity.objective]
        return (interval.high - interval.low) / (2 * 1.96)  # a 95 % interval is that many standard errors wide

    return noise


def drawn(space: Samples, count: int = DRAWN) -> list[Mapping[str, Value]]:
    """`count` settings drawn from the space at random."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=SEED))
    return [space.sample(study.ask()) for _ in range(count)]


def encoded(trials: Sequence[Mapping[str, Value]], points: Sequence[Mapping[str, Value]]) -> tuple[Floats, Floats]:
    """Settings as numbers from 0 to 1, of `trials` and of `points`, (N, columns) each.

    A number becomes its rank among the points, so that no scale need be known; a setting that a branch does not have is
    in the middle, and which branch it is the choices say, a column each.

    >>> encoded([{"lr": 0.1, "loss": "focal"}], [{"lr": 0.01, "loss": "focal"}, {"lr": 1.0, "loss": "ce"}])[0]
    array([[0. , 1. , 0.5]])
    """
    everything = [*trials, *points]
    columns: list[Floats] = []
    for name in sorted({name for settings in everything for name in settings}):
        values = [settings.get(name) for settings in everything]
        columns += _columns(values, values[len(trials) :])
    table = np.stack(columns, axis=1) if columns else np.zeros((len(everything), 1))
    return table[: len(trials)], table[len(trials) :]


def _columns(values: Sequence[Any], among: Sequence[Any]) -> list[Floats]:
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < sum(value is not None for value in values):
        kinds = sorted({str(value) for value in values})
        return [np.array([float(str(value) == kind) for value in values]) for kind in kinds] if len(kinds) > 1 else []
    if len(set(numbers)) < 2:
        return []
    scale = np.sort([value for value in among if value is not None] or numbers)
    return [np.array([0.5 if v is None else float(np.searchsorted(scale, v)) / len(scale) for v in values])]


def _regret(trials: Floats, points: Floats, values: Floats) -> float:
    """The most that a point could be better than the best trial, in units of `values`."""
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415 - seconds, and few searches ask
    from sklearn.gaussian_process import GaussianProcessRegressor, kernels  # noqa: PLC0415

    kernel = kernels.Matern(nu=2.5, length_scale_bounds=(0.05, 20.0)) + kernels.WhiteKernel(0.1, (1e-6, 1.0))
    model = GaussianProcessRegressor(kernel, normalize_y=True, random_state=SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a length scale at its bound: the setting does not matter
        model.fit(trials, values)
    noise = model.kernel_.k2.noise_level * values.var()  # of single trainings, which is not of the function
    width = _width(*trials.shape)

    def bounds(where: Floats) -> tuple[Floats, Floats]:
        mean, deviation = model.predict(where, return_std=True)
        deviation = np.sqrt(np.maximum(deviation**2 - noise, 0.0))
        return mean - width * deviation, mean + width * deviation

    low, high = bounds(trials)
    return float(max(high.max(), bounds(points)[1].max()) - low.max())


def _width(trials: int, columns: int) -> float:
    """Standard deviations from the mean to a bound: √β of Srinivas et al., scaled down by 5 as they do."""
    return math.sqrt(2 / 5 * math.log(columns * trials**2 * math.pi**2 / 6 / CONFIDENCE))
