"""A training that notes on which node it runs, and goes no further until there are two."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from fake_training import FakeTraining


class HostedTraining(FakeTraining):
    """Adds its node to ``nodes.txt`` beside the checkpoints."""

    def __init__(self, settings: Mapping[str, Any], job: Any, seed: int) -> None:
        import ray

        super().__init__(settings, job, seed)
        job.folder.mkdir(parents=True, exist_ok=True)
        self.notes = job.folder / "nodes.txt"
        with self.notes.open("a") as file:
            file.write(f"{ray.get_runtime_context().get_node_id()}\n")

    def step(self) -> dict[str, float]:
        # A trial that ended before the other machine's worker had started would hand it its own: Ray prefers that.
        deadline = time.monotonic() + 150
        while len(set(self.notes.read_text().split())) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        return super().step()
