"""What happens to a trial's worker: it dies, it hangs, it has no memory; all in one Ray session."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from drivers import WORKERS
from fake_training import FakeTraining, make_data, make_space
from whole import failures, require_whole, schedulers

from search import run_study
from search.cluster import joined
from search.space import Asha

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy"),
]
ASHA = "{asha: {grace: 1, reduction: 2}}"


@pytest.fixture(scope="module", autouse=True)
def one_ray() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in WORKERS.items():
            patch.setenv(name, value)
        with joined(None):
            yield


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    make_data(tmp_path)
    return tmp_path


def fault(workspace: Path, **plan: Any) -> None:
    (workspace / "fault.json").write_text(json.dumps(plan))


def test_worker_killed_under_a_scheduler(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = schedulers(monkeypatch)
    fault(workspace, what="once", epoch=1)
    run_study(make_space(workspace, trials=5, epochs=4, scheduler=ASHA), workspace, build=FakeTraining)
    status = require_whole(workspace, trials=5, epochs=4, asha=Asha(1, 2), live=made[-1])
    assert sorted(row.attempt for row in status.rows) == [1, 1, 1, 1, 2]


def test_a_trial_that_hangs_once_goes_on_elsewhere(workspace: Path) -> None:
    fault(workspace, what="hang once", epoch=2)
    space = make_space(workspace, trials=2, epochs=4, budget="patience_minutes: 0.5")
    run_study(space, workspace, build=FakeTraining, concurrent=1)
    status = require_whole(workspace, trials=2, epochs=4)
    assert [(row.hangs, row.attempt) for row in status.rows] == [(1, 2), (0, 1)]


def test_a_trial_that_hangs_for_ever_is_failed_and_the_others_are_not(workspace: Path) -> None:
    fault(workspace, what="hang", epoch=2)
    space = make_space(workspace, trials=1, epochs=4, budget="patience_minutes: 0.5")
    run_study(space, workspace, build=FakeTraining, concurrent=1)
    (workspace / "fault.json").unlink()
    run_study(space, workspace, trials=2, build=FakeTraining, concurrent=1)
    status = require_whole(workspace, trials=2, epochs=4)
    assert failures(status) == {0: "hung"}
    assert "it hung 2 times; at last: nothing was heard of it for" in str(status.rows[0].message)
