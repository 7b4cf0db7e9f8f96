"""A clock that is set back while a search runs: nothing may go by it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from fake_training import Unhurried, make_data, make_space
from whole import require_whole

from search import run_study
from search.progress import StudyState
from search.space import Asha

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400), pytest.mark.usefixtures("one_ray")]


def test_clock_set_back_two_days_in_mid_search(tmp_path: Path) -> None:
    make_data(tmp_path)
    space = make_space(tmp_path, trials=6, epochs=4, scheduler="{asha: {grace: 1, reduction: 2}}")
    back = time_machine.travel(datetime.now(UTC) - timedelta(days=2), tick=True)
    changed: list[bool] = []

    def set_back(state: StudyState) -> None:
        if not changed and any(trial.epoch for trial in state.running):
            changed.append(True)
            back.start()

    try:
        run_study(space, tmp_path, build=Unhurried, concurrent=2, progress=set_back)
    finally:
        if changed:
            back.stop()
    status = require_whole(tmp_path, trials=6, epochs=4, asha=Asha(1, 2))
    first, last = status.rows[0], status.rows[-1]
    assert first.started - last.started > timedelta(days=1), "the clock was not set back"
    run_study(space, tmp_path, trials=8, build=Unhurried, concurrent=2)  # two days later, all at once
    require_whole(tmp_path, trials=8, epochs=4, asha=Asha(1, 2))
