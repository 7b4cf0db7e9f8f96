"""GPUs that a node only says it has: their memory, and what a training needs there, answered on the very node.

Everything above runs as it is: Ray's logical GPUs, seats, the driver, workers. Functions here travel to the nodes by
name.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import ray
from fake_training import FakeTraining

from lesion.footprint import Footprint
from search.probes import Key

GB = 2**30
MEMORY = {"T4": 16 * GB, "A100": 80 * GB}
NEEDS = {64: Footprint(2 * GB, 4 * GB, 100.0, 0.4), 128: Footprint(2 * GB, 30 * GB, 100.0, 0.4)}
"""By pixels a side: two trials fit on any of the GPUs at 64; at 128 none on a T4, two on an A100."""
PROBED = "probed.txt"


def kind_here() -> str:
    """Which GPU the node says it has, on which this runs."""
    here = ray.get_runtime_context().get_node_id()
    (node,) = (each for each in ray.nodes() if each["NodeID"] == here)  # type: ignore[no-untyped-call]
    (kind,) = (name for name in node["Resources"] if name.startswith("accelerator_type:"))
    return str(kind).removeprefix("accelerator_type:")


def memory(gpus: int) -> int:
    """In the place of `search.seating._gpu_memory`."""
    assert gpus == {"T4": 2, "A100": 1}[kind_here()], "all GPUs of a machine are looked at"
    return MEMORY[kind_here()]


def measured(key: Key, device: str = "cpu", **_: Any) -> Footprint:
    """In the place of `search.probes.measured`."""
    assert (device, len(ray.get_gpu_ids())) == ("cuda", 1), "a probe has a GPU to itself"  # type: ignore[no-untyped-call]
    return NEEDS[key.size]


class SeatedTraining(FakeTraining):
    """Notes the seat of its trial and from when to when it held it, in ``seats.txt`` beside the checkpoints."""

    def __init__(self, settings: Any, job: Any, seed: int) -> None:
        super().__init__(settings, job, seed)
        self.job, self.began = job, time.time()

    def step(self) -> dict[str, float]:
        time.sleep(0.5)
        metrics = super().step()
        (gpu,) = ray.get_gpu_ids()  # type: ignore[no-untyped-call]
        note = {
            "kind": kind_here(), "gpu": int(gpu), "size": self.settings["image_size"], "share": self.job.gpus,
            "threads": self.job.threads, "seed": self.seed, "began": self.began, "ended": time.time(),
        }  # fmt: skip
        self.job.folder.mkdir(parents=True, exist_ok=True)
        with (Path(self.job.folder) / "seats.txt").open("a") as file:
            file.write(json.dumps(note) + "\n")
        return metrics


class PatientTraining(SeatedTraining):
    """Ends no epoch before the cluster has two nodes, however long the second takes to join."""

    def step(self) -> dict[str, float]:
        metrics = super().step()
        while sum(node["Alive"] for node in ray.nodes()) < 2:  # type: ignore[no-untyped-call]
            time.sleep(0.1)
        return metrics
