"""A search on a cluster that grows and shrinks: seats are counted anew, and machines are asked for.

Ray's autoscaler starts machines for what waits. A trial that waits has been proposed already, without what the trials
before it will have shown; so placeholders wait in the trials' stead: groups of resources of a trial's shape. One that
comes to stand is given back at once, and its room is a trial's; all are at the end of a session. They belong to this
process's job: whatever kills it, they go with it, and the autoscaler lets machines go that have nothing to do.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from search.arrival import may_come
from search.errors import ClusterStartError
from search.kinds import Followed, follow, whole_gpu
from search.places import Resources, places
from search.seats import Alike, Counted, Measured, Seat, Seats

if TYPE_CHECKING:
    from search.session import Plan

EVERY = 3.0
"""Seconds between two looks at the cluster."""
AHEAD = 16
"""Placeholders at a time: machines come one by one, and each look asks anew."""
REST = 2
"""Looks without placeholders after one came to stand: a trial shall have the room, not the next placeholder."""

ARRIVAL = 1200.0
"""Seconds that the first machine with room for a trial has to come."""


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
        self.count: Callable[[list[Resources]], int] = lambda nodes: places(nodes, self.shape)
        """How many trials have a place on these machines."""
        self._waiting: list[Waits] = []
        self._asked_for = shape
        self._next, self._rest = float("-inf"), 0
        self.places = 0

    def look(self, running: int, left: int, stranded: int = 0) -> int:
        """Places now, where `running` trials hold one and `left` have not ended; counted anew every few seconds.

        Of those left `stranded` wait for machines that can hold them, which Ray asks for.
        """
        if self._clock() >= self._next:
            self._next = self._clock() + EVERY
            self.places = min(self.bound, self.count(self._nodes()))
            self._return_room()
            # A trial that holds a place on a machine that has left waits in Ray, which asks for it.
            more = min(self.bound, left) - stranded - max(self.places, running)
            self._wait_for(more if running >= self.places and not self._rest else 0)
        return self.places

    def close(self) -> None:
        """Ask for nothing any longer."""
        while self._waiting:
            # Where Ray has gone, and the session ends for it, its placeholders have gone as well.
            with suppress(Exception):
                self._waiting.pop().remove()

    def _return_room(self) -> None:
        stand = [each for each in self._waiting if each.ready()]
        for each in stand:
            each.remove()
            self._waiting.remove(each)
        self._rest = REST if stand else max(0, self._rest - 1)

    def _wait_for(self, count: int) -> None:
        # No machine that comes may ever have room of a shape that trials no longer have.
        keep = max(0, count) if self._asked_for == self.shape else 0
        self._asked_for = self.shape
        while len(self._waiting) > keep:
            self._waiting.pop().remove()
        while len(self._waiting) < min(count, AHEAD):
            self._waiting.append(self._ask(self.shape))


class Growing(Counted):
    """Seats that are all alike, as many as the cluster has room for at the time; `missing` trials have not ended.

    They follow the machines: where some join that have fewer cores beside a GPU, the trials that begin then hold
    fewer. `tell` hears of machines that have no room for one all the same, and of trials whose machine has left, where
    they fit on no other.
    """

    def __init__(
        self, seats: Alike, growth: Growth, missing: int, tell: Callable[[str], object] = lambda text: None
    ) -> None:
        super().__init__(seats, missing)
        self.concurrent, self._alike, self._growth, self._tell = growth.bound, seats, growth, tell
        self._passed_over = 0
        self._machines: list[Resources] = []
        self._told_stranded: set[Seat] = set()
        growth.count = self._count

    def _count(self, nodes: list[Resources]) -> int:
        self._alike.fit(nodes, self.left)
        self._growth.shape = self._alike.seat.bundle
        self._machines = nodes
        self._tell_of_small_ones(nodes)
        self._tell_of_stranded()
        return places(nodes, self._alike.shape, self._alike.cores)

    def _tell_of_small_ones(self, nodes: list[Resources]) -> None:
        seat, shape = self._alike.seat, self._alike.shape
        kind, least = ("GPU", seat.gpus) if seat.gpus else ("CPU", 1)
        small = [node for node in nodes if node.get(kind, 0.0) >= least and not places([node], shape)]
        if len(small) > self._passed_over:
            lacking = [node for node in small if places([node], seat.bundle)]
            if lacking:
                self._tell(
                    f"{len(lacking)} of {len(nodes)} machines get no trials: one needs {shape['memory'] / 2**30:.1f} "
                    "GiB of main memory, which they do not have; smaller images or batches need less"
                )
            if len(lacking) < len(small):
                self._tell(
                    f"{len(small) - len(lacking)} of {len(nodes)} machines get no trials: one holds {seat.cpus} "
                    f"cores{_beside(seat)}, for which they have no room; resources.cpu says how many cores"
                )
        self._passed_over = max(len(small), self._passed_over)

    def _tell_of_stranded(self) -> None:
        for seat in {*self._alike.stranded(self._machines)} - self._told_stranded:
            self._tell(
                f"trials whose machine has left wait for one with {seat.cpus} cores{_beside(seat)}: no machine of now "
                "has so many; the same command, begun anew, shares out the machines that are there then"
            )
            self._told_stranded.add(seat)

    @property
    def full(self) -> bool:
        """Whether every place is taken; one trial may always wait, for Ray would ask for it without an end."""
        return bool(self._held) and len(self._held) - self._stranded >= self._growth.places

    @property
    def _stranded(self) -> int:
        return len(self._alike.stranded(self._machines))

    def look(self) -> None:
        """Count the places anew, and ask for machines; does so every few seconds, however often it is called."""
        stranded = self._stranded
        self._growth.look(len(self._held) - stranded, self.left, stranded)

    def close(self) -> None:
        """Give placeholders back."""
        self._growth.close()


def _beside(seat: Seat) -> str:
    return f" and {seat.gpus:g} GPUs" if seat.gpus else ""


def seats_of(plan: Plan, missing: int, pause: Callable[[], object]) -> Seats:
    """The seats of a session of `plan`, which has `missing` trials to run, on the Ray that is joined.

    Where a cluster has no machine yet with the GPUs or cores that are asked for, waits for the first: what the space
    asks for is waited for while it may come, what the command asks for in any case. Measures what trials need where
    that is asked for. `pause` is called meanwhile.
    """
    from search.seating import seats_for  # noqa: PLC0415 - Ray takes seconds

    if plan.address is not None:
        _await_room(plan, pause)
    seats = seats_for(
        plan.resources,
        plan.keys,
        plan.workspace.cache / "footprints",
        concurrent=plan.concurrent,
        gpus_per_trial=plan.gpus_per_trial,
        missing=missing,
        tell=plan.warn,
        pause=pause,
        alone=plan.address is None,
    )
    return seats if plan.address is None else growing(seats, plan.concurrent, missing, plan.warn)


def _await_room(plan: Plan, pause: Callable[[], object]) -> None:
    """Wait for the first machine that a trial fits on, where the space or the command says what one holds."""
    from search.cluster import alive_nodes  # noqa: PLC0415 - Ray takes seconds

    asked = plan.gpus_per_trial
    if asked is None:
        asked = 1.0 if plan.resources.auto else plan.resources.gpu
    if asked is None:
        asked = float(any(node.get("GPU") for node in alive_nodes())) if plan.resources.cpu else 0.0
    if not asked and not plan.resources.cpu:
        return
    shape = {"CPU": plan.resources.cpu or 1, "GPU": asked}
    began = time.monotonic()

    def worth() -> bool:
        nodes = alive_nodes()
        if places(nodes, shape):  # where all are taken, Ray has the trials wait
            return False
        return bool(plan.gpus_per_trial) or may_come(len(nodes), time.monotonic() - began, shape)

    if worth():
        await_machine(shape, pause, plan.warn, worth)


def growing(seats: Seats, concurrent: int | None, missing: int, tell: Callable[[str], object]) -> Seats:
    """`seats` that follow the cluster that is joined; `concurrent` bounds them, None does not; `tell` hears of it."""
    from search.cluster import alive_nodes  # noqa: PLC0415 - Ray takes seconds

    bound = max(seats.concurrent, min(concurrent or missing, missing))
    made: Followed | Growing
    if isinstance(seats, Measured):
        made = follow(seats, Growth(whole_gpu(seats.kinds), bound, alive_nodes, Placeholder), missing)
    elif isinstance(seats, Alike):
        made = Growing(seats, Growth(seats.seat.bundle, bound, alive_nodes, Placeholder), missing, tell)
    else:
        return seats
    made.look()
    return made


def await_machine(
    shape: Resources,
    pause: Callable[[], object],
    tell: Callable[[str], object],
    worth: Callable[[], bool],
) -> None:
    """Wait until the cluster has room of `shape`, asking its autoscaler for it; `pause` is called between two looks.

    Waits no longer than it is `worth` it. Raises ClusterStartError after twenty minutes.
    """
    words = ", ".join(f"{share:g} {kind}" for kind, share in shape.items() if share)
    room = Placeholder(shape)
    try:
        deadline = time.monotonic() + ARRIVAL
        if not room.ready():
            tell(f"no machine has room for {words} yet: waiting for one")
        while not room.ready() and worth():
            if time.monotonic() > deadline:
                raise ClusterStartError(
                    f"no machine with {words} came within {ARRIVAL / 60:g} minutes: see 'ray status' on the head; "
                    "--gpus-per-trial 0 searches on CPUs, resources.cpu says how many cores a trial holds"
                )
            pause()
            time.sleep(0.5)
    finally:
        room.remove()


class Placeholder:
    """Room of a trial's shape, asked of Ray."""

    def __init__(self, shape: Resources) -> None:
        from ray.util import placement_group  # noqa: PLC0415 - a session on one machine asks for nothing

        self._group: Any = placement_group([{kind: share for kind, share in shape.items() if share}])

    def ready(self) -> bool:
        """Whether it is there."""
        from ray.util import placement_group_table  # noqa: PLC0415

        # `wait` takes no time to mean for ever.
        return bool(placement_group_table(self._group)["state"] == "CREATED")

    def remove(self) -> None:
        """Give it back, or ask for it no longer."""
        from ray.util import remove_placement_group  # noqa: PLC0415

        remove_placement_group(self._group)
