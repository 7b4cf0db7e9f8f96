"""What one trial holds of a cluster: the same for all, or measured for each, over GPUs of several kinds.

With ``resources: auto`` a trial's share of a GPU follows from its footprint (`lesion.footprint`): the memory that it
needs, and the part of the time in which it keeps the GPU busy, whichever is larger. Trials go to the kind of node that
has most room for them, and never to one whose GPUs are too small while another kind's are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from lesion.footprint import Footprint
from lesion.registry import Value
from lesion.sharing import bytes_of
from search.errors import ClusterError
from search.places import Resources, Share, places

Machine = tuple[str, ...]
"""The names of Ray's resources that stand for one machine with GPUs."""
MOST = 8
"""Trials on one GPU at most: beyond, their processes fight over the host."""


@dataclass(frozen=True)
class Seat:
    """Cores and GPUs of one trial; `accelerator` is the kind of GPU that it is bound to, None for any."""

    cpus: int
    gpus: float
    accelerator: str | None = None

    @property
    def bundle(self) -> dict[str, float]:
        """As Ray asks for it."""
        bound = {f"accelerator_type:{self.accelerator}": 0.001} if self.accelerator else {}
        return {"CPU": self.cpus, "GPU": self.gpus, **bound}


@dataclass(frozen=True)
class Kind:
    """Nodes of one kind: `gpus` in all, each with `bytes` of memory; beside it `cpus` cores, and main memory.

    `host_bytes` are those of main memory, 0 where nobody says them.
    """

    accelerator: str
    gpus: int
    bytes: int
    cpus: int
    host_bytes: int = 0

    def holds(self, needed: Footprint) -> bool:
        """Whether a training of this footprint fits, in one piece, on a GPU and in the main memory beside it."""
        return bytes_of(needed) <= self.bytes and self.trials_in_host(needed) > 0

    def trials_in_host(self, needed: Footprint) -> int:
        """Trainings that the main memory beside a GPU holds."""
        return self.host_bytes // max(1, needed.host_bytes) if self.host_bytes else MOST


class Seats(Protocol):
    """Gives a seat to each trial, `concurrent` at a time at most."""

    concurrent: int

    @property
    def full(self) -> bool:
        """Whether another trial would only wait."""

    def in_use(self) -> Mapping[str, float]:
        """What is held of "CPU" and "GPU" by all trials together."""

    def take(self, number: int, settings: Mapping[str, Value]) -> Seat:
        """A seat for the trial `number`."""

    def leave(self, number: int) -> None:
        """The trial has ended."""

    def look(self) -> None:
        """Called about ten times a second: see what has become of the cluster."""

    def close(self) -> None:
        """The session ends: ask for no machines any more, of a Ray that may go on without it."""


class Alike:
    """The same seat for every trial that begins on the same machines.

    `anew` shares machines out among so many trials that have not ended; left out, the seat is what it is.
    """

    def __init__(
        self,
        concurrent: int,
        cpus: int,
        gpus: float,
        anew: Callable[[Sequence[Resources], int], Share] | None = None,
    ) -> None:
        self.concurrent, self.seat = concurrent, Seat(cpus, gpus)
        self._share = Share(concurrent, cpus, gpus)
        self._anew = anew or (lambda nodes, left: self._share)
        self._taken: dict[int, Seat] = {}

    @property
    def shape(self) -> Resources:
        """What a machine must have for another trial, its memory included."""
        return self._share.shape

    def fit(self, nodes: Sequence[Resources], left: int) -> None:
        """Give trials that begin from now on the seat that fits `nodes`; those that run keep theirs."""
        # Where all machines with GPUs have left, trials wait for one with the seat that they had.
        with suppress(ClusterError):
            self._share = self._anew(nodes, left)
            self.seat = Seat(self._share.cpus, self._share.gpus)

    @property
    def cores(self) -> list[int]:
        """Those of each trial that runs."""
        return [seat.cpus for seat in self._taken.values()]

    def stranded(self, nodes: Sequence[Resources]) -> list[Seat]:
        """Seats of trials whose machine has left, and that fit on none of `nodes`: Ray has them wait for another."""
        return [seat for seat in self._taken.values() if not places(nodes, seat.bundle)]

    @property
    def full(self) -> bool:
        """Never: there are `concurrent` seats."""
        return False

    def in_use(self) -> Mapping[str, float]:
        """What is held of "CPU" and "GPU" by all trials together."""
        return in_all(self._taken.values())

    def take(self, number: int, settings: Mapping[str, Value]) -> Seat:
        """The seat."""
        self._taken[number] = self.seat
        return self.seat

    def leave(self, number: int) -> None:
        """The trial has ended."""
        self._taken.pop(number, None)

    def look(self) -> None:
        """Nothing: they are what they were (`search.elastic` for those that are not)."""

    def close(self) -> None:
        """Nothing: they ask for no machines."""


