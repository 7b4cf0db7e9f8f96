"""Which row a session begins next, and beside which others."""

from pathlib import Path
from typing import Any

import pytest

from search.database import ServerAwayError
from search.identity import Identity
from search.ledger import Ending, Ledger, open_ledger
from search.searcher import LedgerSearcher
from search.seats import Alike
from search.trial import Job

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
