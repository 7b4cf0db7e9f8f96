"""The check of all faults is itself checked: it accepts a sound study, and tells every way in which one is not."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_training import FakeTraining, make_data, make_space
from rungs import FILE
from whole import of_mlflow, of_rows, of_rungs, of_values, require_whole

from lesion.data.packed import PackedDataset
from search import study_status
from search.ledger import Ending, open_ledger
from search.mirror import deliver_all, mirror_of
from search.rows import TrialRow
from search.space import Asha
from search.study import identity_of
from search.tracking import Change
from search.workspace import open_workspace


def searched(workspace: Path, ends: Iterable[int] = (4, 4, 1)) -> list[TrialRow]:
    """A study of three trials without Ray; `ends` are their last epochs, of four."""
    make_data(workspace)
    place, space = open_workspace(workspace), make_space(workspace, epochs=4)
    identity = identity_of(space, PackedDataset.open(workspace / "data" / "tiny"))
    ledger = open_ledger(place.ledger_url, "tiny", identity, space.seed)
    nowhere = SimpleNamespace(folder=Path("/nowhere/checkpoints/tiny"))
    for end in ends:
        row = ledger.ask(space)
        training = FakeTraining(row.settings, nowhere, row.seed)
        values = [training.step()["mean_auc"] for _ in range(end)]
        for epoch, value in enumerate(values, start=1):
            ledger.report(row.number, epoch, value)
        ending = Ending("complete" if end == 4 else "pruned", end, values[-1])
        ledger.finish(row.number, ending, metrics={"mean_auc": values[-1], "train_loss": 1 - values[-1]})
    return ledger.rows()


def complaints(rows: list[TrialRow], **changes: Any) -> str:
    changed = [replace(rows[0], **changes), *rows[1:]]
    return "\n".join([*of_rows(changed, 3, 4), *of_values(changed, "mean_auc")])


def test_every_breach_among_the_rows_is_told(tmp_path: Path) -> None:
    rows = searched(tmp_path)
    assert complaints(rows) == ""
    history = dict(rows[0].history)
    assert "asked for 3 trials, has the rows [1, 1, 2]" in complaints(rows, number=1)
    assert "is left running" in complaints(rows, state="running")
    assert "has the epochs [1, 2, 4] of 4" in complaints(rows, history={e: v for e, v in history.items() if e != 3})
    assert "uninterrupted" in complaints(rows, history=history | {2: history[2] + 1e-9})
    assert "failed as None" in complaints(rows, state="failed")
    assert "its last epoch" in complaints(rows, value=0.123)
    assert "2 rows have the seed" in complaints(rows, attributes={"seed": rows[1].seed})


def test_every_breach_among_the_rungs_is_told(tmp_path: Path) -> None:
    searched(tmp_path)
    status = study_status(tmp_path, "tiny")
    asha = Asha(1, 2)
    assert list(of_rungs(status, asha, 4)) == []
    assert list(of_rungs(status, None, 4)) == ["trial 2: is pruned, and there is no scheduler"]
    assert list(of_rungs(status, Asha(2, 2), 4)) == ["trial 2: pruned at 1, where no rung is"]
    doubled: Any = SimpleNamespace(rungs=lambda: {1: [0.5]})
    assert "rung 1 of the live scheduler: [0.5], not" in next(of_rungs(status, asha, 4, doubled))


@pytest.mark.slow
def test_every_breach_in_mlflow_is_told(tmp_path: Path) -> None:
    rows = searched(tmp_path)
    place, status = open_workspace(tmp_path), study_status(tmp_path, "tiny")
    deliver_all(mirror_of(place, "tiny", status.identity), rows)
    with pytest.raises(AssertionError, match="no session has left its rungs"):
        require_whole(tmp_path, trials=3, epochs=4, asha=Asha(1, 2))
    reached = {epoch: sorted(row.history[epoch] for row in rows if epoch in row.history) for epoch in (1, 2)}
    (tmp_path / FILE).write_text(json.dumps({**reached, 4: []}))
    with pytest.raises(AssertionError, match=r"rung 4 of the live scheduler: \[\], not \["):
        require_whole(tmp_path, trials=3, epochs=4, asha=Asha(1, 2))
    (tmp_path / FILE).write_text(json.dumps(reached))
    assert require_whole(tmp_path, trials=3, epochs=4, asha=Asha(1, 2)).counts["complete"] == 2

    runs = mirror_of(place, "tiny", status.identity).runs
    runs._create(1, Change())
    assert "MLflow: has runs of {-1: 1, 0: 1, 1: 2, 2: 1}" in next(of_mlflow(place, status))
    runs.forget()
    runs.client.update_run(runs.runs()[0].id, status="RUNNING")
    runs.client.log_metric(runs.runs()[2].id, "mean_auc", 0.5, step=1)
    runs.client.log_param(runs.runs()[0].id, "stray", 1)
    runs.client.log_metric(runs.runs()[1].id, "train_loss", 9.0, step=9)
    said = "\n".join(of_mlflow(place, status))
    assert "trial 0 is RUNNING and complete, the ledger has it complete" in said
    assert "MLflow: trial 2 has [(1, " in said
    assert "MLflow: trial 0 has the settings {'" in said
    assert "MLflow: trial 1 has at last {'" in said
    (place.spool / "tiny.abc.jsonl").write_text("{}\n")
    with pytest.raises(AssertionError, match=r"waits for MLflow"):
        require_whole(tmp_path, trials=3, epochs=4, asha=Asha(1, 2))
