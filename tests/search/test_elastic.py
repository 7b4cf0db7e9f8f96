"""Places are counted anew as machines come and go, and machines are asked for only where a trial would use them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lesion.footprint import Footprint
from search import cluster as clusters
from search import elastic, seating
from search.elastic import AHEAD, EVERY, REST, Growing, Growth
from search.kinds import Followed, whole_gpu
from search.places import Share
from search.probes import Key
from search.seats import Alike, Kind, Measured, Seat
from search.space.resources import Resources

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


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Any, list[str]]]:
    """The seats of a session that begins on a cluster as it is, and what it tells; every look is a new one."""

    def begin(cluster: Cluster, resources: Resources, missing: int = 40, **plan: Any) -> tuple[Any, list[str]]:
        told: list[str] = []
        for module in (clusters, seating):
            monkeypatch.setattr(module, "alive_nodes", lambda: list(cluster.nodes))
        monkeypatch.setattr(seating, "measured", lambda key, pause: Footprint(6 * GB, 0, 100.0, 1.0))
        monkeypatch.setattr(elastic, "Placeholder", cluster.ask)
        monkeypatch.setattr(elastic, "EVERY", 0.0)
        made = SimpleNamespace(
            resources=resources, address="auto", warn=told.append, keys=lambda: [Key("resnet18", 64, 32)],
            workspace=SimpleNamespace(cache=tmp_path), **{"gpus_per_trial": None, "concurrent": None, **plan},
        )  # fmt: skip
        return elastic.seats_of(made, missing, lambda: None), told

    return begin


def test_machines_that_join_with_fewer_cores_beside_a_gpu_get_trials(begun: Any) -> None:
    cluster = Cluster()
    cluster.nodes = [{"CPU": 32, "GPU": 1}]  # `ray up` returns when the head is up
    seats, told = begun(cluster, Resources())
    assert seats.take(0, {}) == Seat(32, 1.0)
    seats.look()
    assert seats.full
    cluster.nodes += [{"CPU": 16, "GPU": 1}] * 2
    seats.look()
    assert not seats.full, "the workers have joined"
    assert (seats.take(1, {}), seats.take(2, {})) == (Seat(16, 1.0), Seat(16, 1.0))
    assert (seats.full, seats.in_use()) == (True, {"CPU": 64.0, "GPU": 3.0})
    for _ in range(REST + 1):
        seats.look()
    assert cluster.waiting[0].shape == {"CPU": 16, "GPU": 1.0}, "a machine like the poorer ones is enough"
    seats.leave(0)
    seats.look()
    assert (seats.full, seats.take(3, {}), told) == (False, Seat(16, 1.0), [])
    # Nobody has a GPU just now: what waits, waits for one with cores as before.
    cluster.nodes = [{"CPU": 32}]
    seats.look()
    assert (seats.full, seats.take(4, {})) == (True, Seat(16, 1.0))


def test_machines_that_join_with_fewer_cores_get_trials_on_cpus(begun: Any) -> None:
    cluster = Cluster()
    cluster.nodes = [{"CPU": 32}]
    seats, told = begun(cluster, Resources(gpu=0))
    assert [seats.take(number, {}) for number in range(4)] == [Seat(8, 0.0)] * 4
    seats.look()
    assert seats.full
    cluster.nodes += [{"CPU": 4}] * 2
    seats.look()
    # The head is full of trials with eight cores: no place is reckoned there for one with three.
    assert [(seats.full, seats.take(number, {})) for number in (4, 5)] == [(False, Seat(3, 0.0))] * 2
    assert (seats.full, told) == (True, [])
    for number in range(4):
        seats.leave(number)
    seats.look()
    assert [(seats.full, seats.take(number, {})) for number in range(6, 16)] == [(False, Seat(3, 0.0))] * 10
    assert seats.full
    cluster.nodes.append({"CPU": 1})
    seats.look()
    assert told == [
        "1 of 4 machines get no trials: one holds 2 cores, for which they have no room; resources.cpu says how many "
        "cores"
    ]
    seats.look()
    assert len(told) == 1


def test_a_trial_that_fits_on_no_machine_any_more_takes_no_place(begun: Any) -> None:
    """The head is not searched on; what joins after the first machine has fewer cores, and the first one leaves."""
    cluster = Cluster()
    cluster.nodes = [{"CPU": 32, "GPU": 1}]
    seats, told = begun(cluster, Resources())
    assert seats.take(0, {}) == Seat(32, 1.0)
    cluster.nodes.append({"CPU": 8, "GPU": 1})
    seats.look()
    assert (seats.take(1, {}), seats.full, told) == (Seat(8, 1.0), True, [])
    del cluster.nodes[0]
    seats.look()
    assert seats.full, "trial 1 runs on the only machine"
    seats.leave(1)
    seats.look()
    assert (seats.full, seats.take(2, {}), seats.full) == (False, Seat(8, 1.0), True)
    for _ in range(REST + 1):
        seats.look()
    assert told == [
        "trials whose machine has left wait for one with 32 cores and 1 GPUs: no machine of now has so many; the same "
        "command, begun anew, shares out the machines that are there then"
    ]
    assert len(cluster.waiting) == AHEAD
    cluster.nodes.append({"CPU": 32, "GPU": 1})  # trial 0 goes on there
    seats.look()
    assert (seats.full, len(told)) == (True, 1)


def test_trials_that_wait_for_a_machine_like_theirs_are_within_the_bound(begun: Any) -> None:
    cluster = Cluster()
    cluster.nodes = [{"CPU": 8, "GPU": 1}] * 2
    seats, told = begun(cluster, Resources(), concurrent=2)
    seats.take(0, {}), seats.take(1, {})
    cluster.nodes = []
    for _ in range(REST + 1):
        seats.look()
    assert (seats.full, cluster.waiting, len(told)) == (True, [], 1), "Ray asks for room for the two, and nobody else"


def test_measured_memory_bounds_trials_on_cpus_that_join(begun: Any) -> None:
    cluster = Cluster()
    cluster.nodes = [{"CPU": 16, "memory": 13 * GB}]
    seats, _ = begun(cluster, Resources(auto=True))
    assert [seats.take(number, {}) for number in range(2)] == [Seat(8, 0.0)] * 2
    cluster.nodes.append({"CPU": 6, "memory": 7 * GB})
    seats.look()
    assert (seats.full, seats.take(2, {})) == (False, Seat(6, 0.0))
    assert seats.full, "two more would have cores, and no memory"


def test_machines_that_get_no_trials_are_told_of_by_what_they_lack() -> None:
    cluster = Cluster()
    told: list[str] = []
    alike = Alike(1, 4, 0.0, lambda nodes, left: Share(1, 4, 0.0, memory=6 * GB))
    seats = Growing(alike, cluster.growth(9, alike.seat.bundle), 9, told.append)
    cluster.nodes = [{"CPU": 16, "memory": 64 * GB}, {"CPU": 16, "memory": 4 * GB}, {"CPU": 2, "memory": 64 * GB}]
    seats.look()
    assert told == [
        "1 of 3 machines get no trials: one needs 6.0 GiB of main memory, which they do not have; smaller images or "
        "batches need less",
        "1 of 3 machines get no trials: one holds 4 cores, for which they have no room; resources.cpu says how many "
        "cores",
    ]


def test_cores_by_hand_stay_what_they_are_and_too_small_machines_are_told_of(begun: Any) -> None:
    cluster = Cluster()
    cluster.nodes = [{"CPU": 32, "GPU": 1}]
    seats, told = begun(cluster, Resources(cpu=20))
    assert (seats.take(0, {}), told) == (Seat(20, 1.0), [])
    cluster.nodes += [{"CPU": 16, "GPU": 1}, {"CPU": 4}, {"CPU": 20, "GPU": 1}]
    seats.look()
    assert (seats.full, seats.take(1, {})) == (False, Seat(20, 1.0))
    assert seats.full
    assert told == [
        "1 of 4 machines get no trials: one holds 20 cores and 1 GPUs, for which they have no room; resources.cpu says "
        "how many cores"
    ]


def test_placeholders_are_of_the_shape_that_trials_have_now() -> None:
    cluster = Cluster()
    growth = cluster.growth(bound=9, shape={"CPU": 32, "GPU": 1})
    growth.look(running=0, left=3)
    growth.shape = {"CPU": 16, "GPU": 1}
    cluster.later()
    growth.look(running=0, left=3)
    assert [room.shape for room in cluster.waiting] == [{"CPU": 16, "GPU": 1}] * 3


def test_placeholders_are_given_back_at_the_end_also_where_ray_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster()
    seats = Growing(Alike(2, 2, 0.5), cluster.growth(bound=9), missing=5)
    seats.look()
    assert len(cluster.waiting) == 5
    seats.close()
    assert not cluster.waiting
    seats = measured(cluster, left=9)
    seats.take(0, {}), seats.take(1, {})
    cluster.later()
    seats.look()
    assert cluster.waiting
    seats.close()
    assert not cluster.waiting
    seats = Growing(Alike(2, 2, 0.5), Cluster().growth(bound=9), missing=5)
    seats.look()
    removed: list[Room] = []

    def remove(room: Room) -> None:
        removed.append(room)
        raise ConnectionError("Ray has gone")

    monkeypatch.setattr(Room, "remove", remove)
    seats.close()
    assert len(removed) == 5


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
    assert seats.take(0, {}) == Seat(4, 0.5, "T4")
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
