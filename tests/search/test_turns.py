"""Which row a session begins next, and beside which others."""

from pathlib import Path
from typing import Any

import pytest

from search.database import ServerAwayError
from search.identity import Identity
from search.ledger import Ending, Ledger, open_ledger
from search.searcher import LedgerSearcher
from search.seats import Alike
from search.suspects import LOSSES
from search.trial import Job
from search.watchdog import Death

IDENTITY = Identity("tiny", "d1", "holdout", "s1", "mean_auc", "maximize", {"epochs": 3})


class Line:
    def sample(self, trial: Any) -> dict[str, float]:
        return {"lr": trial.suggest_float("lr", 0.0, 1.0)}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def opened() -> Ledger:
    return open_ledger("sqlite:///ledger.db", "tiny", IDENTITY, 7)


def searcher(ledger: Ledger, target: int) -> LedgerSearcher:
    job = Job("tiny", "i1", Path("data"), None, "mean_auc", 3, Path("checkpoints"), None)  # type: ignore[arg-type]
    return LedgerSearcher(
        ledger, Line(), job, Alike(8, 1, 0.0), target=target, adopted=ledger.reconcile(), tell=lambda told: None
    )


def begun(ask: LedgerSearcher, name: str) -> int | str | None:
    """Number of the row that Ray's trial `name` gets."""
    config: Any = ask.suggest(name)
    return int(config["order"].number) if isinstance(config, dict) else config


def over(ask: LedgerSearcher, name: str) -> None:
    ask.on_trial_complete(name, {"epoch": 3, "value": 0.5})
    assert ask.problem is None


def test_who_had_lost_the_study_makes_no_row_beyond_those_of_the_other_driver() -> None:
    """Its lock went with the server; another driver has ended the study by the time it is taken again."""
    first, second = opened(), opened()
    ask = searcher(first, target=3)
    assert begun(ask, "a") == 0
    over(ask, "a")
    for number in (1, 2):
        assert second.ask(Line()).number == number
        second.finish(number, Ending("complete", 3, 0.5))
    first.guard = lambda: True
    assert begun(ask, "b") == "FINISHED"
    assert ask.problem is None
    assert [row.state for row in opened().rows()] == ["complete"] * 3
    # More trials go on from there.
    assert begun(searcher(first, target=4), "c") == 3


def test_a_row_whose_making_was_not_answered_is_the_one_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts towards the trials asked for by then, and is not another's."""
    monkeypatch.setattr("search.database.PAUSES", (0.0,))
    ledger = opened()
    made, answers = ledger.storage._backend._commit, iter([ServerAwayError("no answer")])

    def unanswered(*arguments: Any) -> None:
        made(*arguments)
        if error := next(answers, None):
            raise error

    monkeypatch.setattr(ledger.storage._backend, "_commit", unanswered)
    row = ledger.ask(Line(), 1)
    assert row is not None
    assert (row.number, ledger.ask(Line(), 1), len(ledger.rows())) == (0, None, 1)


def epoch(ask: LedgerSearcher, name: str, epoch: int) -> None:
    ask.on_trial_result(name, {"epoch": epoch, "value": 0.5})
    assert ask.problem is None


def killed(times: int, target: int, workers: int = 8) -> None:
    """Drivers that die before any row of theirs has come to an epoch."""
    for _ in range(times):
        ask = searcher(opened(), target)
        while ask.problem is None and len(ask._turns.live) < workers and isinstance(begun(ask, "x"), int):
            pass


def test_rows_that_a_restarting_machine_took_down_are_not_failed() -> None:
    killed(LOSSES, target=8)
    rows = opened().reconcile()
    assert [(row.state, row.losses) for row in rows] == [("running", LOSSES)] * 8
    for number in range(8):
        ask = searcher(opened(), target=8)
        assert begun(ask, "a") == number
        assert (begun(ask, "b"), begun(ask, "c")) == (None, None)
        over(ask, "a")
    assert {row.state for row in opened().rows()} == {"complete"}


def test_what_takes_its_driver_down_is_failed_once_it_did_so_alone() -> None:
    killed(LOSSES, target=3)
    killed(1, target=3)
    assert [row.number for row in opened().reconcile()] == [1, 2]
    row = opened().row(0)
    assert (row.state, row.failure, row.losses) == ("failed", "lost", LOSSES + 1)
    assert str(row.message).startswith(f"the driver ended {LOSSES + 1} times while this trial was at epoch 0, the last")


def test_a_suspect_comes_last_and_alone_until_it_has_come_further() -> None:
    killed(LOSSES, target=2)
    ask = searcher(opened(), target=4)
    assert [begun(ask, name) for name in "abc"] == [
        2,
        3,
        None,
    ]  # new ones run together; the suspects wait for their end
    over(ask, "a")
    assert begun(ask, "d") is None
    ask.died("b", Death("lost", "as it was handed over"), last=True)
    assert begun(ask, "e") == 3
    over(ask, "e")
    assert (begun(ask, "f"), begun(ask, "g")) == (0, None)
    ask.died("f", Death("lost", "killed"), last=False)
    assert begun(ask, "g") is None
    ask.died("f", Death("lost", "as it was handed over"), last=True)
    assert (begun(ask, "g"), begun(ask, "h")) == (1, None)  # a suspect that was given up is one still
    ask.died("g", Death("lost", "as it was handed over"), last=True)
    assert begun(ask, "h") == 0
    epoch(ask, "h", 1)
    assert begun(ask, "i") is None  # another suspect: it goes alone as well
    over(ask, "h")
    assert begun(ask, "i") == 1
    over(ask, "i")
    assert begun(ask, "j") == "FINISHED"


def test_others_are_begun_beside_a_suspect_that_has_come_further() -> None:
    killed(LOSSES, target=2)
    ask = searcher(opened(), target=3)
    ask.enough = lambda: True  # flat, for the moment
    assert begun(ask, "a") == 0
    ask.enough = lambda: False
    assert begun(ask, "b") is None
    epoch(ask, "a", 1)
    assert begun(ask, "b") == 2


def test_a_driver_that_dies_while_it_counts_leaves_no_row_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    killed(LOSSES, target=2)
    ledger = opened()
    note, notes = ledger.note, iter([False, True])

    def dies(*arguments: Any, **named: Any) -> None:
        if next(notes):
            raise SystemExit
        note(*arguments, **named)

    monkeypatch.setattr(ledger, "note", dies)
    with pytest.raises(SystemExit):
        ledger.reconcile()
    assert [(row.number, row.losses) for row in opened().reconcile()] == [(0, LOSSES), (1, LOSSES)]


def test_progress_before_its_worker_was_replaced_counts_for_a_row() -> None:
    """Losses are in a row: what it had come to before another worker began it, it has come to."""
    killed(LOSSES - 1, target=1, workers=1)
    ask = searcher(opened(), target=1)
    assert begun(ask, "a") == 0
    epoch(ask, "a", 1)
    assert not ask.died("a", Death("lost", "killed"), last=False).over
    assert [(row.number, row.losses) for row in opened().reconcile()] == [(0, 1)]
