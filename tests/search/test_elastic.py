"""Places are counted anew as machines come and go, and machines are asked for only where a trial would use them."""

from __future__ import annotations

from collections.abc import Mapping

from search.elastic import AHEAD, EVERY, REST, Growing, Growth
from search.seats import Alike

SHAPE = {"CPU": 2, "GPU": 0.5}
NODE = {"CPU": 8, "GPU": 1}


class Cluster:
    """Machines, a clock, and what has been asked for."""

    def __init__(self) -> None:
        self.nodes: list[Mapping[str, float]] = []
        self.waiting: list[Room] = []
        self.seconds = 0.0

    def ask(self, shape: Mapping[str, float]) -> Room:
        room = Room(self)
        self.waiting.append(room)
        return room

    def growth(self, bound: int) -> Growth:
        return Growth(SHAPE, bound, lambda: self.nodes, self.ask, lambda: self.seconds)

    def later(self) -> None:
        self.seconds += EVERY


class Room:
    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.stands = cluster, False

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
    cluster.nodes = [NODE] * 4
    cluster.later()
    assert growth.look(running=2, left=20) == 3


def test_seats_are_full_while_every_place_is_taken_and_one_trial_may_always_wait() -> None:
    cluster = Cluster()
    seats = Growing(Alike(2, 2, 0.5), cluster.growth(bound=9), left=4)
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
    assert not seats.full
    # Two of four are left to begin, and one place is free: nothing is asked for.
    cluster.later()
    seats.look()
    assert not cluster.waiting
