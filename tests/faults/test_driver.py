"""The driver killed at random, again and again: the next session goes on."""

import random
import time
from pathlib import Path

import pytest
from drivers import come_to, finish, start
from whole import require_whole

from search.space import Asha

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PLAN = {"trials": 6, "epochs": 4, "scheduler": "{asha: {grace: 1, reduction: 2}}"}


def test_driver_killed_three_times_at_random(tmp_path: Path) -> None:
    chance = random.Random(2026)
    for _ in range(3):
        driver = start(tmp_path, wait=0.5, **PLAN)
        come_to(driver, chance.randint(0, 3))
        time.sleep(chance.uniform(0.0, 0.5))
        driver.kill()
    assert "all 6 trials have ended" in finish(tmp_path, **PLAN)
    require_whole(tmp_path, trials=6, epochs=4, asha=Asha(1, 2))
