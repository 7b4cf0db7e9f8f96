"""The driver, and what Ray runs beside it, killed and interrupted in every way: the next session goes on."""

import os
import random
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from drivers import Driver, alive, finish, offspring, start, wait_for
from whole import require_whole

from search import study_status
from search.space import Asha

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy"),
]
PLAN = {"trials": 6, "epochs": 4, "scheduler": "{asha: {grace: 1, reduction: 2}}"}


def come_to(driver: Driver, epochs: int) -> None:
    """Wait until the running trials have `epochs` behind them, or one has ended."""
    wait_for(lambda: driver.running and (sum(driver.running.values()) >= epochs or driver.ended))


def gone(driver: Driver, seconds: float) -> float:
    """Seconds until the driver has ended by itself."""
    began = time.monotonic()
    driver.process.wait(seconds)
    return time.monotonic() - began


def let_go(workspace: Path) -> bool:
    """Whether trials have been let go; asked of the file itself, because Optuna takes longer than the clean-up may."""
    with closing(sqlite3.connect(workspace / "ledger.db")) as ledger:
        noted = "SELECT count(*) FROM trial_user_attributes WHERE key = 'let_go' AND value_json = 'true'"
        return ledger.execute(noted).fetchone() == (2,)


def test_driver_killed_three_times_at_random(tmp_path: Path) -> None:
    chance = random.Random(2026)
    for _ in range(3):
        driver = start(tmp_path, wait=0.5, **PLAN)
        come_to(driver, chance.randint(0, 3))
        time.sleep(chance.uniform(0.0, 0.5))
        driver.kill()
    assert "all 6 trials have ended" in finish(tmp_path, **PLAN)
    require_whole(tmp_path, trials=6, epochs=4, asha=Asha(1, 2))


def test_gcs_killed_and_a_job_stopped_the_hard_way(tmp_path: Path) -> None:
    driver = start(tmp_path, wait=4, environment={"RAY_gcs_rpc_server_reconnect_timeout_s": "5"}, **PLAN)  # it is 60
    come_to(driver, 2)
    [gcs] = offspring(driver.process.pid, "ray/gcs/gcs_server")
    children = offspring(driver.process.pid)
    os.kill(gcs, signal.SIGKILL)
    gone(driver, 200)  # Ray ends it from C++: nothing of ours is asked, and no `finally` runs
    assert driver.process.returncode != 0
    assert "Failed to connect to GCS within 5 seconds" in driver.said
    wait_for(lambda: not any(alive(pid) for pid in children))
    stopped = start(tmp_path, wait=60, **PLAN)  # what 'ray job stop' does unless told to wait: SIGTERM, 3 s, SIGKILL
    come_to(stopped, 0)
    stopped.process.terminate()
    time.sleep(3)
    stopped.kill()
    finish(tmp_path, **PLAN)
    status = require_whole(tmp_path, trials=6, epochs=4, asha=Asha(1, 2))
    assert max(row.attempt for row in status.rows) == 3


def test_one_ctrl_c_ends_within_60_s_and_a_second_at_once(tmp_path: Path) -> None:
    patient = start(tmp_path, wait=1000, **PLAN)
    come_to(patient, 0)
    os.killpg(patient.process.pid, signal.SIGINT)  # as a terminal does: to Ray's processes as well
    wait_for(lambda: let_go(tmp_path))
    assert gone(patient, 200) < 60
    assert "interrupted (SIGINT) after 0 of 6 trials, 2 of them half-way" in patient.said
    rows = study_status(tmp_path, "tiny").rows
    assert [row.attributes["let_go"] for row in rows] == [True, True]

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
