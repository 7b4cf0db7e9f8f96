"""The watchdog over workers: nothing is waited for without end, and who died is asked of what.

Ray waits for a hung worker for ever. A trial of which nothing is heard for `patience` seconds, or, once a worker has
finished an epoch of it, for ten times the slowest of them, is ended with its worker. Why a worker died decides what
becomes of its trial (`verdict`): retried is only what a retry can mend.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lesion.errors import CheckpointAccessError, DataAccessError, RankError
from search.errors import TrialError, WorkerError
from search.rows import ERROR, HOST_MEMORY, HUNG, LOST, TrialRow

UNMADE = "unmade"
"""A worker could not even be made, which is no failure of a trial: its machine lacks something."""
STORAGE = "storage"
"""Class of the death of a worker that did not get the trial's checkpoints or the data; no failure of a trial."""

SLOWER = 10
"""An epoch may take so many times as long as the slowest before it, and at least a tenth of the patience."""
RETRIES = 2
"""Other workers in a row that get a trial whose worker died, for as long as it comes not one epoch further."""
ERRORS = 2
"""Workers in a row that may give a trial up (`WorkerError`) before it is failed for what they say."""
ALIKE = 5
"""Trials in a row that fail in the same way, before the session ends for it."""
HANGS = 2
"""The hang at which a trial is failed; after the one before, another worker goes on from its checkpoint."""
SAID = 500
"""Letters of what Ray says of a death, which goes on at length about what may be set."""
_UNABLE = "error raised in its creation task"
"""Ray's words for a worker that could not even be made."""
_NODE_DIED = "because its node has died"
"""Ray's words for a worker whose machine was taken away."""
_RAISED = f"{WorkerError.__module__}.{WorkerError.__name__}: "
"""What stands before the words of a worker that has given itself up."""
_UNFETCHED = f"{DataAccessError.__module__}.{DataAccessError.__name__}: "
"""What stands before the words of one whose machine could not fetch the data, which quote errors of other libraries."""
_CAUSE = re.compile(r"\b\w+(?:Error|Exception): ")
JUST_NOW = 10.0
"""Seconds before a death is heard of within which the kernel may have caused it."""
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

    def unheard(self, name: str) -> float:
        """Seconds for which Ray's trial `name` has had a worker of which nothing was heard; 0 where it has none."""
        seen = self._watched.get(name)
        return 0.0 if seen is None else self._clock() - seen.since


@dataclass(frozen=True)
class Death:
    """Why a worker died: a failure class, and what is known about it in words.

    Or `UNMADE` where there never was one, or `STORAGE`: neither is ever a trial's fault. `of_node` says that its
    machine went away with it; `seconds` is how long it had lived since it was last heard.
    """

    failure: str
    text: str
    of_node: bool = False
    seconds: float = 0.0


