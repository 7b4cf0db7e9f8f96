"""The ledger's SQLite file, held by somebody else, and read by Optuna's own tools while a search goes on."""

import sqlite3
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
from drivers import start, wait_for
from whole import require_whole

from search.identity import Identity
from search.ledger import Ending, open_ledger
from search.space import Asha

IDENTITY = Identity("tiny", "d1", "holdout", "s1", "mean_auc", "maximize", {"objective": "mean_auc", "epochs": 3})
HELD = 10.0
HOLDER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
time.sleep(float(sys.argv[2]))
connection.execute("ROLLBACK")
"""


class Line:
    def sample(self, trial: Any) -> dict[str, float]:
        return {"lr": trial.suggest_float("lr", 0.0, 1.0)}


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_search_whose_ledger_is_locked_for_ten_seconds_waits_and_goes_on(tmp_path: Path) -> None:
    driver = start(tmp_path, wait=0.3, trials=3, epochs=4, scheduler="{asha: {grace: 1, reduction: 2}}")
    wait_for(lambda: driver.running)
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "ledger.db"), str(HELD)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert holder.wait(60) == 0
    # An epoch takes 0.3 s: whatever was reported meanwhile was neither written nor taken for lost.
    assert driver.process.poll() is None, driver.said
    assert driver.process.wait(250) == 0, driver.said
    status = require_whole(tmp_path, trials=3, epochs=4, asha=Asha(1, 2))
    assert {row.attempt for row in status.rows} == {1}
    assert max(row.ended for row in status.rows) - min(row.started for row in status.rows) > timedelta(seconds=HELD)


def test_a_reader_that_holds_the_file_does_not_hold_up_the_search_for_long(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = open_ledger(f"sqlite:///{path}", "tiny", IDENTITY, 7)
    reader = sqlite3.connect(path, isolation_level=None)
    assert reader.execute("SELECT count(*) FROM studies").fetchone() == (1,)
    row = ledger.ask(Line())  # a connection that has read to the end holds nothing
    ledger.report(row.number, 1, 0.25)
    reader.close()


def test_plain_optuna_reads_the_ledger_as_it_is(tmp_path: Path) -> None:
    """What optuna-dashboard and notebooks do, without a line of ours."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    ledger = open_ledger(url, "tiny", IDENTITY, 7)
    for state, value in (("complete", 0.5), ("pruned", 0.25), ("failed", None)):
        row = ledger.ask(Line())
        ledger.report(row.number, 1, 0.125)
        failure = {"failure": "non-finite", "message": "nan"} if value is None else {}
        ledger.finish(row.number, Ending(state, 2 if value else 1, value, **failure))
    ledger.ask(Line())
    study = optuna.load_study(study_name="tiny", storage=url)
    assert (study.best_value, study.best_trial.number, study.direction.name) == (0.5, 0, "MAXIMIZE")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED", "FAIL", "RUNNING"]
    assert study.trials[0].intermediate_values == {1: 0.125, 2: 0.5}
    assert [summary.study_name for summary in optuna.get_all_study_summaries(url)] == ["tiny"]
    assert list(study.trials_dataframe()["params_lr"]) == [row.settings["lr"] for row in ledger.rows()]
