"""What must hold of a study after any fault, in one place: `require_whole(workspace, trials=…, epochs=…)`.

Exactly the trials asked for, each a row that has ended with every epoch once; MLflow with one run a row, ended, with
every epoch once and the ledger's values; rungs of the last session's scheduler, and of a replay, that hold what the
rows say; and every trial, resumed or not, with the values of a training that was never interrupted, because a fake
training can simply be run again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_training import FakeTraining
from rungs import noted
from state_files import unknown_files

from search import study_status
from search.mirror import mirror_of
from search.retention import KEPT
from search.rows import FAILURES, TrialRow
from search.searcher import scheduler_for
from search.space import Asha
from search.study import StudyStatus
from search.tracking import PARENT, STATE, STATUS, metric_name, param_name
from search.workspace import Workspace, open_workspace


def require_whole(
    workspace: Path,
    *,
    trials: int,
    epochs: int,
    study: str = "tiny",
    asha: Asha | None = None,
    uri: str | None = None,
    build: Any = FakeTraining,
) -> StudyStatus:
    """The study, after a session that ended as complete; fails with every breach, a line each.

    `uri` is MLflow's, where it is not the workspace's; `build` makes the fake training, None where the training is
    real. Where there is a scheduler, the last session must have left its rungs (`rungs.note_rungs`).
    """
    place = open_workspace(workspace)
    status = study_status(place, study)
    live = noted(workspace)
    assert asha is None or live, "no session has left its rungs"
    found = [
        *of_rows(status.rows, trials, epochs),
        *of_rungs(status, asha, epochs, live),
        *(of_values(status.rows, status.identity.objective, build) if build else ()),
        *of_mlflow(place, status, uri),
        *left_behind(place, status),
    ]
    assert not found, "\n".join(found)
    return status


def of_rows(rows: Iterable[TrialRow], trials: int, epochs: int) -> Iterator[str]:
    """Breaches of: exactly `trials` rows, all ended, no epoch missing, failures named."""
    rows = list(rows)
    if [row.number for row in rows] != list(range(trials)):
        yield f"ledger: asked for {trials} trials, has the rows {[row.number for row in rows]}"
    for row in rows:
        if not row.finished:
            yield f"trial {row.number}: is left {row.state}"
        if list(row.history) != list(range(1, row.epoch + 1)) or row.epoch > epochs:
            yield f"trial {row.number}: has the epochs {list(row.history)} of {epochs}"
        if row.state == "failed" and (row.failure not in FAILURES or not row.message):
            yield f"trial {row.number}: failed as {row.failure!r} with the message {row.message!r}"
        if row.state == "complete" and row.epoch < 1:
            yield f"trial {row.number}: is complete without an epoch"
        if row.state in ("complete", "pruned") and row.value != row.history.get(row.epoch):
            yield f"trial {row.number}: is worth {row.value}, its last epoch {row.history.get(row.epoch)}"
    for seed, count in Counter(row.seed for row in rows).items():
        if count > 1:
            yield f"ledger: {count} rows have the seed {seed}"


def of_rungs(status: StudyStatus, asha: Asha | None, epochs: int, live: Any = None) -> Iterator[str]:
    """Breaches of: a rung holds what every trial that reached it was worth there; nothing is pruned elsewhere."""
    pruned = {row.number: row.epoch for row in status.rows if row.state == "pruned"}
    if asha is None:
        yield from (f"trial {number}: is pruned, and there is no scheduler" for number in pruned)
        return
    replayed = scheduler_for(asha, epochs, status.identity.direction, status.rows)
    for scheduler in filter(None, (replayed, live)):
        for epoch, held in scheduler.rungs().items():
            whole = sorted(row.history[epoch] for row in status.rows if epoch in row.history)
            if held != pytest.approx(whole):
                which = "live" if scheduler is live else "replayed"
                yield f"rung {epoch} of the {which} scheduler: {held}, not {whole}"
    rungs = set(replayed.rungs())
    yield from (f"trial {n}: pruned at {epoch}, where no rung is" for n, epoch in pruned.items() if epoch not in rungs)


def of_values(rows: Iterable[TrialRow], objective: str, build: Any = FakeTraining) -> Iterator[str]:
    """Breaches of: a trial is worth at each epoch what the same training, never interrupted, is worth there."""
    nowhere = SimpleNamespace(folder=Path("/nowhere/checkpoints/study"))
    for row in rows:
        training = build(row.settings, nowhere, row.seed)
        for epoch, value in row.history.items():
            whole = training.step()[objective]
            if value != whole:
                yield f"trial {row.number}: {value} at epoch {epoch}, uninterrupted {whole}"


def of_mlflow(place: Workspace, status: StudyStatus, uri: str | None = None) -> Iterator[str]:
    """Breaches of: one run a row and one for the study, none RUNNING, every epoch once with the ledger's value."""
    runs = mirror_of(place, status.name, status.identity, uri).runs
    found = list(runs._search())
    numbers = Counter(int(run.data.tags.get("lesion.trial", PARENT)) for run in found)
    if numbers != Counter([PARENT, *(row.number for row in status.rows)]):
        yield f"MLflow: has runs of {dict(sorted(numbers.items()))}, the ledger has {len(status.rows)} rows"
    for number, run in runs.runs().items():
        row = next((row for row in status.rows if row.number == number), None)
        if row is not None:
            yield from _of_run(row, run, runs, status.identity.objective)
        elif run.status == "RUNNING":
            yield f"MLflow: the run of {'the study' if number == PARENT else number} is left RUNNING"


