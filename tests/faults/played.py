"""A search whose Ray is played, which takes seconds to come up: one trial after the other, in this very process.

``played.py WORKSPACE TRIALS EPOCHS WHAT TRIAL EPOCH`` dies where the ledger has an epoch and nobody else has heard of
it: WHAT is "epoch", or "ended" for a trial's last one.
"""

from __future__ import annotations

import os
import sys
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from fake_training import FakeTraining, make_data, make_space

from search import run_study
from search.searcher import LedgerSearcher
from search.seats import Alike
from search.session import Session
from search.trial import TrialRun

EXIT = 9


def run_missing(session: Session) -> str:
    """What Ray does of a session: asks, has a worker train, tells."""
    searcher = session._searcher = session._searcher_for(Alike(1, 1, 0.0))
    for trial_id in map(str, count()):
        config: Any = searcher.suggest(trial_id)
        if not isinstance(config, dict):
            break
        run, done = TrialRun(config["job"], config["order"]), False
        while not done:
            told = run.step()
            result = told | {f"metrics/{name}": value for name, value in told["metrics"].items()}
            done = told["done"]
            (searcher.on_trial_complete if done else searcher.on_trial_result)(trial_id, result)
    if searcher.problem is not None:
        raise searcher.problem
    return "complete"


def play(workspace: Path, trials: int, epochs: int, patch: pytest.MonkeyPatch) -> None:
    """Run the search in `workspace`, or go on with it."""
    patch.setattr(Session, "_run_missing", run_missing)
    patch.setattr("search.study.show", lambda *_: "")
    make_data(workspace)
    run_study(make_space(workspace, trials=trials, epochs=epochs), workspace, build=FakeTraining)


def die_unheard(what: str, trial: int, epoch: int) -> None:
    """Have this process end as by a kill between the ledger's write and all that follows from it."""
    heard = LedgerSearcher._heard

    def dying(searcher: LedgerSearcher, told: str, number: int, result: Any) -> None:
        if (told, number, result["epoch"]) == (what, trial, epoch):
            os._exit(EXIT)
        heard(searcher, told, number, result)

    LedgerSearcher._heard = dying  # type: ignore[method-assign]


if __name__ == "__main__":
    die_unheard(sys.argv[4], int(sys.argv[5]), int(sys.argv[6]))
    with pytest.MonkeyPatch.context() as context:
        play(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), context)
