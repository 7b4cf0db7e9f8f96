"""A search at a glance: what `run_study` hands to its `progress` callback about twice a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lesion.registry import Value
from search.rows import TrialRow, best_row

INTERVAL = 0.5
"""Seconds between two calls of the callback."""


@dataclass(frozen=True)
class RunningTrial:
    """A trial that a worker has: its last epoch and value (0 and None before the first), seconds since its start.

    `label` is what people call it.
    """

    number: int
    epoch: int
    value: float | None
    settings: Mapping[str, Value]
    seconds: float
    attempt: int = 1
    label: str = ""


@dataclass(frozen=True)
class StudyState:
    """A snapshot. `phase` is starting, running, stopping or ended; `counts` is by trial state.

    `remaining` is in seconds, None while nothing has ended yet. `used` and `total` hold "CPU" and "GPU".
    `mirror_waiting` counts the events that MLflow has not taken, `mirror_problem` says why.
    """

    study: str
    phase: str
    objective: str
    direction: str
    epochs: int
    target: int
    counts: Mapping[str, int]
    best: TrialRow | None
    running: tuple[RunningTrial, ...]
    used: Mapping[str, float]
    total: Mapping[str, float]
    elapsed: float
    remaining: float | None
    mirror_waiting: int = 0
    mirror_problem: str | None = None


def empty_state(study: str, objective: str, direction: str, epochs: int, target: int) -> StudyState:
    """The snapshot of a session that has not begun."""
    return StudyState(study, "starting", objective, direction, epochs, target, {}, None, (), {}, {}, 0.0, None)


class Progress:
    """Keeps the snapshot up to date from what the searcher tells, and calls back."""

    def __init__(self, empty: StudyState, rows: Iterable[TrialRow], callback: Callable[[StudyState], None] | None):
        self._state, self._callback = empty, callback
        self._rows = {row.number: row for row in rows}
        self._running: dict[int, tuple[TrialRow, float]] = {}
        self._began, self._shown = time.monotonic(), float("-inf")
        self.concurrent = 1

    def started(self, row: TrialRow) -> None:
        """A worker takes the trial, or takes it over."""
        self._rows[row.number] = row
        self._running[row.number] = (row, time.monotonic())

    def heard(self, row: TrialRow) -> None:
        """An epoch is over."""
        self._rows[row.number] = row
        if row.number in self._running:
            self._running[row.number] = (row, self._running[row.number][1])

    def ended(self, row: TrialRow) -> None:
        """A trial is over."""
        self._rows[row.number] = row
        self._running.pop(row.number, None)

    @property
    def running(self) -> tuple[int, ...]:
        """Numbers of the trials that workers have."""
        return tuple(self._running)

    @property
    def running_rows(self) -> tuple[TrialRow, ...]:
        """Their rows, as they were last heard of."""
        return tuple(row for row, _ in self._running.values())

    def show(self, force: bool = False, **changes: Any) -> None:
        """Call back with the present snapshot, unless that was done a moment ago."""
        self._state = replace(self._state, **changes)
        if self._callback is None or (not force and time.monotonic() - self._shown < INTERVAL):
            return
        self._shown = time.monotonic()
        self._callback(self.state())

    def state(self) -> StudyState:
        """The present snapshot."""
        now = time.monotonic()
        rows = list(self._rows.values())
        running = tuple(
            RunningTrial(row.number, row.epoch, row.value, row.settings, now - since, row.attempt, row.label)
            for row, since in self._running.values()
        )
        return replace(
            self._state,
            counts=count(rows, self._running),
            best=best_row(rows, self._state.direction),
            running=running,
            elapsed=now - self._began,
            remaining=self._remaining(rows),
        )

    def _remaining(self, rows: list[TrialRow]) -> float | None:
        """Trials left at the mean cost of those that ended, what is running counted by its epochs."""
        ended = [row.seconds for row in rows if row.finished and row.seconds]
        if not ended:
            return None
        left = self._state.target - sum(row.finished for row in rows)
        begun = sum(row.epoch / self._state.epochs for row, _ in self._running.values())
        return max(0.0, left - begun) * sum(ended) / len(ended) / self.concurrent


def count(rows: Iterable[TrialRow], running: Iterable[int]) -> dict[str, int]:
    """Trials by state; a running row that no worker has is interrupted."""
    counts = dict.fromkeys(("complete", "pruned", "failed", "running", "interrupted", "waiting"), 0)
    taken = set(running)
    for row in rows:
        counts["interrupted" if row.state == "running" and row.number not in taken else row.state] += 1
    return counts