def _of_run(row: TrialRow, run: Any, runs: Any, objective: str) -> Iterator[str]:
    if run.status != STATUS[row.state] or run.tags.get(STATE) != row.state:
        yield f"MLflow: trial {row.number} is {run.status} and {run.tags.get(STATE)}, the ledger has it {row.state}"
    told = sorted((metric.step, metric.value) for metric in runs.client.get_metric_history(run.id, objective))
    if told != list(row.history.items()):
        yield f"MLflow: trial {row.number} has {told}, the ledger {list(row.history.items())}"
    data = runs.client.get_run(run.id).data
    params = {param_name(path): str(value) for path, value in row.settings.items()}
    if data.params != params:
        yield f"MLflow: trial {row.number} has the settings {data.params}, the ledger {params}"
    metrics = {metric_name(name): value for name, value in row.metrics.items()}
    if not metrics.items() <= data.metrics.items():
        yield f"MLflow: trial {row.number} has at last {data.metrics}, the ledger {metrics}"


def left_behind(place: Workspace, status: StudyStatus) -> Iterator[str]:
    """Breaches of: no event waits, no scratch stays, only the best keep checkpoints, no file is half-written or new.

    New are kinds of files that no test cuts short.
    """
    yield from (f"{path} waits for MLflow" for path in place.spool.glob(f"{status.name}.*.jsonl"))
    yield from (f"{path} is left" for path in place.ray.iterdir())
    yield from unknown_files(place.path)
    folder = place.checkpoints(status.name)
    yield from (f"{path} is left half-written" for path in folder.rglob("*.partial"))
    if len(kept := {path.parent.name for path in folder.rglob("epoch-*.ckpt")}) > KEPT:
        yield f"{folder}: {len(kept)} trials keep their checkpoints, not {KEPT}"


def results(status: StudyStatus) -> list[tuple[Any, ...]]:
    """All that must be equal to those of an uninterrupted study, where the same trials were proposed."""
    return [(row.number, row.state, row.settings, row.history, row.value, row.seed) for row in status.rows]


def failures(status: StudyStatus) -> Mapping[int, str | None]:
    """Failure classes of the trials that failed."""
    return {row.number: row.failure for row in status.rows if row.state == "failed"}
