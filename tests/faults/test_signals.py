"""Signals to a driver: it ends within a minute, at once when told twice, and the next session goes on."""

import os
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from drivers import come_to, finish, gone, offspring, start, wait_for
from whole import require_whole

from search import study_status
from search.mirror import mirror_of
from search.space import Asha
from search.tracking import PARENT
from search.workspace import open_workspace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PLAN = {"trials": 6, "epochs": 4, "scheduler": "{asha: {grace: 1, reduction: 2}}"}


def let_go(workspace: Path) -> bool:
    """Whether trials have been let go; asked of the file itself, because Optuna takes longer than the clean-up may."""
    with closing(sqlite3.connect(workspace / "ledger.db")) as ledger:
        noted = "SELECT count(*) FROM trial_user_attributes WHERE key = 'let_go' AND value_json = 'true'"
        return ledger.execute(noted).fetchone() == (2,)


def test_signals_end_a_session_within_60_s_and_a_second_ctrl_c_at_once(tmp_path: Path) -> None:
    patient = start(tmp_path, wait=1000, **PLAN)
    come_to(patient, 0)
    began = time.monotonic()
    os.killpg(patient.process.pid, signal.SIGINT)  # as a terminal does: to Ray's processes as well
    gone(patient, 200)
    assert time.monotonic() - began < 60
    assert let_go(tmp_path)
    assert "interrupted (SIGINT) after 0 of 6 trials, 2 of them half-way" in patient.said
    rows = study_status(tmp_path, "tiny").rows
    assert [row.attributes["let_go"] for row in rows] == [True, True]

    told = start(tmp_path, wait=1000, **PLAN)
    come_to(told, 0)
    told.process.terminate()  # as a scheduler of jobs does: to the driver alone
    assert gone(told, 200) < 60
    assert told.process.returncode == 0
    assert "interrupted (SIGTERM) after 0 of 6 trials, 2 of them half-way" in told.said
    status = study_status(tmp_path, "tiny")
    assert status.counts == {"interrupted": 2}
    runs = mirror_of(open_workspace(tmp_path), "tiny", status.identity).runs.runs()
    assert {number: run.status for number, run in runs.items()} == dict.fromkeys((PARENT, 0, 1), "KILLED")

    hasty = start(tmp_path, wait=1000, **PLAN)
    come_to(hasty, 0)
    children = offspring(hasty.process.pid)
    os.killpg(hasty.process.pid, signal.SIGINT)
    wait_for(lambda: let_go(tmp_path))
    os.killpg(hasty.process.pid, signal.SIGINT)
    assert gone(hasty, 60) < 20
    assert (hasty.process.returncode, "ended at once; nothing is lost" in hasty.said) == (130, True)
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))
    finish(tmp_path, **PLAN)
    status = require_whole(tmp_path, trials=6, epochs=4, asha=Asha(1, 2))
    assert {row.losses for row in status.rows} == {0}
