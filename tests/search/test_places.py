"""Cores and GPUs are shared out machine by machine: as many trials run as are said to, on the cores that are beside."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from search.errors import ClusterError
from search.places import Share, cores_beside, places, resources_for

GB = 2**30


@pytest.mark.parametrize(
    ("nodes", "asked", "share"),
    [
        ([{"CPU": 2}], {}, (2, 1, 0.0)),
        ([{"CPU": 16}], {}, (4, 4, 0.0)),
        ([{"CPU": 16}], {"concurrent": 16}, (16, 1, 0.0)),
        ([{"CPU": 2}], {"concurrent": 5}, (2, 1, 0.0)),
        ([{"CPU": 2}], {"missing": 1}, (1, 2, 0.0)),
        ([{"CPU": 16}], {"concurrent": 4, "missing": 3}, (3, 5, 0.0)),
        ([{"CPU": 16}] * 4, {"concurrent": 1}, (1, 16, 0.0)),
        ([{"CPU": 16, "GPU": 4}], {}, (4, 4, 1.0)),
        ([{"CPU": 16, "GPU": 4}], {"missing": 40}, (4, 4, 1.0)),
        ([{"CPU": 16, "GPU": 2}], {"gpus_per_trial": 0.4}, (4, 4, 0.4)),
        ([{"CPU": 16, "GPU": 4}], {"gpus_per_trial": 0}, (4, 4, 0.0)),
        # The cores of other GPUs are for those: for trials that come later, and for other people's.
        ([{"CPU": 16, "GPU": 4}], {"concurrent": 2}, (2, 4, 1.0)),
        ([{"CPU": 16, "GPU": 4}], {"missing": 2}, (2, 4, 1.0)),
        ([{"CPU": 32, "GPU": 4}] * 2, {"concurrent": 2}, (2, 8, 1.0)),
        ([{"CPU": 16, "GPU": 1}], {"gpus_per_trial": 0.25, "missing": 1}, (1, 16, 0.25)),
        # Cores of several machines are not one heap.
        ([{"CPU": 32, "GPU": 4}] * 2, {"missing": 3}, (3, 8, 1.0)),
        ([{"CPU": 32, "GPU": 4}] * 2, {"missing": 7}, (7, 8, 1.0)),
        ([{"CPU": 4}] * 3, {}, (12, 1, 0.0)),
        ([{"CPU": 4}] * 3, {"concurrent": 4}, (4, 2, 0.0)),
        ([{"CPU": 32}] * 2, {"concurrent": 3}, (3, 16, 0.0)),
        # By hand.
        ([{"CPU": 16, "GPU": 2}], {"gpus_per_trial": 0.25, "cpus_per_trial": 4}, (4, 4, 0.25)),
        ([{"CPU": 6}] * 2, {"cpus_per_trial": 4}, (2, 4, 0.0)),
        ([{"CPU": 64, "GPU": 1}, {"CPU": 4, "GPU": 1}], {"cpus_per_trial": 8}, (1, 8, 1.0)),
    ],
)
def test_cores_and_gpus_are_shared_out(nodes: list[Any], asked: dict[str, Any], share: tuple[int, int, float]) -> None:
    assert resources_for(nodes, **asked) == Share(*share)


@pytest.mark.parametrize(
    ("nodes", "gpus"),
    [([{"CPU": 32, "GPU": 4}] * 2, None), ([{"CPU": 4}] * 3, None), ([{"CPU": 7}, {"CPU": 32}, {"CPU": 1}], None),
     ([{"CPU": 9, "GPU": 2}, {"CPU": 64, "GPU": 3}], 0.5), ([{"CPU": 12, "GPU": 3}, {"CPU": 16, "GPU": 4}], 2)],
)  # fmt: skip
def test_as_many_run_as_are_said_to_and_one_core_more_would_be_too_many(nodes: list[Any], gpus: float | None) -> None:
    for concurrent, missing in itertools.product((None, 1, 2, 3, 5, 9), (1, 2, 3, 5, 7, 40)):
        share = resources_for(nodes, concurrent, gpus, missing)
        assert share.concurrent <= min(concurrent or missing, missing)
        assert places(nodes, share.shape) >= share.concurrent
        beside = cores_beside(nodes, share.gpus) if share.gpus else max(node["CPU"] for node in nodes)
        more = {**share.shape, "CPU": share.cpus + 1}
        assert share.cpus == beside or places(nodes, more) < share.concurrent, (concurrent, missing)


def test_memory_of_machines_is_not_added_up_and_one_trial_runs_in_any_case() -> None:
    nodes = [{"CPU": 8, "memory": 5 * GB}, {"CPU": 8, "memory": 3 * GB}]
    share = resources_for(nodes, memory=2 * GB)
    assert (share.concurrent, share.cpus) == (3, 4)
    assert places([*nodes, {"CPU": 8, "memory": GB}], share.shape) == 3
    share = resources_for(nodes, memory=20 * GB)
    assert (share.concurrent, share.cpus, share.memory) == (1, 8, 5 * GB)
    # A head without cores has most memory, and runs no trial; nor does what has no GPU where trials need one.
    workers = [{"CPU": 8, "memory": 8 * GB}] * 4
    share = resources_for([{"CPU": 0, "memory": 16 * GB}, *workers], missing=40, memory=12 * GB)
    assert (share.concurrent, share.cpus, share.memory) == (4, 8, 8 * GB)
    workers = [{"CPU": 8, "GPU": 1, "memory": 8 * GB}] * 4
    share = resources_for([{"CPU": 8, "memory": 16 * GB}, *workers], missing=40, memory=12 * GB)
    assert (share.concurrent, share.cpus, share.memory) == (4, 8, 8 * GB)


@pytest.mark.parametrize(
    ("nodes", "asked", "words"),
    [
        ([{"CPU": 2}], {"gpus_per_trial": 1.0}, "there are 0"),
        ([{"CPU": 2}], {"gpus_per_trial": -1}, "share"),
        ([{"CPU": 2}], {"gpus_per_trial": 1.5}, "a whole number"),
        ([{"CPU": 2}], {"concurrent": 0}, "--concurrent is 0, must be at least 1"),
        ([{"CPU": 8, "GPU": 1}] * 2, {"gpus_per_trial": 2}, "of one machine, none has more than 1"),
        ([{"CPU": 1}] * 2, {"cpus_per_trial": 2}, "resources.cpu is 2, no node has more than 1 cores"),
        ([{"CPU": 32}, {"CPU": 4, "GPU": 2}], {"cpus_per_trial": 8},
         "resources.cpu is 8, no node with 1 GPUs has more than 4 cores"),
    ],
)  # fmt: skip
def test_what_no_machine_has(nodes: list[Any], asked: dict[str, Any], words: str) -> None:
    with pytest.raises(ClusterError, match=words):
        resources_for(nodes, **asked)


def test_those_that_run_hold_what_they_were_given() -> None:
    nodes = [{"CPU": 32, "GPU": 1}, {"CPU": 16, "GPU": 1}]
    shape = {"CPU": 16, "GPU": 1.0}
    assert places(nodes, shape, held=[32]) == 2
    assert places(nodes, shape, held=[16]) == 2
    # Four with eight cores each fill the first: six of three cores find no place there.
    assert places([{"CPU": 32}, {"CPU": 4}], {"CPU": 3}, held=[8] * 4) == 5
    assert places([{"CPU": 16}], {"CPU": 4}, held=[8] * 4) == 2, "two are on a machine that has left"
