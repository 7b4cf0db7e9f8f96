"""The doctor over a ledger on a real PostgreSQL server: it finds and mends there what it would in a file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from postgres import Server, served

from lesion.checkpoints import save
from search.doctor import examine
from search.identity import Identity
from search.ledger import open_ledger
from search.locks import driving
from search.ownership import note_ledger
from search.study import study_status
from search.workspace import open_workspace

IDENTITY = Identity("tiny", "d1", "holdout", "s1", "mean_auc", "maximize", {"objective": "mean_auc", "epochs": 3})
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with served() as server:
        yield server


class Line:
    def sample(self, trial: Any) -> dict[str, float]:
        return {"lr": trial.suggest_float("lr", 0.0, 1.0)}


def test_doctor_on_a_server(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.doctor.of_spool", lambda *arguments: ())
    monkeypatch.setattr("search.doctor.of_runs", lambda *arguments: ())
    place = open_workspace(tmp_path / "here")
    monkeypatch.setenv("LESION_LEDGER", server.make("examined"))
    ledger = open_ledger(place.ledger_url, "tiny", IDENTITY, 7)
    for _ in range(2):
        ledger.begin(ledger.ask(Line()).number)
    ledger.report(0, 1, 0.5)
    ledger.let_go([1])
    save({"epoch": 1}, place.trial("tiny", 0))
    save({"epoch": 1}, place.trial("tiny", 7))
    note_ledger(place, "gone")
    save({"epoch": 1}, place.trial("gone", 0))
    expected = ["zombie row", "checkpoint of no trial", "checkpoints of no study"]
    other = open_workspace(tmp_path / "there")  # of another host: the server says that the study is driven
    with driving(other.lock("tiny"), "tiny", place.ledger_url):
        for fix in (False, True):
            examination = examine(place, "tiny", fix=fix)
            assert examination.findings == ()
            assert "driven" in examination.passed_over[0]
    assert [finding.kind for finding in examine(place).findings] == expected
    mended = examine(place, fix=True)
    assert [finding.kind for finding in mended.findings] == expected
    assert mended.clean, [finding.problem for finding in mended.findings]
    assert examine(place).findings == ()
    rows = study_status(place, "tiny").rows
    assert [(row.state, dict(row.history), row.losses) for row in rows] == [
        ("running", {1: 0.5}, 0),
        ("running", {}, 0),
    ]
    assert sorted(path.parent.name for path in place.path.rglob("*.ckpt")) == ["0"]
    assert not (place.path / "ledger.db").exists()
