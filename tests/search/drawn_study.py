"""A study of three trials of one epoch on a drawn data set: what the tests of promotion run on."""

from __future__ import annotations

from pathlib import Path

import torch

from lesion.data.packed import PackedDataset
from lesion.data.prepare import prepare
from lesion.data.synthesise import synthesise
from search.ledger import Ending, open_ledger
from search.preflight import task_of
from search.space import load
from search.study import identity_of
from search.trial import Job, Order, TrialRun, build_training
from search.workspace import Workspace, open_workspace

SPACE = """
data: drawn
objective: balanced_accuracy
budget: {trials: 3, epochs: 1}
space:
  image_size: 32
  batch_size: 8
  backbone: squeezenet1_1
  optimizer: {adamw: {lr: {float: [1.0e-4, 1.0e-3], log: true}}}
"""
STATES = ("complete", "complete", "pruned")


def workspace_with_data(folder: Path) -> Workspace:
    """A workspace with a packed set of three classes called drawn, and its test part."""
    torch.set_num_threads(1)
    place = open_workspace(folder / "workspace")
    synthesise(folder / "source", images=(18, 12, 12), seed=1, pixels=(48, 48))
    prepare(folder / "source", place.path, name="drawn", size=40, workers=1, look_alikes=False)
    return place


def searched(
    place: Workspace, data: PackedDataset, name: str = "drawn", more: str = "", states: tuple[str, ...] = STATES
) -> None:
    """Search `data` without Ray; `more` is added to the space file."""
    path = place.path.parent / f"{name}.yaml"
    path.write_text(SPACE + more)
    space = load(path)
    ledger = open_ledger(place.ledger_url, name, identity_of(space, data), space.seed)
    job = Job(
        name, ledger.identity.key, data.path, ledger.identity.split, space.objective, 1, place.checkpoints(name),
        build_training, task=task_of(space, data),
    )  # fmt: skip
    for state in states:
        row = ledger.ask(space)
        told = TrialRun(job, Order(row.number, row.seed, row.settings)).step()
        ledger.finish(row.number, Ending(state, 1, told["value"]))
