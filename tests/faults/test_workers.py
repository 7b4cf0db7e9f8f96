"""What happens to a trial's worker: it dies, it hangs, it has no memory; all in one Ray session."""

import importlib
import json
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from fake_training import Constant, FakeTraining, SlowToClean, Unhurried, WithoutData, make_data, make_space
from whole import failures, require_whole, schedulers

from search import run_study
from search.errors import StudyError, TrialError
from search.ledger import derived_seed
from search.space import Asha

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.usefixtures("one_ray"),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy"),
]
ASHA = "{asha: {grace: 1, reduction: 2}}"


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
    fault(workspace, what="hang", epoch=2, seed=derived_seed(7, "trial", 0))  # the first of them, in every attempt
    space = make_space(workspace, trials=4, epochs=4, budget="patience_minutes: 0.5")
    run_study(space, workspace, build=FakeTraining, concurrent=2)
    status = require_whole(workspace, trials=4, epochs=4)
    assert failures(status) == {0: "hung"}
    assert [(row.state, row.attempt) for row in status.rows[1:]] == [("complete", 1)] * 3
    # They run beside it, and do not wait for its end.
    assert min(row.ended for row in status.rows[1:]) < status.rows[0].ended
    assert "it hung 2 times; at last: nothing was heard of it for" in str(status.rows[0].message)


def test_a_gpu_that_became_unusable_takes_its_worker_with_it(workspace: Path) -> None:
    fault(workspace, what="spoil", epoch=1, times=3)
    run_study(make_space(workspace, trials=4), workspace, build=FakeTraining, concurrent=1)
    status = require_whole(workspace, trials=4, epochs=3)
    assert failures(status) == {0: "error"}
    assert [row.attempt for row in status.rows] == [2, 2, 1, 1]
    assert str(status.rows[0].message).startswith("RuntimeError: CUDA error: device-side assert triggered")


def test_where_no_worker_can_be_made_the_session_ends_and_no_trial_is_lost(
    workspace: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "mine.py").write_text("from fake_training import FakeTraining\nclass Mine(FakeTraining): pass\n")
    monkeypatch.syspath_prepend(elsewhere)  # this process's path, which workers do not have
    mine = importlib.import_module("mine")
    space = make_space(workspace, trials=2, epochs=4)
    with pytest.raises(StudyError, match=r"no worker can be started .*ModuleNotFoundError: No module named 'mine'"):
        run_study(space, workspace, build=mine.Mine, concurrent=1)
    run_study(space, workspace, build=FakeTraining, concurrent=1)
    status = require_whole(workspace, trials=2, epochs=4)
    assert failures(status) == {}


def test_what_fails_every_trial_ends_the_session_not_the_study(workspace: Path) -> None:
    space = make_space(workspace, trials=20, epochs=1)
    with pytest.raises(TrialError, match=r"trials 0, 1, 2, 3, 4 failed one after the other .*same error: DataError"):
        run_study(space, workspace, build=WithoutData, concurrent=1)
    run_study(space, workspace, trials=7, build=FakeTraining, concurrent=1)
    assert failures(require_whole(workspace, trials=7, epochs=1)) == dict.fromkeys(range(5), "error")


def test_clean_up_that_takes_for_ever_ends_nothing(workspace: Path) -> None:
    began = time.monotonic()
    run_study(make_space(workspace, trials=3), workspace, build=SlowToClean, concurrent=1)
    require_whole(workspace, trials=3, epochs=3)
    assert time.monotonic() - began < 200  # Ray's own patience is 600 s, and here each trial sleeps for 1000


def test_a_search_that_is_flat_ends_and_stays_ended(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.flatness.validation_noise", lambda *study: lambda row: 0.3)
    space = make_space(workspace, trials=40, epochs=1, budget="stop_when_flat: true")
    result = run_study(space, workspace, build=FakeTraining)
    assert (result.ended, result.complete) == ("flat", False)
    assert "the search is flat after" in result.message
    assert "is left to gain, the best value is uncertain by 0.3" in result.message
    require_whole(workspace, trials=len(result.rows), epochs=1)
    assert 20 <= len(result.rows) < 40
    assert run_study(space, workspace, build=FakeTraining).rows == result.rows


def test_device_hours_are_of_all_sessions(workspace: Path) -> None:
    space = make_space(workspace, trials=4, epochs=4, budget="device_hours: 0.00015")  # 0.54 s of a core
    result = run_study(space, workspace, build=Unhurried, concurrent=1)
    assert (result.ended, result.complete) == ("device_hours", False)
    assert "the device hours are used up" in result.message
    again = run_study(space, workspace, build=Unhurried, concurrent=1)
    assert [row.epoch for row in again.rows] == [row.epoch for row in result.rows]
    run_study(space, workspace, device_hours=1, build=FakeTraining, concurrent=1)
    require_whole(workspace, trials=4, epochs=4)


@pytest.mark.parametrize(("metric", "failure"), [("inf", "non-finite"), ("-inf", "non-finite"), ("nan", "non-finite")])
def test_objectives_that_are_no_numbers_fail_at_once(workspace: Path, metric: str, failure: str) -> None:
    fault(workspace, what="value", value=metric, epoch=1)
    run_study(make_space(workspace, trials=2), workspace, build=FakeTraining, concurrent=1)
    status = require_whole(workspace, trials=2, epochs=3)
    assert failures(status) == {0: failure, 1: failure}
    assert [row.epoch for row in status.rows] == [1, 1]


def test_an_objective_that_never_changes_stops_nobody(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = schedulers(monkeypatch)
    run_study(make_space(workspace, trials=5, epochs=4, scheduler=ASHA), workspace, build=Constant)
    status = require_whole(workspace, trials=5, epochs=4, asha=Asha(1, 2), live=made[-1], build=Constant)
    assert status.counts == {"complete": 5}


def test_memory_that_ran_out_is_recorded_as_infeasible_and_not_tried_again(workspace: Path) -> None:
    fault(workspace, what="memory", epoch=1)
    run_study(make_space(workspace, trials=2), workspace, build=FakeTraining)
    status = require_whole(workspace, trials=2, epochs=3)
    assert failures(status) == {0: "out-of-host-memory", 1: "out-of-host-memory"}
    assert [row.attempt for row in status.rows] == [1, 1]
    study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{workspace / 'ledger.db'}")
    assert [dict(trial.constraints) for trial in study.trials] == [{"memory": 1.0}, {"memory": 1.0}]
