"""Measured seats of a cluster some of whose GPUs do not answer, or are too small; its machines are played.

Ray's errors are its own, made as it makes them of what a task raises.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayTaskError, WorkerCrashedError

from lesion.footprint import Footprint
from search import seating
from search.errors import ClusterError
from search.probes import Key
from search.seats import Kind, Measured, Seat

GB = 2**30
KEYS = [Key("resnet18", 64, 32), Key("resnet50", 512, 128)]
SMALL, LARGE = ({"backbone": key.backbone, "image_size": key.size, "batch_size": key.batch} for key in KEYS)
NODES: list[Any] = [
    {"CPU": 16, "GPU": 2, "accelerator_type:T4": 1, "node:10.0.0.2": 1},
    {"CPU": 16, "GPU": 1, "accelerator_type:A100": 1, "node:10.0.0.3": 1, "node:__internal_head__": 1},
]
MEMORY = {"T4": 16 * GB, "A100": 80 * GB}
NEEDED = {KEYS[0]: Footprint(2 * GB, 4 * GB, 100.0, 0.5), KEYS[1]: Footprint(2 * GB, 30 * GB, 100.0, 0.5)}
DRIVER = RuntimeError("CUDA unknown error - this may be due to an incorrectly set up environment\nmore of it")


class Machines:
    """In the place of Ray: answers what machines say, by their kind or their address, or raises what they raise."""

    def __init__(self, memory: dict[str, Any], needed: dict[Any, Any]) -> None:
        self.memory, self.needed, self.asked = memory, needed, []

    def remote(self, resources: dict[str, float], **_: Any) -> Callable[[Any], Any]:
        names = [name.removeprefix(seating.TYPE).removeprefix(seating.ADDRESS) for name in sorted(resources)]

        def memory(gpus: int) -> Any:
            self.asked.append((*names, gpus))
            return next(self.memory[name] for name in reversed(names) if name in self.memory)

        def task(function: Any) -> Any:
            answers = {"_gpu_memory": memory, "measured": lambda key, device: self.needed[key]}
            return SimpleNamespace(remote=answers[function.__name__])

        return task

    def wait(self, answers: list[Any], timeout: float) -> Any:
        return answers, []

    def get(self, answer: Any) -> Any:
        if isinstance(answer, Exception):
            made = not isinstance(answer, WorkerCrashedError)
            raise RayTaskError("there", "traceback", answer).as_instanceof_cause() if made else answer
        return answer


@pytest.fixture
def seated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Measured, list[str]]]:
    def seat(
        memory: dict[str, Any] = MEMORY, needed: dict[Any, Any] = NEEDED, nodes: list[Any] = NODES
    ) -> tuple[Measured, list[str]]:
        told: list[str] = []
        monkeypatch.setattr(seating, "ray", Machines(memory, needed))
        seats = seating.measured_seats(nodes, KEYS, tmp_path, told.append, lambda: None)
        return seats, [line for line in told if not line.startswith("measuring")]

    return seat


def test_a_setting_that_fits_nowhere_in_one_piece_gets_a_whole_gpu_of_the_largest(seated: Any) -> None:
    # As `lesion.footprint` measures it on a GPU whose memory runs out.
    seats, told = seated(needed={**NEEDED, KEYS[1]: Footprint(2 * GB, 80 * GB, 0.0, 1.0)})
    assert seats.take(0, LARGE) == Seat(16, 1.0, "A100")
    assert seats.take(1, SMALL) == Seat(4, 0.5, "T4")
    line = (
        "resnet50 at 512 pixels, 128 a batch, does not fit on A100 in one piece: each of its trials gets a whole one "
        "and cuts its batches"
    )
    assert told == [line]
    assert seated(needed={})[1] == [line], "it is measured once"


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (
            ClusterError("resnet50 cannot be measured: it ended with -9"),
            "resnet50 cannot be measured: it ended with -9",
        ),
        (DRIVER, "RuntimeError: CUDA unknown error - this may be due to an incorrectly set up environment"),
        (WorkerCrashedError(), "WorkerCrashedError: The worker died unexpectedly while executing this task."),
    ],
)
def test_a_setting_that_cannot_be_measured_gets_a_whole_gpu_and_is_tried_again(
    seated: Any, problem: Exception, words: str
) -> None:
    seats, (line,) = seated(needed={**NEEDED, KEYS[1]: problem})
    assert line.startswith(words)
    assert line.endswith("; until it can, each of its trials gets a whole GPU")
    assert seats.take(0, LARGE) == Seat(16, 1.0, "A100")
    assert seats.take(1, SMALL) == Seat(4, 0.5, "T4")
    seats, told = seated()
    assert (seats.take(0, LARGE), told) == (Seat(8, 0.5, "A100"), [])


def test_a_gpu_that_does_not_say_its_memory_gets_no_trials_and_is_told_of(seated: Any) -> None:
    seats, (line,) = seated(memory={**MEMORY, "T4": DRIVER})
    assert line == (
        "T4 on 10.0.0.2 does not say how much memory it has, and is not counted: RuntimeError: CUDA unknown error - "
        "this may be due to an incorrectly set up environment"
    )
    assert [kind.accelerator for kind in seats.kinds] == ["A100"]


def test_every_machine_of_a_kind_is_asked_for_all_its_gpus_and_the_smallest_counts(seated: Any) -> None:
    nodes = [
        {"CPU": 16, "GPU": 2, "accelerator_type:A100": 1, "node:10.0.0.4": 1},
        {"CPU": 16, "GPU": 1, "accelerator_type:A100": 1, "node:10.0.0.5": 1},
        {"CPU": 64, "node:10.0.0.1": 1},
    ]
    seats, told = seated(nodes=[*NODES, *nodes], memory={**MEMORY, "10.0.0.4": 40 * GB, "10.0.0.5": DRIVER})
    assert seating.ray.asked == [
        ("T4", "10.0.0.2", 2), ("A100", "10.0.0.3", 1), ("A100", "10.0.0.4", 2), ("A100", "10.0.0.5", 1)
    ]  # fmt: skip
    assert seats.kinds == [Kind("A100", 3, 40 * GB, 8), Kind("T4", 2, 16 * GB, 8)]
    assert len(told) == 1
    assert told[0].startswith("A100 on 10.0.0.5 does not say how much memory it has, and is not counted: ")
    assert seats.take(0, LARGE) == Seat(8, 1.0, "A100"), "two would not fit on the smallest"


def test_a_machine_that_does_not_answer_is_not_counted(seated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled: list[Any] = []
    monkeypatch.setattr(seating, "PATIENCE", 0)
    monkeypatch.setattr(Machines, "wait", lambda self, answers, timeout: ([], answers))
    monkeypatch.setattr(Machines, "cancel", lambda self, answer, force: cancelled.append(answer), raising=False)
    with pytest.raises(ClusterError, match="no GPU of the cluster says how much memory it has"):
        seated()
    assert cancelled == [16 * GB, 80 * GB]


def test_the_smallest_gpu_of_a_machine_is_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [24 * GB, 12 * GB, 2 * GB]  # the last is not Ray's
    found = SimpleNamespace(get_device_properties=lambda at: SimpleNamespace(total_memory=sizes[at]))
    monkeypatch.setattr("torch.cuda", found)
    assert seating._gpu_memory(2) == 12 * GB


def test_where_no_gpu_says_its_memory_the_command_ends_in_words(seated: Any) -> None:
    with pytest.raises(ClusterError, match=r"no GPU of the cluster says how much memory .*--gpus-per-trial 1 searches"):
        seated(memory={"T4": DRIVER, "A100": DRIVER})
