"""A session without Ray: what it leaves behind."""

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from fake_training import FakeTraining, make_data, make_space

from lesion.data.packed import open_data
from search.elastic import Growing
from search.errors import LedgerError, StudyError
from search.interrupts import EndOfSession, Interrupts, StopSession
from search.ledger import Ending, open_ledger
from search.rows import TrialRow
from search.searcher import Told
from search.seats import Alike
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

    def run_id(self, number: int) -> None:
        return None

    def close(self, seconds: float) -> bool:
        return True


def begun(folder: Path) -> tuple[Session, Any]:
    """A session of three trials, and what its mirror is told."""
    make_data(folder)
    place, space = open_workspace(folder), make_space(folder)
    identity = identity_of(space, open_data(folder, "tiny"))
    ledger = open_ledger(place.ledger_url, "tiny", identity, 7)
    job = Job("tiny", "i", folder, None, "mean_auc", 3, place.checkpoints("tiny"), FakeTraining)
    events: Any = Events()
    return Session(Plan(place, space, identity, job, target=3), ledger, events, Interrupts()), events


@pytest.mark.parametrize("answers", [0, 1, 2, 3])
def test_a_ledger_that_answers_no_more_leaves_no_run_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: int
) -> None:
    session, events = begun(tmp_path)
    ledger = session.ledger
    for _ in range(3):
        session.progress.started(ledger.ask(session.plan.space))
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


def test_rows_that_another_driver_left_end_a_session_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It had the study while the database kept this one out; "complete" would be untrue of its rows."""
    session, _ = begun(tmp_path)
    plan = session.plan
    other = open_ledger(plan.workspace.ledger_url, "tiny", plan.identity, 7)

    def meanwhile(searcher: Any, seats: Any) -> None:
        for number in range(3):
            other.ask(plan.space)
            other.begin(number)
        other.finish(0, Ending("complete", 3, 0.5))
        session.ledger.storage.forget()

    monkeypatch.setattr("search.session.seats_of", lambda *asked: Alike(2, 1, 0.0))
    monkeypatch.setattr(session, "_show_seats", lambda seats: None)
    monkeypatch.setattr(session, "_tune", meanwhile)
    with pytest.raises(StudyError, match=r"left trials 1, 2 unfinished; the same command goes on from there"):
        session._run_seated()


@pytest.mark.parametrize("end", [StopSession(), EndOfSession(), StudyError("the data changed"), None])
def test_however_a_session_ends_its_seats_are_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: BaseException | None
) -> None:
    session, _ = begun(tmp_path)
    seats = Mock(spec=Growing)
    tune = Mock(side_effect=end)
    monkeypatch.setattr("search.session.seats_of", lambda *asked: seats)
    monkeypatch.setattr(session, "_show_seats", lambda seats: None)
    monkeypatch.setattr(session, "_tune", tune)
    with pytest.raises(StudyError) if isinstance(end, StudyError) else nullcontext():
        assert session._run_seated() == ("complete" if end is None else "stopped")
    tune.assert_called_once()
    seats.close.assert_called_once_with()


def test_not_every_row_is_read_again_whenever_a_trial_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 7000 rows that was a fifth of the driver's time; who ends a flat search needs them."""
    session, _ = begun(tmp_path)
    ledger = session.ledger
    session.progress.started(ledger.ask(session.plan.space))
    ledger.finish(0, Ending("complete", 3, 0.5))
    read: list[int] = []
    rows = ledger.rows
    monkeypatch.setattr(ledger, "rows", lambda: read.append(1) or rows())
    told = Told("ended", ledger.row(0), 3, 0.5)
    session._told(told)
    assert read == []
    seen: list[int] = []
    session.plan = replace(session.plan, left=lambda rows: seen.append(len(rows)))
    session._told(told)
    assert (read, seen) == ([1], [1])
