"""A study of three trials of one epoch on a drawn data set: what the tests of promotion run on."""

from __future__ import annotations

from pathlib import Path

import torch

from lesion.data.packed import PackedDataset
from lesion.data.prepare import prepare
from lesion.data.synthesise import synthesise
from search.gates import Gates
from search.ledger import Ending, open_ledger
from search.preflight import task_of
from search.series import Entries, Entry, Series, SeriesLedger, series_identity, series_name, series_of
from search.space import load
from search.study import identity_of, study_status
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
PLAIN = "  backbone: squeezenet1_1\n"
STATES = ("complete", "complete", "pruned")
NO_GATES = Gates("none", "0" * 64, calibrate=True, balance=True)
"""Models of one epoch guess; what is tested with them is not how good they are."""


def workspace_with_data(folder: Path, test_images: int = 12) -> Workspace:
    """A workspace with a packed set of three classes called drawn, and its test part."""
    torch.set_num_threads(1)
    place = open_workspace(folder / "workspace")
    synthesise(folder / "source", images=(18, 12, test_images), seed=1, pixels=(48, 48))
    prepare(folder / "source", place.path, name="drawn", size=40, workers=1, look_alikes=False)
    return place


def searched(
    place: Workspace, data: PackedDataset, name: str = "drawn", more: str = "", states: tuple[str, ...] = STATES,
    start: str = PLAIN,
) -> None:  # fmt: skip
    """Search `data` without Ray; `more` is added to the space file, `start` is its line of the backbone."""
    path = place.path.parent / f"{name}.yaml"
    path.write_text(SPACE.replace(PLAIN, start) + more)
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


def run_again(place: Workspace, data: PackedDataset, name: str, *, seeds: int = 0, folds: int = 0) -> Series:
    """Finalists of the trials 0 and 1 of the study `name`, without Ray."""
    status = study_status(place, name)
    series = series_name(name, status.identity, 1, on_folds=bool(folds))
    rows = status.rows[:2]
    splits = [f"fold-{fold}" for fold in range(folds)] or [None] * seeds
    entries = Entries(
        series, tuple(Entry(row.number, n, row.settings, split) for n, split in enumerate(splits) for row in rows)
    )
    identity = series_identity(status.identity, data, 1, on_folds=bool(folds))
    ledger = SeriesLedger(open_ledger(place.ledger_url, series, identity, 7), entries)
    job = Job(
        series, ledger.identity.key, data.path, status.identity.split, status.identity.objective, 1,
        place.checkpoints(series), build_training,
    )  # fmt: skip
    for _ in entries.missing(ledger.rows()):
        row = ledger.ask(entries)
        told = TrialRun(job, Order(row.number, row.seed, row.settings, split=row.split)).step()
        ledger.finish(row.number, Ending("complete", 1, told["value"]))
    return next(each for each in series_of(place, name) if each.name == series)
