"""The driver, and what Ray runs beside it, killed: the next session goes on, and nothing tells the studies apart."""

import random
import time
from pathlib import Path

import pytest
from drivers import finish, start, wait_for
from whole import require_whole

from search.space import Asha

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy"),
]
PLAN = {"trials": 6, "epochs": 4, "scheduler": "{asha: {grace: 1, reduction: 2}}"}


def test_driver_killed_three_times_at_random(tmp_path: Path) -> None:
    chance = random.Random(2026)
    for strike in range(3):
        driver = start(tmp_path, wait=0.5, **PLAN)
        wait_for(lambda driver=driver: driver.running)
        time.sleep(chance.uniform(0.0, 2.0))
        assert driver.process.poll() is None, f"over before strike {strike}"
        driver.kill()
    assert "all 6 trials have ended" in finish(tmp_path, **PLAN)
    require_whole(tmp_path, trials=6, epochs=4, asha=Asha(1, 2))
