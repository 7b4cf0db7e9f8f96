"""The watchdog over workers: nothing is waited for without end, and who died is asked of what.

Ray waits for a hung worker for ever. A trial of which nothing is heard for `patience` seconds, or, once a worker has
finished an epoch of it, for ten times the slowest of them, is ended with its worker. Why a worker died decides what
becomes of its trial (`verdict`): retried is only what a retry can mend.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lesion.errors import CheckpointAccessError
from search.rows import ERROR, HOST_MEMORY, HUNG, LOST

SLOWER = 10
"""An epoch may take so many times as long as the slowest before it, and at least a tenth of the patience."""
HANGS = 2
"""The hang at which a trial is failed; after the one before, another worker goes on from its checkpoint."""
SAID = 500
"""Letters of what Ray says of a death, which goes on at length about what may be set."""
_UNABLE = "error raised in its creation task"
"""Ray's words for a worker that could not even be made."""
STORAGE = "storage"
"""Class of the death of a worker to which the storage did not give the trial's checkpoints; no failure of a trial."""
_CAUSE = re.compile(r"\b\w+(?:Error|Exception): ")
AWAY = 5.0
"""Seconds between two looks beyond which the driver was busy itself, and heard nothing for that reason."""


@dataclass
class _Watched:
    """A worker and its trial: since when nothing was heard, how many epochs came, and how slow the slowest was."""

    worker: Any
    since: float
    epochs: int = 0
    slowest: float | None = None

    def heard(self, now: float) -> None:
        """An epoch has come."""
        took, self.since, self.epochs = now - self.since, now, self.epochs + 1
        # The first has all that precedes it: a model is built, feature maps are made. It counts only while it is alone.
        self.slowest = took if self.epochs <= 2 else max(self.slowest or 0.0, took)


class Watchdog:
    """Ends workers that are silent for too long; `patience` is in seconds, `end` kills a worker's process."""

    def __init__(
        self, patience: float, end: Callable[[Any], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.patience, self._end, self._clock = patience, end, clock
        self._watched: dict[str, _Watched] = {}
        self._ended: dict[str, float] = {}
        self._looked = clock()

    def look(self, trials: Iterable[Any]) -> None:
        """Look at Ray's trials; called about ten times a second."""
        now = self._clock()
        away, self._looked = now - self._looked, now
        for trial in trials:
            worker, name = trial.temporary_state.ray_actor, trial.trial_id
            seen = self._watched.get(name)
            if worker is None:
                self._watched.pop(name, None)
            elif seen is None or seen.worker is not worker:
                self._watched[name] = _Watched(worker, now)
                self._ended.pop(name, None)
            elif away > AWAY:
                seen.since += away
            elif now - seen.since > self.limit(seen.slowest) and name not in self._ended:
                self._ended[name] = now - seen.since
                self._end(worker)

    def heard(self, name: str) -> None:
        """An epoch of Ray's trial `name` has come."""
        if seen := self._watched.get(name):
            seen.heard(self._clock())

    def limit(self, slowest: float | None) -> float:
        """Seconds of silence that are borne after an epoch of `slowest` seconds, or before any.

        >>> dog = Watchdog(3600, end=print)
        >>> dog.limit(None), dog.limit(1.0), dog.limit(60.0)
        (3600, 360.0, 600.0)
        """
        return self.patience if slowest is None else max(self.patience / SLOWER, SLOWER * slowest)

    def silence(self, name: str) -> float | None:
        """For how long the worker of Ray's trial `name` was silent when it was ended; None where it died otherwise."""
        return self._ended.pop(name, None)


@dataclass(frozen=True)
class Death:
    """Why a worker died: a failure class, and what is known about it in words.

    The class "error" is that of a worker which could not be made: its machine lacks something. Neither that nor
    `STORAGE` is ever a trial's fault.
    """

    failure: str
    text: str


class Coroner:
    """Finds out why workers die; the kernel's count of processes killed for memory is taken at the start."""

    def __init__(self, kills: Callable[[], int]) -> None:
        self._kills = kills
        self._before = kills()

    def death(self, words: str, silence: float | None, here: bool) -> Death:
        """Of a worker about which Ray says `words`; `here` says whether it ran on this very machine."""
        killed, self._before = self._kills() - self._before, self._kills()
        if silence is not None:
            return Death(HUNG, f"nothing was heard of it for {silence:.0f} s")
        if "low on memory" in words or "OutOfMemory" in words:
            return Death(HOST_MEMORY, f"Ray ended its worker because the machine ran out of memory: {words[:SAID]}")
        if here and killed > 0:
            return Death(HOST_MEMORY, "the kernel ended its worker because the machine ran out of memory")
        causes = [found.start() for found in _CAUSE.finditer(words)]
        cause = words[causes[-1] if causes else 0 :][:SAID]
        if _UNABLE in words:
            return Death(ERROR, cause)
        if cause.startswith(CheckpointAccessError.__name__):
            return Death(STORAGE, cause.partition(": ")[2])
        return Death(LOST, words[:SAID])


def verdict(death: Death, hangs: int, last_attempt: bool, attempts: int) -> str | None:
    """Why a trial is failed after this death of its worker; None where another worker goes on with it.

    `hangs` counts this one; memory that ran out will run out again, with the same settings.

    >>> verdict(Death("lost", "killed"), hangs=0, last_attempt=False, attempts=3)
    >>> verdict(Death("hung", "silence"), hangs=2, last_attempt=False, attempts=3)
    'it hung 2 times; at last: silence'
    """
    if death.failure == HOST_MEMORY:
        return f"{death.text}. Fewer trials at a time (--concurrent) leave each one more"
    if death.failure == HUNG and hangs >= HANGS:
        return f"it hung {hangs} times; at last: {death.text}"
    return f"its worker died {attempts} times; at last: {death.text}" if last_attempt else None


def kernel_kills(cgroup: Path = Path("/sys/fs/cgroup"), everywhere: Path = Path("/proc/vmstat")) -> int:
    """How many processes the kernel has killed for want of memory: of our control group, else of this machine."""
    for path in (cgroup / "memory.events", everywhere):
        try:
            fields = dict(line.split() for line in path.read_text().splitlines())
            return int(fields["oom_kill"])
        except (OSError, ValueError, KeyError):
            continue
    return 0