class Coroner:
    """Finds out why workers die; `kills` is the kernel's count of processes that it ended for want of memory."""

    def __init__(self, kills: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        self._kills, self._clock = kills, clock
        self._counts = deque([(clock(), kills())])

    def look(self) -> None:
        """Take the count, once a second however often it is called."""
        now = self._clock()
        if now - self._counts[-1][0] < 1:
            return
        self._counts.append((now, self._kills()))
        while len(self._counts) > 1 and self._counts[1][0] <= now - JUST_NOW:
            self._counts.popleft()

    def death(self, words: str, silence: float | None, here: bool) -> Death:
        """Of a worker about which Ray says `words`; `here` says whether it ran on this very machine."""
        now, count = self._clock(), self._kills()
        # A kill of an hour ago was of another process: the count may be that of the whole machine.
        killed = count - self._counts[0][1]
        self._counts = deque([(now, count)])  # a kill explains one death
        if silence is not None:
            return Death(HUNG, f"nothing was heard of it for {silence:.0f} s")
        if _RAISED in words:  # nobody ended it
            return Death(ERROR, words.rpartition(_RAISED)[2][:SAID])
        if "low on memory" in words or "OutOfMemory" in words:
            return Death(HOST_MEMORY, f"Ray ended its worker because the machine ran out of memory: {words[:SAID]}")
        if here and killed > 0:
            return Death(HOST_MEMORY, "the kernel ended its worker because the machine ran out of memory")
        return _told_by(words)


def _told_by(words: str) -> Death:
    """A death that Ray's words alone explain."""
    if _UNFETCHED in words:
        return Death(STORAGE, words.rpartition(_UNFETCHED)[2][:SAID])
    causes = [found.start() for found in _CAUSE.finditer(words)]
    cause = words[causes[-1] if causes else 0 :][:SAID]
    if _UNABLE in words:
        return Death(UNMADE, cause)
    if cause.startswith(CheckpointAccessError.__name__):
        return Death(STORAGE, cause.partition(": ")[2])
    if cause.startswith(RankError.__name__):
        return Death(LOST, cause.partition(": ")[2])
    return Death(LOST, words[:SAID], of_node=_NODE_DIED in words)


class Losses:
    """How many workers each trial has lost in a row without one more epoch."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[int, int]] = {}

    def count(self, number: int, epoch: int, death: Death) -> int:
        """Losses of the trial, this one at `epoch` included; a machine that was taken away speaks against no trial."""
        before, losses = self._last.get(number, (epoch, 0))
        losses = (losses if before == epoch else 0) + (not death.of_node)
        self._last[number] = epoch, losses
        return losses


class Streak:
    """Trials in a row that failed before their first epoch with the same error: their settings are not to blame."""

    def __init__(self) -> None:
        self._said, self._numbers = "", list[int]()

    def ended(self, row: TrialRow) -> None:
        """Raise TrialError where `row` is one too many of them: all others would end like it."""
        # Names, places and figures differ from trial to trial where the error is the same.
        said = re.sub(r"'[^']*'|\S*/\S*|\d+", "", row.message or "") if row.failure == ERROR and not row.epoch else ""
        self._numbers = [*(self._numbers if said == self._said else ()), row.number] if said else []
        self._said = said
        if len(self._numbers) >= ALIKE:
            raise TrialError(
                f"the trials {', '.join(map(str, self._numbers))} failed one after the other before their first epoch, "
                f"with the same error: {row.message}. What they share must be broken, such as a disk or the data, so "
                "no other is begun; mend it and the same command goes on"
            )


def verdict(death: Death, hangs: int, losses: int) -> str | None:
    """Why a trial is failed after this death of its worker; None where another worker goes on with it.

    `hangs` and `losses` count this one; memory that ran out will run out again, with the same settings.

    >>> verdict(Death("lost", "killed"), hangs=0, losses=2)
    >>> verdict(Death("lost", "killed"), hangs=0, losses=3)
    'its worker died 3 times without one more epoch; at last: killed'
    >>> verdict(Death("hung", "silence"), hangs=2, losses=2)
    'it hung 2 times; at last: silence'
    """
    if death.failure == HOST_MEMORY:
        return f"{death.text}. Fewer trials at a time (--concurrent) leave each one more"
    if death.failure == HUNG and hangs >= HANGS:
        return f"it hung {hangs} times; at last: {death.text}"
    if death.failure == ERROR:
        return death.text if losses >= ERRORS else None
    if losses > RETRIES:
        return f"its worker died {losses} times without one more epoch; at last: {death.text}"
    return None


def kernel_kills(cgroup: Path = Path("/sys/fs/cgroup"), everywhere: Path = Path("/proc/vmstat")) -> int:
    """How many processes the kernel has killed for want of memory: of our control group, else of this machine."""
    for path in (cgroup / "memory.events", everywhere):
        try:
            fields = dict(line.split() for line in path.read_text().splitlines())
            return int(fields["oom_kill"])
        except (OSError, ValueError, KeyError):
            continue
    return 0
