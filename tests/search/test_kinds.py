"""Kinds of GPUs come and go, and the seats of measured trials with them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from lesion.footprint import Footprint
from search.kinds import EVERY, Follower
from search.seating import kinds_of
from search.seats import Kind, Measured, Seat

GB = 2**30


def test_kinds_are_followed_as_machines_join_and_leave() -> None:
    nodes: list[Any] = [{"CPU": 8, "GPU": 1, "accelerator_type:T4": 1}]
    answers: dict[str, int | None] = {"A100": None}
    seconds = 0.0
    kinds = kinds_of(nodes, lambda name: 16 * GB)
    seats = Measured(kinds, lambda settings: Footprint(2 * GB, 10 * GB, 100.0, 1.0))
    seats.kinds_now = Follower(
        kinds, lambda: nodes, lambda name: SimpleNamespace(bytes=lambda: answers[name]), lambda: seconds
    )

    def later() -> None:
        nonlocal seconds
        seconds += EVERY
        seats.look()

    assert seats.take(0, {}) == Seat(8, 1.0)
    assert seats.full
    nodes.append(nodes[0])
    seats.look()
    assert seats.full, "it looks every few seconds"
    later()
    assert not seats.full, "another T4 is there"
    seats.take(1, {})
    nodes.append({"CPU": 16, "GPU": 1, "accelerator_type:A100": 1})
    for _ in range(3):
        later()
        assert seats.full, "nobody knows what fits on an A100 yet"
    answers["A100"] = 80 * GB
    later()
    later()
    assert not seats.full
    assert seats.take(2, {}) == Seat(16, 1.0, "A100")
    assert seats.full
    nodes.pop(0)
    later()
    seats.leave(0)
    assert seats.full, "its machine has left as well"
    nodes.clear()
    later()
    assert [kind.accelerator for kind in seats.kinds] == ["A100", "T4"], "a cluster without a machine asks for none"


def test_a_gpu_that_does_not_say_its_memory_gets_no_trials() -> None:
    kinds = [Kind("T4", 1, 16 * GB, 8)]
    nodes: list[Any] = [{"CPU": 8, "GPU": 1, f"accelerator_type:{name}": 1} for name in ("T4", "broken")]
    times = iter(range(0, 1000, 10))
    follower = Follower(kinds, lambda: nodes, lambda name: SimpleNamespace(bytes=lambda: 0), lambda: next(times))
    assert [kind.accelerator for _ in range(4) for kind in follower()] == ["T4"] * 4
