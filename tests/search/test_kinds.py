"""Kinds of GPUs come and go, and the seats of measured trials with them."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from lesion.footprint import Footprint
from search.kinds import EVERY, Follower
from search.seating import kinds_of, machine_of
from search.seats import Kind, Measured, Seat

GB = 2**30


def node(kind: str, address: int, cpus: int = 8) -> dict[str, float]:
    return {"CPU": cpus, "GPU": 1, f"accelerator_type:{kind}": 1, f"node:10.0.0.{address}": 1}


class Played:
    """A cluster with T4s of 16 GB, a clock, and what machines answer by their address; None while they do not."""

    def __init__(self, *nodes: dict[str, float]) -> None:
        self.nodes: list[Any] = [*nodes]
        self.answers: dict[str, int | None] = {}
        self.seconds = 0.0
        memory = {machine_of(each): 16 * GB for each in nodes}
        kinds = kinds_of(self.nodes, lambda each: memory[machine_of(each)])
        self.seats = Measured(kinds, lambda settings: Footprint(2 * GB, 10 * GB, 100.0, 1.0))
        self.seats.kinds_now = Follower(kinds, memory, lambda: self.nodes, self.ask, lambda: self.seconds)

    def ask(self, asked: Mapping[str, float]) -> Any:
        (address,) = (name for name in asked if name.startswith("node:"))
        return SimpleNamespace(bytes=lambda: self.answers.get(address))

    def later(self, looks: int = 1) -> None:
        for _ in range(looks):
            self.seconds += EVERY
            self.seats.look()


def test_kinds_are_followed_as_machines_join_and_leave() -> None:
    played = Played(node("T4", 1))
    seats, nodes = played.seats, played.nodes
    assert seats.take(0, {}).gpus == 1.0
    assert seats.full
    nodes.append(node("T4", 2))
    seats.look()
    assert seats.full, "it looks every few seconds"
    played.later(3)
    assert seats.full, "T4 is a name: nobody knows what this one has"
    played.answers["node:10.0.0.2"] = 16 * GB
    played.later()
    assert not seats.full, "another T4 is there"
    seats.take(1, {})
    nodes.append(node("A100", 3, cpus=16))
    played.later(3)
    assert seats.full, "nobody knows what fits on an A100 yet"
    played.answers["node:10.0.0.3"] = 80 * GB
    played.later()
    assert not seats.full
    assert seats.take(2, {}) == Seat(16, 1.0, "A100")
    assert seats.full
    nodes.pop(0)
    played.later()
    seats.leave(0)
    assert seats.full, "its machine has left as well"
    nodes.clear()
    played.later()
    assert [kind.accelerator for kind in seats.kinds] == ["A100", "T4"], "a cluster without a machine asks for none"


def test_a_machine_that_joins_with_smaller_gpus_of_the_same_name_bounds_all_of_them() -> None:
    played = Played(node("T4", 1))
    played.nodes.append(node("T4", 2))
    played.answers["node:10.0.0.2"] = 8 * GB
    played.later(2)
    assert played.seats.kinds == [Kind("T4", 2, 8 * GB, 8)]


def test_a_gpu_that_does_not_say_its_memory_gets_no_trials() -> None:
    played = Played(node("T4", 1))
    played.nodes += [node("broken", 2), node("T4", 3)]
    played.answers |= {"node:10.0.0.2": 0, "node:10.0.0.3": 0}
    played.later(4)
    assert played.seats.kinds == [Kind("T4", 1, 16 * GB, 8)]
    assert "accelerator_type:T4" in played.seats.take(0, {}).bundle, "Ray would place it on the broken one as well"
