"""What Ray runs beside the driver killed, and a driver that is given no time to end: the next session goes on."""

import os
import signal
import time
from pathlib import Path

import pytest
from drivers import alive, come_to, finish, gone, offspring, start, wait_for
from whole import require_whole

from search.space import Asha

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PLAN = {"trials": 6, "epochs": 4, "scheduler": "{asha: {grace: 1, reduction: 2}}"}


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
