"""Trials of one second through the real driver: what a search costs beside its trainings.

    python benchmarks/second_trials.py --trials 10000 --at-a-time 4
    python benchmarks/second_trials.py --trials 200                    # a try

A training that sleeps for a second takes the place of the real one; all else is real: Ray and its workers, the ledger,
proposals, checkpoints, and the mirror to MLflow. Ideal is `--trials` × 1 s / `--at-a-time`; Ray is told that the
machine has so many cores, as sleeping needs none. Each line is about the trials since the line above it, the first one
about those after the first that ended: Ray's start is not in it. Target: at most 10 % over ideal over 10 000 trials.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import ray
from fixed_settings import machine
from memory import pack

SECONDS = 1.0
SPACE = """
data: drawn
split: holdout
objective: mean_auc
budget: {{trials: {trials}, epochs: 1}}
space:
  backbone: {{choice: [mobilenet_v2, resnet18, shufflenet_v2_x1_0]}}
  loss: {{choice: {{cross_entropy: , focal: {{gamma: {{float: [0.5, 3.0]}}}}}}}}
  optimizer: {{adamw: {{lr: {{float: [1.0e-4, 1.0e-2], log: true}}, weight_decay: {{float: [0.001, 0.1], log: true}}}}}}
  augmentation: {{choice: {{colour: {{strength: {{float: [0.5, 1.5]}}}}, strong: }}}}
"""


class Sleeping:
    """A training of one epoch that sleeps; its score hangs on the learning rate."""

    def __init__(self, settings: Mapping[str, Any], job: Any, seed: int) -> None:
        self._value = float(1 - abs(np.log10(settings["optimizer.adamw.lr"]) + 3) / 2 + (seed % 97) / 10000)
        self.epoch = 0

    def step(self) -> dict[str, float]:  # noqa: D102
        time.sleep(SECONDS)
        self.epoch += 1
        return {"mean_auc": self._value, "train_loss": 1 - self._value, "examples": 6.0}

    def state_dict(self) -> dict[str, Any]:  # noqa: D102
        return {"epoch": self.epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: D102
        self.epoch = state["epoch"]

    def predict(self) -> np.ndarray:  # noqa: D102
        return np.full((3, 3), 1 / 3)

    def confusion(self) -> np.ndarray:  # noqa: D102
        return np.array([[0, 0, 0, 1]] * 3)

    @property
    def finished(self) -> bool:  # noqa: D102
        return self.epoch > 0


class Lines:
    """Prints a line of the table each time that so many more trials have ended."""

    def __init__(self, every: int, ideal: float) -> None:
        self._every, self._ideal = every, ideal
        self._last: tuple[int, float, float] | None = None

    def __call__(self, state: Any) -> None:
        """Look at a snapshot of the session."""
        ended = state.counts.get("complete", 0)
        now = (ended, time.monotonic(), time.process_time())
        if self._last is None:
            self._last = now if ended else None
        elif ended - self._last[0] >= self._every or (state.phase == "ended" and ended > self._last[0]):
            count, seconds, spent = (after - before for after, before in zip(now, self._last, strict=True))
            over = seconds / (count * self._ideal) - 1
            print(f"| {ended} | {seconds:.1f} | {over:+.1%} | {1000 * spent / count:.0f} |", flush=True)
            self._last = now


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--at-a-time", type=int, default=4)
    parser.add_argument("--rows", type=int, default=10, help="rows of the table")
    arguments = parser.parse_args()
    from search import run_study  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data" / "drawn").mkdir(parents=True)
        pack(folder / "data" / "drawn", 30, 16)
        (folder / "space.yaml").write_text(SPACE.format(trials=arguments.trials))
        lines = Lines(max(1, arguments.trials // arguments.rows), SECONDS / arguments.at_a_time)
        ray.init(  # never one that something else on this machine has started
            "local", num_cpus=arguments.at_a_time, include_dashboard=False, log_to_driver=False,
            object_store_memory=80 * 2**20,
        )  # fmt: skip
        print(f"{arguments.trials} trials, {arguments.at_a_time} at a time; {machine()}\n")
        print("| ended | seconds | over ideal | driver, CPU ms a trial |\n|---|---|---|---|", flush=True)
        started = time.monotonic()
        result = run_study(
            folder / "space.yaml", folder, concurrent=arguments.at_a_time, progress=lines, build=Sleeping
        )
        ray.shutdown()
        ended = sum(row.state == "complete" for row in result.rows)
        print(f"\n{ended} trials complete, {time.monotonic() - started:.1f} s with Ray's start and MLflow's end.")


if __name__ == "__main__":
    import second_trials  # under its own name, by which workers find the training

    second_trials.main()
