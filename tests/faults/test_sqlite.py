"""The ledger's SQLite file, held by somebody else, and read by Optuna's own tools while a search goes on."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
from drivers import WORKERS, finish, gone, start, wait_for
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


WRITER = """
import sys, time
from test_sqlite import IDENTITY, Line
from search.errors import LedgerError
from search.interrupts import Interrupts
from search.ledger import open_ledger
with Interrupts() as interrupts:
    ledger = open_ledger(f"sqlite:///{sys.argv[1]}", "tiny", IDENTITY, 7)
    ledger.patience.hurried = ledger.storage.wait.hurried = lambda: interrupts.asked is not None
    ledger.ask(Line())
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.monotonic()
    for write in (lambda: ledger.report(0, 1, 0.25), *4 * [lambda: ledger.let_go([0])]):
        try:
            write()
        except LedgerError as error:
            print(error, flush=True)
    print(f"after {time.monotonic() - began:.1f} s", flush=True)
"""
"""A driver's writes alone: one, and those by which a session ends."""


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


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that writes as soon as the file is held, for a minute."""
    path, pipe, environment = str(tmp_path / "ledger.db"), subprocess.PIPE, {**os.environ, **WORKERS}
    command = [sys.executable, "-c", WRITER, path]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with subprocess.Popen([sys.executable, "-c", HOLDER, path, "60"], stdout=pipe, text=True) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            process.stdin.write("go\n")
            process.stdin.flush()
            time.sleep(1)
            try:
                yield process
            finally:
                process.kill()
                holder.kill()


@pytest.mark.slow
def test_a_second_ctrl_c_ends_a_process_that_waits_for_the_ledger_at_once(writer: subprocess.Popen[str]) -> None:
    writer.send_signal(signal.SIGINT)
    time.sleep(1)
    assert writer.poll() is None  # the first one asks
    writer.send_signal(signal.SIGINT)
    assert writer.wait(3) == 128 + signal.SIGINT


@pytest.mark.slow
def test_a_ctrl_c_is_followed_though_the_ledger_stays_locked(writer: subprocess.Popen[str]) -> None:
    writer.send_signal(signal.SIGINT)
    assert writer.wait(20) == 0
    assert writer.stdout is not None
    *said, last = writer.stdout.read().splitlines()
    # One patience for all that a session has still to write, and a moment for each.
    assert float(last.split()[1]) < 12
    assert said == 5 * [
        "cannot write to the ledger: database is locked. "
        "Another program holds the database; close it and run the same command again."
    ]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_search_is_interrupted_within_60_s_though_its_ledger_is_locked(tmp_path: Path) -> None:
    plan: dict[str, Any] = {"trials": 3, "epochs": 4, "scheduler": "{asha: {grace: 1, reduction: 2}}"}
    driver = start(tmp_path, wait=0.3, **plan)
    wait_for(lambda: driver.running)
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "ledger.db"), "200"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            time.sleep(2)  # by now an epoch is to be written
            os.killpg(driver.process.pid, signal.SIGINT)
            assert gone(driver, 200) < 60
        finally:
            holder.kill()
    assert "Another program holds the database" in driver.said
    finish(tmp_path, **plan)
    require_whole(tmp_path, trials=3, epochs=4, asha=Asha(1, 2))


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
