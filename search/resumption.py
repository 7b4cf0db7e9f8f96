"""What a trial goes on from: the newest of its checkpoints that is sound and fits, else the beginning.

A checkpoint holds the training and the record of every epoch. One that is damaged, or that this program's model
does not take (it was written before the architecture changed), is passed over for the one before it, and the fact is
noted with the trial.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lesion.errors import CheckpointError
from lesion.registry import Value
from lesion.writing import permitted
from search.errors import first_line


class Trains(Protocol):
    """What a trial needs of a training; `lesion.training.Training` is one."""

    def step(self) -> Mapping[str, float]:
        """Train for one epoch; its metrics, the objective among them."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that `load_state_dict` needs to go on as if never interrupted."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""

    def predict(self) -> npt.NDArray[np.floating[Any]]:
        """Probabilities of the validation part, (images, classes)."""

    def confusion(self) -> npt.NDArray[np.integer[Any]]:
        """Counts (true class, decided class) of `predict`, (classes, classes + 1), undecided images in the last."""

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do: after the last epoch, or before it where the training stopped by itself."""


@dataclass(frozen=True)
class Resumed:
    """A training, the records of the epochs behind it, and what was wrong with newer checkpoints than its own."""

    training: Trains
    records: list[dict[str, Any]] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)


def resume(folder: Path, key: str, build: Callable[[], Trains], check: Callable[[], object] = permitted) -> Resumed:
    """The training of the trial `key` as its `folder` has it; `build` makes one that has not begun.

    `check` is called before anything is removed, and raises where the folder is another attempt's by now.

    Checkpoints of another trial are removed: a ledger begun anew numbers its trials from 0 again. Those that cannot be
    read just now are not: CheckpointAccessError, and for want of memory whatever says so, leave all of them there.
    """
    from lesion import checkpoints  # noqa: PLC0415 - torch takes seconds, and only workers need it
    from lesion.devices import is_out_of_memory  # noqa: PLC0415

    training = build()
    damage: list[str] = []
    for path in reversed(checkpoints.saved(folder)):
        try:
            state = checkpoints.load(path)
            if state.get("key") != key:
                break
            records = [json.loads(record) for record in state["records"]]
            training.load_state_dict(state["training"])
            return Resumed(training, records, damage)
        except CheckpointError as problem:
            damage.append(str(problem))
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as problem:
            if is_out_of_memory(problem):
                raise
            damage.append(f"{path} does not fit this program's model: {first_line(problem)}")
            training = build()  # what was loaded in part is of no use
    check()
    discard_checkpoints(folder)
    return Resumed(training, [], damage)


def checkpoint_key(identity: str, seed: int, settings: Mapping[str, Value]) -> str:
    """What a checkpoint must be of: the study, told from every other one, and the trial's seed and settings."""
    return hashlib.sha256(json.dumps([identity, seed, sorted(settings.items())]).encode()).hexdigest()


def discard_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of one trial, half-written ones too; its predictions stay."""
    for path in [*folder.glob("epoch-*.ckpt"), *folder.glob("*.partial")]:
        path.unlink(missing_ok=True)


def forget_beyond(folder: Path, epoch: int) -> None:
    """Remove the checkpoints of one trial that are of later epochs than `epoch`."""
    for path in folder.glob("epoch-*.ckpt"):
        if path.name > f"epoch-{epoch:04d}.ckpt":
            path.unlink(missing_ok=True)
