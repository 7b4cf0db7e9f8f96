"""A session without Ray: what it leaves behind."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from fake_training import FakeTraining, make_data, make_space

from lesion.data.packed import open_data
from search.errors import LedgerError
from search.interrupts import Interrupts
from search.ledger import open_ledger
from search.rows import TrialRow
from search.session import Plan, Session
from search.study import identity_of
from search.tracking import EPOCH
from search.trial import Job
from search.workspace import open_workspace


class Events:
    """A mirror that keeps what it is told."""

    problem, pending = None, 0

    def __init__(self) -> None:
        self.put, self.told = self._put, list[Any]()

    def _put(self, event: Any) -> None:
        self.told.append(event)

    def close(self, seconds: float) -> bool:
        return True


@pytest.mark.parametrize("answers", [0, 1, 2, 3])
def test_a_ledger_that_answers_no_more_leaves_no_run_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: int
) -> None:
    make_data(tmp_path)
    place, space = open_workspace(tmp_path), make_space(tmp_path)
    identity = identity_of(space, open_data(tmp_path, "tiny"))
    ledger = open_ledger(place.ledger_url, "tiny", identity, 7)
    job = Job("tiny", "i", tmp_path, None, "mean_auc", 3, place.checkpoints("tiny"), FakeTraining)
    events: Any = Events()
    session = Session(Plan(place, space, identity, job, target=3), ledger, events, Interrupts())
    for _ in range(3):
        session.progress.started(ledger.ask(space))
    ledger.report(0, 1, 0.5)
    questions: list[int] = []

    def let_go(numbers: Iterable[int]) -> None:
        raise LedgerError("the database does not answer")

    def row(number: int) -> TrialRow:
        questions.append(number)
        if len(questions) > answers:
            raise LedgerError("the database is gone")
        return ledger.rows()[number]

    monkeypatch.setattr(ledger, "let_go", let_go)
    monkeypatch.setattr(ledger, "row", row)
    session._wind_up("failed")
    assert [(each["trial"], each["state"]) for each in events.told[:-1]] == [(n, "interrupted") for n in range(3)]
    assert events.told[0]["tags"][EPOCH] == (1 if answers else 0)
    assert len(questions) == min(3, answers + 1)
