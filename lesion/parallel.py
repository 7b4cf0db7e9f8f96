"""A training over several devices: this process is rank 0, the others are its children, and die with it.

    training = ParallelTraining(build, ranks=2)   # build: Group -> Training, picklable
    training.step()                               # every rank trains on its share of each batch; rank 0 judges

Each rank builds the same training from the same settings and seed on a device of its own. Rank 0 tells the others when
an epoch begins; all that is drawn at random is drawn as one process would, but for the masks of dropout. A rank that
fails or dies ends the training in all of them: RankError, or what the rank said.
"""

from __future__ import annotations

import io
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lesion.data.packed import PackedDataset
from lesion.devices import is_out_of_memory
from lesion.errors import RankError
from lesion.group import Group, is_of_the_group
from lesion.ranks import LEAVE, Build, Part, Rank, abort, join, leave
from lesion.registry import Value
from lesion.training import Training

SILENCE = 600.0
"""Seconds after which a rank that the others wait for counts as lost."""
START = 1800.0
"""Seconds that ranks may take to build their training once rank 0 has built its own."""
LAST_WORDS = 5.0
"""Seconds in which a rank may still say why it fails, after rank 0 has noticed that it did."""


def build_rank(
    group: Group, *, kind: str, settings: Mapping[str, Value], data: PackedDataset, **options: Any
) -> Training:
    """The training of one rank, on the device of its own number where `kind` is "cuda"; `options` as of `Training`."""
    device = torch.device("cuda", group.rank) if kind == "cuda" else torch.device(kind)
    return Training(settings, data, device=device, group=group, **options)


class ParallelTraining:
    """A `Training` that `ranks` processes share, one device each; for whoever uses it, one training.

    `threads` are torch's in each of the other ranks. A rank that says nothing for `silence` seconds while the others
    wait for it is lost. `close` ends the other ranks; so does the end of this process, whatever ends it. Raises what
    building a training raises.
    """

    def __init__(self, build: Build, ranks: int, *, threads: int = 1, silence: float = SILENCE) -> None:
        self.ranks = Ranks(build, ranks, threads, silence)
        self._end = weakref.finalize(self, self.ranks.close)
        try:
            self.training = build(Group(0, ranks))
        except BaseException:
            self.close()
            raise

    def step(self) -> dict[str, float]:
        """One epoch, as of `Training.step`; RankError where another rank is lost, and whatever fails it there."""
        try:
            self._begin()
            return self.ranks.together("train", self.training.schedule_state, self.training.step)
        except BaseException:
            self.ranks.close(broken=True)
            raise

    def _begin(self) -> None:
        """Wait for the other ranks, and bring them to where this one is."""
        if self.ranks.joined:
            return
        self.ranks.require_answers(START)
        if self.training.epoch:
            # What rank 0 alone keeps is not for them.
            state = {**self.training.state_dict(), "average": None, "best": None}
            torch.save(state, written := io.BytesIO())
            self.ranks.tell("load", written.getvalue())
            self.ranks.require_answers(START)
        self.ranks.join(self.training.device)

    def close(self) -> None:
        """End the other ranks; what this one has learnt can still be asked for."""
        self._end()

    @property
    def finished(self) -> bool:
        """As of `Training`."""
        return self.training.finished

    def predict(self) -> NDArray[np.float64]:
        """As of `Training`."""
        return self.training.predict()

    def confusion(self) -> NDArray[np.int64]:
        """As of `Training`."""
        return self.training.confusion()

    def state_dict(self) -> dict[str, Any]:
        """As of `Training`: it says nothing of ranks, and a training of any number of them goes on from it."""
        return self.training.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """As of `Training`; before the first step."""
        self.training.load_state_dict(state)


