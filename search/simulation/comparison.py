"""Ways to search, compared on the same recorded curves: what each spends to reach a value, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from search.ledger import derived_seed
from search.simulation.curves import Recorded
from search.simulation.replay import Moment, reached, replay
from search.space import Asha, Space
from search.space.space import Sampler

TARGET = 0.95
"""Quantile of what whole recorded trials reached at best that counts as found."""


@dataclass(frozen=True)
class Method:
    """A sampler, "tpe" or "random", with the scheduler of the space or none."""

    sampler: Sampler
    stops: bool

    @property
    def name(self) -> str:
        """As it is shown."""
        return f"{self.sampler}, ASHA" if self.stops else f"{self.sampler}, no stopping"


METHODS = (Method("random", False), Method("random", True), Method("tpe", False), Method("tpe", True))


@dataclass(frozen=True)
class Outcome:
    """A method over all repeats: medians, `reached` the share of them that found the target within the trials.

    `epochs` and `hours` are spent until the target; None where fewer than half found it. `ratio` is how much cheaper
    than the first method, in epochs. `best` is after the last trial, `total` all epochs spent by then.
    """

    method: Method
    reached: float
    epochs: float | None
    hours: float | None
    ratio: float | None
    best: float
    total: float


def target_of(recorded: Recorded, direction: str, quantile: float = TARGET) -> float:
    """The value that only one recorded trial in twenty reaches at any of its epochs."""
    sign = 1.0 if direction == "maximize" else -1.0
    best = [max(sign * value for value in curve.values) for curve in recorded.curves]
    return float(sign * np.quantile(best, quantile))


def compare(
    space: Space,
    recorded: Recorded,
    *,
    target: float,
    trials: int,
    workers: int,
    repeats: int,
    methods: Iterable[Method] = METHODS,
    progress: Callable[[int, int, str], object] = lambda done, total, what: None,
) -> list[Outcome]:
    """Replay each method `repeats` times, with seeds of its own each; the same ones for every method."""
    outcomes: list[Outcome] = []
    for method in methods:
        runs = []
        for repeat in range(repeats):
            runs.append(_replayed(space, recorded, method, trials, workers, derived_seed(space.seed, "replay", repeat)))
            progress(repeat + 1, repeats, method.name)
        outcomes.append(_outcome(method, runs, target, space.direction, outcomes[0] if outcomes else None))
    return outcomes


def _replayed(space: Space, recorded: Recorded, method: Method, trials: int, workers: int, seed: int) -> list[Moment]:
    asha = (space.scheduler or Asha()) if method.stops else None
    return replay(space, recorded, sampler=method.sampler, asha=asha, trials=trials, workers=workers, seed=seed)


def _outcome(method: Method, runs: list[list[Moment]], target: float, direction: str, first: Outcome | None) -> Outcome:
    found = [next(reached(run, target, direction), None) for run in runs]
    # A run that never found it counts as dearer than any: the median stays honest.
    epochs = float(np.median([moment.epochs if moment else np.inf for moment in found]))
    seconds = float(np.median([moment.seconds if moment else np.inf for moment in found]))
    known = bool(np.isfinite(epochs))
    base = epochs if first is None else first.epochs
    return Outcome(
        method=method,
        reached=sum(moment is not None for moment in found) / len(found),
        epochs=epochs if known else None,
        hours=seconds / 3600 if known else None,
        ratio=base / epochs if known and base is not None else None,
        best=float(np.median([run[-1].best for run in runs])),
        total=float(np.median([run[-1].epochs for run in runs])),
    )
