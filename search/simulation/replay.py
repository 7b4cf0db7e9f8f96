"""One simulated search: the real sampler and the real scheduler, on recorded curves, in simulated time."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import optuna
from optuna.trial import TrialState
from ray.tune.schedulers import TrialScheduler

from search.ledger import derived_seed
from search.proposals import History, Proposal
from search.searcher import scheduler_for
from search.simulation.curves import Curve, Recorded
from search.space import Asha, Space
from search.space.space import Sampler
from search.trial import Order


@dataclass(frozen=True)
class Moment:
    """After an epoch of any trial: epochs spent by all, simulated seconds gone by, the best value seen so far."""

    epochs: int
    seconds: float
    best: float


@dataclass(order=True)
class _Running:
    """A trial at the end of its next epoch, ordered by when that is."""

    due: float
    number: int
    trial: Any = field(compare=False)
    handle: Any = field(compare=False)
    curve: Curve = field(compare=False)
    epoch: int = field(default=0, compare=False)


def replay(
    space: Space, recorded: Recorded, *, sampler: Sampler, asha: Asha | None, trials: int, workers: int, seed: int
) -> list[Moment]:
    """Search `space` by `sampler` ("tpe" or "random") and `asha` (None: every trial goes to its end).

    `workers` trials run at a time; `trials` in all. The moments, one an epoch, in simulated time.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search = _Search(space, recorded, sampler, asha, seed)
    running: list[_Running] = []
    moments: list[Moment] = []
    now, best, begun = 0.0, -float("inf"), 0
    while running or begun < trials:
        while len(running) < workers and begun < trials:
            heapq.heappush(running, search.begin(begun, now))
            begun += 1
        current = heapq.heappop(running)
        now, value = current.due, search.step(current)
        best = max(best, search.sign * value)
        moments.append(Moment(len(moments) + 1, now, search.sign * best))
        if search.goes_on(current, value):
            current.due = now + current.curve.seconds
            heapq.heappush(running, current)
    return moments


class _Search:
    """Sampler and scheduler of one replay."""

    def __init__(self, space: Space, recorded: Recorded, sampler: Sampler, asha: Asha | None, seed: int) -> None:
        self.space, self.recorded, self.seed = space, recorded, seed
        self.sign = 1.0 if space.direction == "maximize" else -1.0
        self.study = optuna.create_study(direction=optuna.study.StudyDirection[space.direction.upper()])
        self._sampler, self._history = sampler, History(space.direction)
        self._scheduler: TrialScheduler | None = None
        if asha is not None:
            self._scheduler = scheduler_for(asha, recorded.epochs, space.direction, ())

    def begin(self, number: int, now: float) -> _Running:
        seed = derived_seed(self.seed, "sampler", number)
        self.study.sampler = Proposal(seed, self._history, self._sampler)
        trial = self.study.ask()
        curve = self.recorded.curve(self.space.sample(trial))
        handle: Any = SimpleNamespace(trial_id=str(number), config={"order": Order(number, 0)})
        if self._scheduler is not None:
            self._scheduler.on_trial_add(_nobody(), handle)
        return _Running(now + curve.seconds, number, trial, handle, curve)

    def step(self, running: _Running) -> float:
        """One epoch of a trial; its value."""
        running.epoch += 1
        value = running.curve.values[running.epoch - 1]
        running.trial.report(value, running.epoch)
        return value

    def goes_on(self, running: _Running, value: float) -> bool:
        """Whether the scheduler lets the trial train another epoch; its end is told to the sampler."""
        result = {"epoch": running.epoch, "value": value}
        over = running.epoch >= self.recorded.epochs
        if self._scheduler is not None:
            if over:
                self._scheduler.on_trial_complete(_nobody(), running.handle, result)
            elif self._scheduler.on_trial_result(_nobody(), running.handle, result) == TrialScheduler.STOP:
                self._scheduler.on_trial_remove(_nobody(), running.handle)
                self.study.tell(running.trial, state=TrialState.PRUNED)
                return False
        if over:
            self.study.tell(running.trial, value)
        return not over


def _nobody() -> Any:
    """The controller that schedulers are given and ours do not ask."""
    return None


def reached(moments: list[Moment], target: float, direction: str) -> Iterator[Moment]:
    """The moments at which the best is as good as `target`."""
    sign = 1.0 if direction == "maximize" else -1.0
    return (moment for moment in moments if sign * moment.best >= sign * target)
