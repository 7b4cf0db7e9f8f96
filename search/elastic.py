"""A search on a cluster that grows and shrinks: seats are counted anew, and machines are asked for.

Ray's autoscaler starts machines for what waits. A trial that waits has been proposed already, without what the trials
before it will have shown; so placeholders wait in the trials' stead: groups of resources of a trial's shape. One that
comes to stand is given back at once, and its room is a trial's. They belong to this process's job: whatever ends it,
they go with it, and the autoscaler lets machines go that have nothing to do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

EVERY = 3.0
"""Seconds between two looks at the cluster."""
AHEAD = 16
"""Placeholders at a time: machines come one by one, and each look asks anew."""
REST = 2
"""Looks without placeholders after one came to stand: a trial shall have the room, not the next placeholder."""

Resources = Mapping[str, float]


def places(nodes: Iterable[Resources], shape: Resources) -> int:
    """How many trials of `shape` fit on `nodes`, each on one of them; a share of a GPU does not span two.

    >>> places([{"CPU": 8, "GPU": 2}, {"CPU": 2}], {"CPU": 2, "GPU": 0.4})
    4
    >>> places([{"CPU": 8, "GPU": 2}, {"CPU": 3}], {"CPU": 2, "GPU": 0})
    5
    """
    return sum(min((_parts(node, kind, share) for kind, share in shape.items() if share), default=0) for node in nodes)


def _parts(node: Resources, kind: str, share: float) -> int:
    has = node.get(kind, 0.0)
    if kind == "GPU" and share < 1:
        return int(has) * int(1 / share + 1e-9)
    return int(has / share + 1e-9)


class Waits(Protocol):
    """Room that Ray has been asked for."""

    def ready(self) -> bool:
        """Whether it is there."""

    def remove(self) -> None:
        """Give it back, or ask for it no longer."""


class Growth:
    """How many trials of `shape` have a place now, at most `bound`; asks for machines while all places are taken.

    `nodes` gives the resources of the machines that are alive, `ask` begins to wait for room of a shape.
    """

    def __init__(
        self,
        shape: Resources,
        bound: int,
        nodes: Callable[[], list[Resources]],
        ask: Callable[[Resources], Waits],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.shape, self.bound = shape, bound
        self._nodes, self._ask, self._clock = nodes, ask, clock
        self._waiting: list[Waits] = []
        self._next, self._rest = float("-inf"), 0
        self.places = 0

    def look(self, running: int, left: int) -> int:
        """Places now, where `running` trials hold one and `left` have not ended; counted anew every few seconds."""
        if self._clock() >= self._next:
            self._next = self._clock() + EVERY
            self.places = min(self.bound, places(self._nodes(), self.shape))
            self._return_room()
            more = min(self.bound, left) - self.places
            self._wait_for(more if running >= self.places and not self._rest else 0)
        return self.places

    def close(self) -> None:
        """Ask for nothing more."""
        self._wait_for(0)

    def _return_room(self) -> None:
        stand = [each for each in self._waiting if each.ready()]
        for each in stand:
            each.remove()
            self._waiting.remove(each)
        self._rest = REST if stand else max(0, self._rest - 1)

    def _wait_for(self, count: int) -> None:
        while len(self._waiting) > max(0, count):
            self._waiting.pop().remove()
        while len(self._waiting) < min(count, AHEAD):
            self._waiting.append(self._ask(self.shape))


class Placeholder:
    """Room of a trial's shape, asked of Ray."""

    def __init__(self, shape: Resources) -> None:
        from ray.util import placement_group  # noqa: PLC0415 - a session on one machine asks for nothing

        self._group: Any = placement_group([{kind: share for kind, share in shape.items() if share}])

    def ready(self) -> bool:
        """Whether it is there."""
        return bool(self._group.wait(timeout_seconds=0))

    def remove(self) -> None:
        """Give it back, or ask for it no longer."""
        from ray.util import remove_placement_group  # noqa: PLC0415

        remove_placement_group(self._group)
