"""A machine without memory: Ray's own monitor, told to think so, ends the workers."""

from pathlib import Path

import pytest
from drivers import finish
from whole import failures, require_whole

from search.space import Asha

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_host_memory_that_ran_out_is_not_a_lost_worker(tmp_path: Path) -> None:
    greedy = {"RAY_memory_usage_threshold": "0.01", "RAY_memory_monitor_refresh_ms": "100"}
    plan = {"trials": 2, "epochs": 3, "scheduler": "{asha: {grace: 1, reduction: 2}}"}
    finish(tmp_path, environment=greedy, wait=5.0, **plan)
    status = require_whole(tmp_path, trials=2, epochs=3, asha=Asha(1, 2))
    assert failures(status) == {0: "out-of-host-memory", 1: "out-of-host-memory"}
    assert [row.attempt for row in status.rows] == [1, 1]
    assert "Fewer trials at a time (--concurrent) leave each one more" in str(status.rows[0].message)
