"""A trial as the ledger holds it, read once and frozen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from lesion.registry import Value

NON_FINITE, OUT_OF_MEMORY, HOST_MEMORY = "non-finite", "out-of-memory", "out-of-host-memory"
HUNG, ERROR, LOST = "hung", "error", "lost"
FAILURES = (NON_FINITE, OUT_OF_MEMORY, HOST_MEMORY, HUNG, ERROR, LOST)
"""Why trials fail: the loss or objective left the finite numbers; the GPU's memory ran out, or the machine's; nothing
was heard of it for too long, twice; anything else that the training raised; the worker died, again and again. Only a
lost worker, a hung one and one whose GPU became unusable are worth another attempt with the same settings."""
INFEASIBLE = (OUT_OF_MEMORY, HOST_MEMORY)
"""Failures that the settings bring about, so that the sampler is to learn them (`search.ledger`)."""

STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


@dataclass(frozen=True)
class TrialRow:
    """One trial. `value` is the objective after `epoch`, the last one; `history` has it for every epoch, from 1."""

    number: int
    state: str
    value: float | None
    epoch: int
    settings: Mapping[str, Value]
    history: Mapping[int, float]
    attributes: Mapping[str, Any]
    started: datetime | None = None
    ended: datetime | None = None

    @property
    def seed(self) -> int:
        """Seed of the training, the same in every attempt."""
        return int(self.attributes.get("seed", 0))

    @property
    def attempt(self) -> int:
        """How many times a worker has started it."""
        return int(self.attributes.get("attempt", 0))

    @property
    def losses(self) -> int:
        """How often in a row it was lost without one more epoch."""
        return int(self.attributes.get("losses", 0))

    @property
    def failure(self) -> str | None:
        """Failure class, one of `FAILURES`, or None."""
        return self.attributes.get("failure")

    @property
    def message(self) -> str | None:
        """What went wrong, or None."""
        return self.attributes.get("message")

    @property
    def hangs(self) -> int:
        """How often the watchdog ended its worker."""
        return int(self.attributes.get("hangs", 0))

    @property
    def damage(self) -> str | None:
        """What was found wrong with its checkpoints, in any attempt, or None."""
        return self.attributes.get("damage")

    @property
    def metrics(self) -> Mapping[str, float]:
        """Every metric of the last epoch; empty until the trial ended."""
        metrics: Mapping[str, float] = self.attributes.get("metrics", {})
        return metrics

    @property
    def seconds(self) -> float:
        """Seconds spent in epochs, and by workers that died since they were last heard, over all attempts."""
        return float(self.attributes.get("seconds", 0.0))

    @property
    def device_seconds(self) -> float:
        """Seconds times GPUs (or CPU cores, on a machine without) held."""
        return float(self.attributes.get("device_seconds", 0.0))

    @property
    def examples(self) -> int:
        """Training examples seen."""
        return int(self.attributes.get("examples", 0))

    @property
    def finalist_of(self) -> int | None:
        """Number of the trial whose settings it runs again; None for a trial of the search itself."""
        return self.attributes.get("finalist_of")

    @property
    def index(self) -> int:
        """Which of the fresh seeds, or of the folds, a finalist has; from 0."""
        return int(self.attributes.get("index", 0))

    @property
    def split(self) -> str | None:
        """The split that a finalist trains on; None for the study's."""
        return self.attributes.get("split")

    @property
    def series(self) -> str | None:
        """Name of the series a finalist is of (`search.series`), where its files are; None for the study itself."""
        return self.attributes.get("series")

    @property
    def label(self) -> str:
        """What people call it after the word trial: ``5``, ``5 seed 1``, ``5 fold-0``, ``5 seed 1 of 20 epochs``."""
        if self.finalist_of is None:
            return str(self.number)
        longer = re.search(r"-(\d+)-epochs$", self.series or "")
        return f"{self.finalist_of} {self.split or f'seed {self.index + 1}'}" + (
            f" of {longer[1]} epochs" if longer else ""
        )

    @property
    def depth(self) -> float:
        """How far the trial went, for a comparison of values: a complete one all the way, if it stopped early too."""
        return float("inf") if self.state == "complete" else self.epoch

    @property
    def finished(self) -> bool:
        """Whether it counts towards the trials asked for and will not run again."""
        return self.state in ("complete", "pruned", "failed")


def row_of(trial: FrozenTrial) -> TrialRow:
    """The row of an Optuna trial.

    What is infeasible is PRUNED in Optuna, with a constraint, because its samplers learn nothing from FAIL; here it is
    failed.
    """
    history = dict(sorted(trial.intermediate_values.items()))
    epoch = max(history, default=0)
    attributes = dict(trial.user_attrs)
    settings = attributes.pop("settings", {})
    state = "failed" if trial.state.is_finished() and "failure" in attributes else STATES[trial.state]
    return TrialRow(
        number=trial.number,
        state=state,
        value=None if state == "failed" else history.get(epoch),
        epoch=epoch,
        settings=settings,
        history=history,
        attributes=attributes,
        started=trial.datetime_start,
        ended=trial.datetime_complete,
    )


def best_row(rows: list[TrialRow], direction: str) -> TrialRow | None:
    """The best complete trial; if there is none yet, the best pruned one among those that went furthest."""
    for state in ("complete", "pruned"):
        group = [row for row in rows if row.state == state and row.value is not None]
        furthest = max((row.depth for row in group), default=0)
        group = [row for row in group if row.depth == furthest]
        if group:
            sign = 1 if direction == "maximize" else -1
            return max(group, key=lambda row: (sign * float(row.value or 0.0), -row.number))
    return None
