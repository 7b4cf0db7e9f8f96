"""Places are counted anew as machines come and go, and machines are asked for only where a trial would use them."""

from __future__ import annotations

from collections.abc import Mapping

from lesion.footprint import Footprint
from search.elastic import AHEAD, EVERY, REST, Growing, Growth
from search.kinds import Followed, whole_gpu
from search.seats import Alike, Kind, Measured, Seat

SHAPE = {"CPU": 2, "GPU": 0.5}
NODE = {"CPU": 8, "GPU": 1}


class Cluster:
    """Machines, a clock, and what has been asked for."""

    def __init__(self) -> None:
        self.nodes: list[Mapping[str, float]] = []
        self.waiting: list[Room] = []
        self.seconds = 0.0

    def ask(self, shape: Mapping[str, float]) -> Room:
        room = Room(self, shape)
        self.waiting.append(room)
        return room

    def growth(self, bound: int, shape: Mapping[str, float] = SHAPE) -> Growth:
        return Growth(shape, bound, lambda: self.nodes, self.ask, lambda: self.seconds)

    def later(self) -> None:
        self.seconds += EVERY


class Room:
    def __init__(self, cluster: Cluster, shape: Mapping[str, float]) -> None:
        self.cluster, self.shape, self.stands = cluster, dict(shape), False

    def ready(self) -> bool:
        return self.stands

    def remove(self) -> None:
        self.cluster.waiting.remove(self)


def test_a_cluster_of_nothing_is_asked_for_as_many_machines_as_trials_could_use() -> None:
    cluster = Cluster()
    growth = cluster.growth(bound=100)
    assert growth.look(running=0, left=5) == 0
    assert len(cluster.waiting) == 5
    cluster.later()
    assert growth.look(running=0, left=50) == 0
    assert len(cluster.waiting) == AHEAD


def test_a_machine_that_joins_has_places_at_once_and_its_room_is_given_back() -> None:
    cluster = Cluster()
    growth = cluster.growth(bound=100)
    growth.look(running=0, left=5)
    cluster.nodes.append(NODE)
    for room in cluster.waiting[:2]:
        room.stands = True
    cluster.later()
    assert growth.look(running=0, left=5) == 2
    assert not cluster.waiting, "while a place is free nothing competes with the trial that takes it"
    for _ in range(REST):
        cluster.later()
        growth.look(running=2, left=5)
    cluster.later()
    growth.look(running=2, left=5)
    assert len(cluster.waiting) == 3


def test_a_machine_that_leaves_takes_its_places_with_it() -> None:
    cluster = Cluster()
    cluster.nodes = [NODE, NODE]
    growth = cluster.growth(bound=100)
    assert growth.look(running=4, left=9) == 4
    cluster.nodes.pop()
    assert growth.look(running=4, left=9) == 4, "it looks every few seconds, not at each step"
    cluster.later()
    assert growth.look(running=4, left=9) == 2


def test_the_last_trials_ask_for_nothing_and_the_bound_holds() -> None:
    cluster = Cluster()
    cluster.nodes = [NODE]
    growth = cluster.growth(bound=3)
    growth.look(running=2, left=20)
    assert len(cluster.waiting) == 1
    cluster.later()
    growth.look(running=2, left=2)
    assert not cluster.waiting
    cluster.nodes = []
    cluster.later()
    growth.look(running=2, left=3)
    assert len(cluster.waiting) == 1, "two trials wait in Ray themselves"
    cluster.nodes = [NODE] * 4
    cluster.later()
    assert growth.look(running=2, left=20) == 3


def test_seats_are_full_while_every_place_is_taken_and_one_trial_may_always_wait() -> None:
    cluster = Cluster()
    seats = Growing(Alike(2, 2, 0.5), cluster.growth(bound=9), missing=4)
    seats.look()
    assert (seats.concurrent, seats.full) == (9, False)
    assert seats.take(0, {}).bundle == {"CPU": 2, "GPU": 0.5}
    assert seats.full
    cluster.nodes.append(NODE)
    cluster.later()
    seats.look()
    assert not seats.full
    seats.take(1, {})
    assert seats.full
    assert seats.in_use() == {"CPU": 4.0, "GPU": 1.0}
    seats.leave(0)
    assert (seats.full, seats.left) == (False, 3)
    seats.take(0, {})  # Ray gave it up
    assert (seats.full, seats.left) == (True, 4)
    seats.leave(0)
    assert (seats.full, seats.left) == (False, 3)
    # Two of four are left to begin, and one place is free: nothing is asked for.
    cluster.later()
    seats.look()
    assert not cluster.waiting


GB = 2**30
T4, A100 = Kind("T4", 1, 16 * GB, 8), Kind("A100", 1, 80 * GB, 4)


def measured(cluster: Cluster, left: int, bound: int = 100) -> Followed:
    """Seats of trials that need half of a GPU each, on a T4 to begin with."""
    cluster.nodes = [NODE]
    seats = Followed(
        Measured([T4], lambda settings: Footprint(2 * GB, 4 * GB, 100.0, 0.5)),
        cluster.growth(min(bound, left), whole_gpu([T4])),
        left,
    )
    seats.look()
    return seats


def test_measured_trials_ask_for_whole_gpus_once_all_are_full() -> None:
    cluster = Cluster()
    seats = measured(cluster, left=9)
    assert seats.take(0, {}) == Seat(4, 0.5)
    cluster.later()
    seats.look()
    assert not seats.full
    assert not cluster.waiting, "there is room for another trial"
    seats.take(1, {})
    assert seats.full
    seats.look()
    assert not cluster.waiting, "it looks every few seconds"
    cluster.later()
    seats.look()
    # Nine trials of half a GPU would fill five; one is there.
    assert [room.shape for room in cluster.waiting] == [{"CPU": 8, "GPU": 1}] * 4


def test_a_gpu_that_comes_to_measured_trials_is_theirs() -> None:
    cluster = Cluster()
    seats = measured(cluster, left=9)
    kinds = [T4]
    seats._seats.kinds_now = lambda: kinds
    seats.take(0, {}), seats.take(1, {})
    cluster.later()
    seats.look()
    cluster.waiting[0].stands = True
    cluster.nodes.append({"CPU": 4, "GPU": 1})
    cluster.later()
    seats.look()
    assert seats.full, "nobody knows its memory yet"
    assert not cluster.waiting, "what came to stand is given back, and the others rest with it"
    kinds.append(A100)
    cluster.later()
    seats.look()
    assert not seats.full
    assert seats.take(2, {}) == Seat(2, 0.5, "A100")
    seats.take(3, {})
    for _ in range(REST):
        cluster.later()
        seats.look()
    # Cores enough for either kind.
    assert [room.shape for room in cluster.waiting] == [{"CPU": 4, "GPU": 1}] * 3


def test_the_last_measured_trials_ask_for_nothing_and_the_bound_holds() -> None:
    cluster = Cluster()
    seats = measured(cluster, left=5, bound=3)
    assert seats.concurrent == 3
    seats.take(0, {}), seats.take(1, {})
    cluster.later()
    seats.look()
    assert len(cluster.waiting) == 1, "three trials at a time fill a GPU and a half"
    for number in range(3):
        seats.leave(number)
        seats.take(number + 2, {})
    cluster.later()
    seats.look()
    assert seats.full
    assert seats.in_use() == {"CPU": 8.0, "GPU": 1.0}
    assert not cluster.waiting, "two are left, and both run"
