"""A training that costs nothing, and a packed data set of seven images for it: what tests of the search run on."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd

from lesion.data import packed
from lesion.errors import DataError, NonFiniteLossError
from lesion.registry import Component, Range, Registry
from search import trial
from search.space import Space, Vocabulary, load
from search.space.vocabulary import direction

SPOILT: list[str] = []
"""What the GPU of this very process has come to."""
SPACE = """
data: tiny
objective: mean_auc
budget: {{trials: {trials}, epochs: {epochs}{budget}}}
scheduler: {scheduler}
seed: 7
space:
  image_size: 32
  optimizer: {{choice: {{adamw: {{lr: {{float: [1.0e-4, 1.0e-2], log: true}}}}}}}}
  loss: {{choice: {{cross_entropy: , focal: {{gamma: {{float: [0.5, 3.0]}}}}}}}}
"""
optimizers, losses = Registry("optimizer"), Registry("loss")


@optimizers.register
def adamw(*, lr: Annotated[float, Range(0.0, None)] = 1e-3) -> None:
    """By name only."""


@losses.register
def cross_entropy() -> None:
    """By name only."""


@losses.register
def focal(*, gamma: Annotated[float, Range(0.0, None)] = 2.0) -> None:
    """By name only."""


def general(*, image_size: Annotated[int, Range(16, 1024)] = 128) -> None:
    """Settings of the training as a whole."""


WORDS = Vocabulary(
    kinds={registry.kind: registry for registry in (optimizers, losses)},
    general=Component("training", "general", general),
    direction=direction,
    corrects=lambda kind, name, settings: False,
    resolve=lambda settings: None,
    build=lambda settings, classes: None,
)
"""What the space below speaks of, without torch: a driver of its own would take seconds to know all of `lesion`."""


class FakeTraining:
    """Learns towards a level that its settings give; `WAIT` seconds an epoch, misbehaves as `FAULT` says.

    What it has learnt goes on from what it had learnt: with the state of another trial, or of another epoch, its values
    would be others.
    """

    def __init__(self, settings: Mapping[str, Any], job: Any, seed: int) -> None:
        self.settings, self.seed, self.epoch, self.folder = settings, seed, 0, job.folder
        self.learnt = 0.0

    def step(self) -> dict[str, float]:
        time.sleep(float(os.environ.get("FAKE_WAIT", "0")))
        self._value: float | None = None
        self._misbehave()
        self.epoch += 1
        lr = float(self.settings["optimizer.adamw.lr"])
        level = float(1 - abs(np.log10(lr) + 3) / 2 + (self.seed % 97) / 10000)
        self.learnt += (level - self.learnt) / 2
        value = self.learnt if self._value is None else self._value
        return {"mean_auc": value, "train_loss": 1 - value, "auc_rare": float("nan"), "examples": 6.0 * self.epoch}

    def _misbehave(self) -> None:
        if SPOILT:
            raise RuntimeError(SPOILT[0])
        fault = self.folder.parent.parent / "fault.json"
        if not fault.exists():
            return
        plan = json.loads(fault.read_text())
        if self.epoch != plan.get("epoch", 0) or self.seed != plan.get("seed", self.seed):
            return
        if plan["what"] == "nan":
            raise NonFiniteLossError("the loss is nan")
        if plan["what"] == "memory":
            raise MemoryError("no room")
        if plan["what"] == "spoil":
            times = plan["times"] - 1
            fault.write_text(json.dumps({**plan, "times": times})) if times else fault.unlink()
            SPOILT.append("CUDA error: device-side assert triggered\nSet CUDA_LAUNCH_BLOCKING=1")
            raise RuntimeError(SPOILT[0])
        if plan["what"] == "once":
            fault.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        if plan["what"] == "kill when handed over":
            fault.unlink()
            trial.TrialRun = _die  # type: ignore[misc,assignment]
            return
        if plan["what"] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if plan["what"] == "value":
            self._value = float(plan["values"][str(self.seed)])
            return
        if plan["what"] == "hang once":
            fault.unlink()
        if plan["what"] in ("hang once", "hang"):
            time.sleep(10**6)
        raise ValueError("broken")

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "learnt": self.learnt}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.epoch, self.learnt = state["epoch"], state["learnt"]

    def predict(self) -> np.ndarray:
        return np.full((3, 3), 1 / 3)

    def confusion(self) -> np.ndarray:
        return np.array([[0, 0, 0, 1]] * 3)  # undecided, all three of them

    @property
    def finished(self) -> bool:
        return self.epoch >= int(os.environ.get("FAKE_EPOCHS", "1000"))


def _die(job: Any, order: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Unhurried(FakeTraining):
    """Takes 0.3 s an epoch, whatever the environment of its worker."""

    def step(self) -> dict[str, float]:
        time.sleep(0.3)
        return super().step()


class WithoutData(FakeTraining):
    """Cannot even be made."""

    def __init__(self, settings: Mapping[str, Any], job: Any, seed: int) -> None:
        raise DataError(f"the draws of '{seed}' are damaged")


class Fetching(FakeTraining):
    """Needs a copy of the data at their address, in a folder that no other trial of the node has used."""

    def __init__(self, settings: Mapping[str, Any], job: Any, seed: int) -> None:
        from lesion.data.travel import local_copy

        local_copy(job.source, job.data_hash, job.folder.parent.parent / "copies" / str(seed))
        super().__init__(settings, job, seed)


class Constant(FakeTraining):
    """Learns nothing: every epoch of every trial is worth the same."""

    def step(self) -> dict[str, float]:
        return {**super().step(), "mean_auc": 0.5}


class SlowToClean(FakeTraining):
    """Sleeps for a quarter of an hour when it is let go of; its worker waits for it for a tenth of the usual time."""

    def __init__(self, settings: Mapping[str, Any], job: Any, seed: int) -> None:
        super().__init__(settings, job, seed)
        trial.CLEAN_UP = 2.0

    def __del__(self) -> None:
        time.sleep(1000)


class NotedTraining(Unhurried):
    """Notes node, seed and epoch, in ``nodes.txt`` beside the checkpoints."""

    def __init__(self, settings: Mapping[str, Any], job: Any, seed: int) -> None:
        import ray

        super().__init__(settings, job, seed)
        job.folder.mkdir(parents=True, exist_ok=True)
        self.notes, self.node = job.folder / "nodes.txt", ray.get_runtime_context().get_node_id()
        self._note()

    def _note(self) -> None:
        with self.notes.open("a") as file:
            file.write(f"{self.node} {self.seed} {self.epoch}\n")

    def step(self) -> dict[str, float]:
        metrics = super().step()
        self._note()
        return metrics


class HostedTraining(NotedTraining):
    """Goes no further until two nodes have noted something."""

    def step(self) -> dict[str, float]:
        wait_for_lines(self.notes, 2)
        return super().step()


def wait_for_lines(notes: Path, kinds: int) -> None:
    """Wait until lines of `notes` begin with so many different words.

    A trial that ended before another machine's worker had started would leave its own to the next trial: Ray prefers
    that, and the other machine would have nothing to do.
    """
    deadline = time.monotonic() + 200
    while len({line.split()[0] for line in notes.read_text().splitlines()}) < kinds and time.monotonic() < deadline:
        time.sleep(0.1)


def make_data(
    workspace: Path,
    name: str = "tiny",
    label: int = 0,
    validation: tuple[int, int, int] = (0, 1, 2),
    holdout: tuple[int, ...] = (4, 5, 6),
    images: np.ndarray | None = None,
) -> Path:
    """A packed set of seven images in `workspace`, the last three to validate; another `label` makes it another set.

    Its `images` (7, S, S, 3) are black unless they are given.
    """
    folder = workspace / "data" / name
    folder.mkdir(parents=True, exist_ok=True)
    images = np.zeros((7, 8, 8, 3), np.uint8) if images is None else images
    labels = np.array([0, 1, 2, label, *validation], dtype=np.int64)
    table = pd.DataFrame({
        "image": [f"i{n}" for n in range(7)], "label": labels, "lesion": "", "patient": "", "part": "train",
        "age": np.nan, "sex": "unknown", "site": "unknown", "group": range(7), "digest": "",
        "holdout": [n in holdout for n in range(7)], "fold": [0, 1, 2, 3, 4, 0, 1],
    })  # fmt: skip
    np.save(folder / packed.IMAGES, images)
    table.to_parquet(folder / packed.TABLE)
    classes = ["melanoma", "seborrheic_keratosis", "nevus"]
    manifest = {
        "format": packed.FORMAT, "name": name, "classes": classes, "size": images.shape[1], "geometry": "stretch",
        "images": 7, "splits": ["holdout"], "default_split": "holdout",
        "content_hash": packed.content_hash(images, table, classes, "stretch"),
    }  # fmt: skip
    (folder / packed.MANIFEST).write_text(json.dumps(manifest))
    return folder


def make_space(
    folder: Path, *, trials: int = 4, epochs: int = 3, scheduler: str = "none", name: str = "tiny", budget: str = ""
) -> Space:
    """A space file of two branches, loaded; `budget` is what else its budget says, such as ``hours: 1``."""
    path = folder / f"{name}.yaml"
    more = f", {budget}" if budget else ""
    path.write_text(SPACE.format(trials=trials, epochs=epochs, scheduler=scheduler, budget=more))
    return load(path, vocabulary=WORDS)


def main(workspace: Path, trials: int, scheduler: str) -> None:
    """A search in a process of its own, to be interrupted: prints a line for each change of state."""
    from search import run_study  # workers import this module as well, and run no search

    shown: list[str] = []

    def show(state: Any) -> None:
        line = f"{state.phase} {[(trial.number, trial.epoch) for trial in state.running]}"
        if shown[-1:] != [line]:
            shown.append(line)
            print(line, flush=True)

    make_data(workspace)
    space = make_space(workspace, trials=trials, epochs=4, scheduler=scheduler)
    print(run_study(space, workspace, build=FakeTraining, progress=show, concurrent=2).message, flush=True)


if __name__ == "__main__":
    # Workers know the class by its module's name, which is not "__main__" there.
    from fake_training import main as main_by_name

    main_by_name(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
