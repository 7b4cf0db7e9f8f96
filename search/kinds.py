"""Kinds of GPUs of a cluster whose machines come and go, for trials whose seats follow from what they need.

What the next trial will need is not known before it is proposed, and it is proposed when there is room. So machines are
asked for by whole GPUs, as many as the trials that are left would fill if they were like those that run.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from search.seats import Counted, Kind, Machine, Measured

if TYPE_CHECKING:
    from search.elastic import Growth

EVERY = 3.0
"""Seconds between two looks at the cluster."""

Nodes = list[Mapping[str, float]]


class Answer(Protocol):
    """The memory of a machine's GPUs, once it answers."""

    def bytes(self) -> int | None:
        """Bytes; None while there is no answer, 0 where there will be none."""


class Follower:
    """The kinds that a cluster has by now; a machine counts once it has said its GPUs' memory; nobody waits for that.

    `memory` is what machines have said already, `nodes` gives the resources of those that are alive, `ask` begins to
    ask one.
    """

    def __init__(
        self,
        kinds: Sequence[Kind],
        memory: Mapping[Machine, int],
        nodes: Callable[[], Nodes],
        ask: Callable[[Mapping[str, float]], Answer],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kinds, self._memory = kinds, dict(memory)
        self._nodes, self._ask, self._clock = nodes, ask, clock
        self._asked: dict[Machine, Answer] = {}
        self._next = clock() + EVERY

    def __call__(self) -> Sequence[Kind]:
        """The kinds, looked at anew every few seconds; those before where no GPU is left just now."""
        if self._clock() >= self._next:
            self._next = self._clock() + EVERY
            self._kinds = self._seen() or self._kinds
        return self._kinds

    def _seen(self) -> list[Kind]:
        from search.seating import kinds_of, machine_of  # noqa: PLC0415 - Ray takes seconds

        nodes = self._nodes()
        for node in (node for node in nodes if node.get("GPU", 0.0) >= 1):
            machine = machine_of(node)
            if machine in self._memory:
                continue
            if machine not in self._asked:
                self._asked[machine] = self._ask(node)
            elif (answered := self._asked[machine].bytes()) is not None:
                self._memory[machine] = answered
        return kinds_of(nodes, lambda node: self._memory.get(machine_of(node), 0))


class Asked:
    """A machine, asked for the memory of its GPUs while trials run there."""

    def __init__(self, node: Mapping[str, float]) -> None:
        from search.seating import ask_memory  # noqa: PLC0415 - Ray takes seconds

        self._answer: Any = ask_memory(node)

    def bytes(self) -> int | None:
        """Bytes; None while there is no answer, 0 where there will be none."""
        import ray  # noqa: PLC0415

        if not ray.wait([self._answer], timeout=0)[0]:
            return None
        try:
            return int(ray.get(self._answer))
        except Exception:  # whatever its driver raises: a GPU that says nothing gets no trials
            return 0


class Followed(Counted):
    """Measured seats that ask for machines while every GPU is full; `missing` trials have not ended."""

    def __init__(self, seats: Measured, growth: Growth, missing: int) -> None:
        super().__init__(seats, missing)
        self.concurrent, self._measured, self._growth = growth.bound, seats, growth

    @property
    def full(self) -> bool:
        """Whether no kind of GPU has any room."""
        return self._measured.full

    def look(self) -> None:
        """Take over what has become of the kinds, and ask for GPUs; does so every few seconds."""
        self._measured.look()
        self._growth.shape = whole_gpu(self._measured.kinds)
        held = self.in_use()["GPU"]
        trials = min(self.concurrent, self.left)
        wanted = held / len(self._held) * trials if self._held else 0.0
        # A kind that has come and is not known yet has places and no seats: what fills the others fills all.
        taken = max(_whole(held), self._growth.places) if self.full else 0
        self._growth.look(taken, _whole(wanted))

    def close(self) -> None:
        """Give placeholders back."""
        self._growth.close()


def _whole(gpus: float) -> int:
    return math.ceil(gpus - 1e-9)


def whole_gpu(kinds: Sequence[Kind]) -> dict[str, float]:
    """A GPU with as many cores as every kind has beside one: whichever comes, has room for it.

    >>> whole_gpu([Kind("A100", 8, 80 * 2**30, 16), Kind("T4", 4, 16 * 2**30, 8)])
    {'CPU': 8, 'GPU': 1}
    """
    return {"CPU": max(1, min(kind.cpus for kind in kinds)), "GPU": 1}


def follow(seats: Measured, growth: Growth, missing: int) -> Followed:
    """`seats` over the kinds that the cluster that is joined has at the time, and may get."""
    from search.cluster import alive_nodes  # noqa: PLC0415 - Ray takes seconds

    seats.kinds_now = Follower(seats.kinds, seats.memory, alive_nodes, Asked)
    return Followed(seats, growth, missing)