class Measured:
    """A seat that fits what the trial's settings were measured to need.

    `memory` is what machines have said of their GPUs so far, in bytes.
    """

    def __init__(
        self,
        kinds: Sequence[Kind],
        footprint: Callable[[Mapping[str, Value]], Footprint],
        memory: Mapping[Machine, int] | None = None,
    ) -> None:
        self.kinds, self._footprint, self.memory = kinds, footprint, memory or {}
        self.kinds_now: Callable[[], Sequence[Kind]] = lambda: self.kinds
        """The kinds as they are at the time (`search.kinds` for those that come and go)."""
        self._taken: dict[int, tuple[Kind, Seat]] = {}
        self.concurrent = sum(kind.gpus * min(MOST, max(1, kind.cpus)) for kind in kinds)

    @property
    def full(self) -> bool:
        """Whether no kind of GPU has any room: who is proposed then would be proposed knowing less."""
        return all(self._room(kind) < 1 / MOST - 1e-9 for kind in self.kinds)

    def in_use(self) -> Mapping[str, float]:
        """What is held of "CPU" and "GPU" by all trials together; a trial that waits for its seat counts."""
        return in_all(seat for _, seat in self._taken.values())

    def take(self, number: int, settings: Mapping[str, Value]) -> Seat:
        """A seat on the kind of node with most room, among those whose GPUs are large enough."""
        needed = self._footprint(settings)
        kind = max(self._fitting(needed), key=self._room)
        trials = trials_on(kind, needed)
        # Bound where it is the only kind as well: Ray may have GPUs that nobody knows, or that do not answer.
        seat = Seat(max(1, kind.cpus // trials), 1 / trials, kind.accelerator or None)
        self._taken[number] = (kind, seat)
        return seat

    def _fitting(self, needed: Footprint) -> list[Kind]:
        if fitting := [kind for kind in self.kinds if kind.holds(needed)]:
            return fitting
        # One that main memory alone is too small for has the GPU's share of it to itself.
        large = [kind for kind in self.kinds if bytes_of(needed) <= kind.bytes]
        if not large:  # a whole GPU of the largest kind: its training cuts its batches in pieces
            most = max(kind.bytes for kind in self.kinds)
            large = [kind for kind in self.kinds if kind.bytes == most]
        most = max(kind.host_bytes for kind in large)
        return [kind for kind in large if kind.host_bytes == most]

    def leave(self, number: int) -> None:
        """Its room is free again."""
        self._taken.pop(number, None)

    def look(self) -> None:
        """Take over what has become of the kinds and their GPUs."""
        self.kinds = self.kinds_now()

    def close(self) -> None:
        """Nothing: they ask for no machines (`search.kinds` for those that do)."""

    def _room(self, kind: Kind) -> float:
        """The free part of all GPUs of a kind; below 0 where trials wait."""
        held = sum(seat.gpus for other, seat in self._taken.values() if other.accelerator == kind.accelerator)
        return 1 - held / kind.gpus


class Counted:
    """Seats of which one knows who holds them, and how many of `missing` trials are left."""

    def __init__(self, seats: Seats, missing: int) -> None:
        self._seats, self._missing = seats, missing
        self._held: set[int] = set()
        self._ended: set[int] = set()

    @property
    def left(self) -> int:
        """Trials that have not ended."""
        return self._missing - len(self._ended)

    def in_use(self) -> Mapping[str, float]:
        """What is held of "CPU" and "GPU" by all trials together."""
        return self._seats.in_use()

    def take(self, number: int, settings: Mapping[str, Value]) -> Seat:
        """A seat for the trial `number`."""
        self._held.add(number)
        self._ended.discard(number)  # one that Ray gave up leaves its seat, and comes back
        return self._seats.take(number, settings)

    def leave(self, number: int) -> None:
        """The trial has ended."""
        self._held.discard(number)
        self._ended.add(number)
        self._seats.leave(number)


def in_all(seats: Iterable[Seat]) -> Mapping[str, float]:
    """What `seats` hold of "CPU" and "GPU" together."""
    held = list(seats)
    return {"CPU": float(sum(seat.cpus for seat in held)), "GPU": sum(seat.gpus for seat in held)}


def trials_on(kind: Kind, needed: Footprint) -> int:
    """How many trials of a footprint run on one GPU: as many as fit, there and beside it, and as pay; one at least.

    >>> small = Footprint(host_bytes=2**31, device_bytes=2**30, images_per_second=900.0, busy=0.3)
    >>> trials_on(Kind("H100", 1, 80 * 2**30, 16), small), trials_on(Kind("T4", 4, 4 * 2**30, 8), small)
    (3, 2)
    >>> trials_on(Kind("H100", 1, 80 * 2**30, 16, host_bytes=5 * 2**30), small)
    2
    """
    fit = min(kind.bytes // bytes_of(needed), kind.trials_in_host(needed))
    pay = int(1 / max(needed.busy, 1 / MOST))
    return max(1, min(fit, pay, kind.cpus, MOST))