class Ranks:
    """The processes of all ranks but this one, and the process group with them."""

    def __init__(self, build: Build, size: int, threads: int, silence: float) -> None:
        self.size, self._silence, self.joined = size, silence, False
        self._folder = Path(tempfile.mkdtemp(prefix="lesion-ranks-"))
        self.others = [Rank(rank) for rank in range(1, size)]
        for other in self.others:
            other.tell(Part(build, Group(other.rank, size), self._folder, threads, silence))

    def tell(self, order: str, given: Any = None) -> None:
        """Give all ranks an order, which each of them answers."""
        for other in self.others:
            other.tell((order, given))

    def join(self, device: torch.device) -> None:
        """Make one process group of all ranks."""
        self.tell("join")
        self.joined = True
        join(Group(0, self.size), device, self._folder, self._silence)
        self.require_answers(self._silence)

    def require_answers(self, seconds: float) -> None:
        """Wait until all have done what they were told; RankError, or what one of them says."""
        hearing = _Hearing(self.others)
        try:
            self._require(hearing, seconds)
        finally:
            hearing.stop()

    def together(self, order: str, given: Any, own: Callable[[], dict[str, float]]) -> dict[str, float]:
        """Do this rank's part of an order while the others do theirs; raises what failed first."""
        self.tell(order, given)
        hearing = _Hearing(self.others, broken=abort)
        try:
            found = own()
            self._require(hearing, self._silence)
            return found
        except Exception as problem:
            cause = self._cause(problem, hearing)
            if cause is problem:
                raise
            raise cause from problem
        finally:
            hearing.stop()

    def _require(self, hearing: _Hearing, seconds: float) -> None:
        answered = hearing.wait(seconds)
        if failed := hearing.failure():
            raise failed
        if not answered:
            raise RankError(f"another of {self.size} ranks has not answered for {seconds:g} s")

    def _cause(self, own: Exception, hearing: _Hearing) -> BaseException:
        """Why the ranks failed, of what this rank noticed: its own fault, or another one's."""
        if not hearing.failed and (not is_of_the_group(own) or is_out_of_memory(own)):
            return own
        hearing.wait(LAST_WORDS)
        text = str(own).strip().partition("\n")[0][:200]
        return hearing.failure() or RankError(f"another of {self.size} ranks no longer answers: {text}")

    def close(self, broken: bool = False) -> None:
        """End the processes and the group; where the group is `broken` nobody is waited for."""
        for other in self.others:
            other.leave(at_once=broken or not self.joined)
        if self.joined:
            self.joined = False
            leaving = threading.Thread(target=leave, args=(broken,), daemon=True)
            with suppress(RuntimeError):  # no thread begins while the interpreter ends, and the group ends with it
                leaving.start()
                leaving.join(LEAVE)
        deadline = time.monotonic() + LEAVE
        for other in self.others:
            other.end(deadline)
        shutil.rmtree(self._folder, ignore_errors=True)


class _Hearing:
    """Hears the answers of `others` while this process is at work itself; calls `broken` when the first one fails."""

    def __init__(self, others: list[Rank], broken: Callable[[], None] | None = None) -> None:
        self._waiting, self._broken, self._stopped = list(others), broken, False
        self.failed: list[BaseException] = []
        self._thread = threading.Thread(target=self._hear, daemon=True)
        self._thread.start()

    def _hear(self) -> None:
        while self._waiting and not self._stopped:
            for other in list(self._waiting):
                answer = other.answer()
                if answer is not False:
                    self._waiting.remove(other)
                if isinstance(answer, BaseException):
                    self.failed.append(answer)
            if self.failed and self._broken is not None:
                self._broken()
                self._broken = None

    def wait(self, seconds: float) -> bool:
        """Whether all have answered within so many seconds."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Hear no more: lines are about to be used otherwise."""
        self._stopped = True
        self._thread.join()

    def failure(self) -> BaseException | None:
        """What failed first, as far as is known: a fault of a rank itself before what it had of another's."""
        return next((each for each in self.failed if not is_of_the_group(each)), next(iter(self.failed), None))
