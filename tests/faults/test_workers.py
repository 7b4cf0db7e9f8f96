"""What happens to a trial's worker: it dies, it hangs, it has no memory; all in one Ray session."""

import importlib
import json
import math
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from fake_training import (
    WORDS,
    Constant,
    FakeTraining,
    Fetching,
    SlowToClean,
    Unhurried,
    WithoutData,
    make_data,
    make_space,
)
from scarce import SPACE, Scarce
from whole import failures, require_whole

from lesion import checkpoints
from lesion.data.packed import IMAGES
from lesion.data.travel import VARIABLE
from search import run_study
from search.errors import StudyError, TrialError
from search.ledger import derived_seed
from search.progress import StudyState
from search.space import Asha, load
from search.suspects import LOSSES
from search.trial import Job

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400), pytest.mark.usefixtures("one_ray")]
ASHA = "{asha: {grace: 1, reduction: 2}}"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    make_data(tmp_path)
    return tmp_path


def fault(workspace: Path, **plan: Any) -> None:
    (workspace / "fault.json").write_text(json.dumps(plan))


def test_worker_killed_under_a_scheduler(workspace: Path) -> None:
    fault(workspace, what="once", epoch=1)
    run_study(make_space(workspace, trials=5, epochs=4, scheduler=ASHA), workspace, build=FakeTraining)
    status = require_whole(workspace, trials=5, epochs=4, asha=Asha(1, 2))
    assert sorted(row.attempt for row in status.rows) == [1, 1, 1, 1, 2]


@pytest.mark.parametrize("trials", [2, 4])
def test_worker_killed_as_it_is_handed_over_to_the_next_trial(workspace: Path, trials: int) -> None:
    """Ray tells of it twice, and then gives the trial up; with two trials there is no other left to ask for."""
    fault(workspace, what="kill when handed over", epoch=1)
    space = make_space(workspace, trials=trials, epochs=4, scheduler=ASHA)
    run_study(space, workspace, build=FakeTraining, concurrent=1)
    status = require_whole(workspace, trials=trials, epochs=4, asha=Asha(1, 2))
    assert failures(status) == {}
    assert [row.attempt for row in status.rows] == [1, 3, 1, 1][:trials]


def interrupted_after_two_epochs(workspace: Path) -> None:
    """A session that is ended by Ctrl-C in the third epoch of both its trials."""
    fault(workspace, what="hang", epoch=2)
    space = make_space(workspace, trials=2, epochs=4, scheduler=ASHA)
    asked: list[StudyState] = []

    def interrupt(state: StudyState) -> None:
        if not asked and [trial.epoch for trial in state.running] == [2, 2]:
            asked.append(state)
            signal.raise_signal(signal.SIGINT)

    assert run_study(space, workspace, build=Constant, concurrent=2, progress=interrupt).ended == "SIGINT"
    (workspace / "fault.json").unlink()


def test_worker_killed_as_it_is_handed_over_to_a_trial_of_an_earlier_session(workspace: Path) -> None:
    """Ray gives that trial up, and it goes on under another name: its values are in the rungs once all the same."""
    interrupted_after_two_epochs(workspace)
    fault(workspace, what="kill when handed over", epoch=2)
    space = make_space(workspace, trials=2, epochs=4, scheduler=ASHA)
    run_study(space, workspace, build=Constant, concurrent=1)
    status = require_whole(workspace, trials=2, epochs=4, asha=Asha(1, 2), build=Constant)
    assert [row.attempt for row in status.rows] == [2, 4]


def test_trials_over_which_drivers_died_go_alone_after_the_others(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.progress.INTERVAL", 0.0)
    interrupted_after_two_epochs(workspace)
    study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{workspace / 'ledger.db'}")
    for trial in study.trials:  # as a session leaves them that has counted the last of these deaths
        for name, value in {"losses": LOSSES, "counted": 1, "let_go": False, "began_at": 2}.items():
            study._storage.set_trial_user_attr(trial._trial_id, name, value)
    together: list[set[int]] = []
    with pytest.warns(UserWarning, match=r"trial [01] was running when 5 drivers died: it comes last, with no other"):
        run_study(
            make_space(workspace, trials=4, epochs=4, scheduler=ASHA), workspace, build=Constant, concurrent=2,
            progress=lambda state: together.append({trial.number for trial in state.running}),
        )  # fmt: skip
    status = require_whole(workspace, trials=4, epochs=4, asha=Asha(1, 2), build=Constant)
    assert failures(status) == {}
    assert [running for running in together if running & {0, 1} and len(running) > 1] == []
    assert {0} in together
    assert {1} in together
    ends = {row.number: row.ended for row in status.rows}
    assert sorted(ends, key=lambda number: str(ends[number]))[2:] == [0, 1]


def test_a_trial_that_hangs_once_goes_on_elsewhere(workspace: Path) -> None:
    fault(workspace, what="hang once", epoch=2)
    space = make_space(workspace, trials=2, epochs=4, scheduler=ASHA, budget="patience_minutes: 0.5")
    run_study(space, workspace, build=FakeTraining, concurrent=1)
    status = require_whole(workspace, trials=2, epochs=4, asha=Asha(1, 2))
    assert [(row.hangs, row.attempt) for row in status.rows] == [(1, 2), (0, 1)]


def test_a_trial_that_hangs_for_ever_is_failed_and_the_others_are_not(workspace: Path) -> None:
    fault(workspace, what="hang", epoch=2, seed=derived_seed(7, "trial", 0))  # the first of them, in every attempt
    # No rung before the epoch in which it hangs: it might be stopped there.
    late = "{asha: {grace: 3, reduction: 2}}"
    space = make_space(workspace, trials=4, epochs=4, scheduler=late, budget="patience_minutes: 0.5")
    run_study(space, workspace, build=FakeTraining, concurrent=2)
    status = require_whole(workspace, trials=4, epochs=4, asha=Asha(3, 2))
    assert failures(status) == {0: "hung"}
    assert [row.attempt for row in status.rows[1:]] == [1] * 3
    # They run beside it, and do not wait for its end.
    assert min(row.ended for row in status.rows[1:]) < status.rows[0].ended
    assert "it hung 2 times; at last: nothing was heard of it for" in str(status.rows[0].message)


def test_a_gpu_that_became_unusable_takes_its_worker_with_it(workspace: Path) -> None:
    fault(workspace, what="spoil", epoch=1, times=3)
    run_study(make_space(workspace, trials=4, scheduler=ASHA), workspace, build=FakeTraining, concurrent=1)
    status = require_whole(workspace, trials=4, epochs=3, asha=Asha(1, 2))
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


def test_data_that_can_no_longer_be_fetched_end_the_session_and_fail_no_trial(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(workspace / "copies" / "driver"))
    source = workspace / "data" / "tiny"
    make_space(workspace, trials=2, epochs=2)
    space = load(workspace / "tiny.yaml", data=source.as_uri(), vocabulary=WORDS)
    images = source / IMAGES
    run_study(space, workspace, trials=1, build=Fetching, concurrent=1)
    whole = images.read_bytes()
    images.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(StudyError, match=r"trial 1 cannot go on: .*content hash is.* No trial is lost: mend it"):
        run_study(space, workspace, build=Fetching, concurrent=1)
    images.write_bytes(whole)
    run_study(space, workspace, build=Fetching, concurrent=1)
    assert failures(require_whole(workspace, trials=2, epochs=2)) == {}


def test_clean_up_that_takes_for_ever_ends_nothing(workspace: Path) -> None:
    began = time.monotonic()
    run_study(make_space(workspace, trials=3, scheduler=ASHA), workspace, build=SlowToClean, concurrent=1)
    require_whole(workspace, trials=3, epochs=3, asha=Asha(1, 2))
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


def test_objectives_that_are_no_numbers_fail_at_once(workspace: Path) -> None:
    kinds = ("inf", "-inf", "nan")
    values = {derived_seed(7, "trial", number): metric for number, metric in enumerate(kinds)}
    fault(workspace, what="value", values=values, epoch=1)
    run_study(make_space(workspace, trials=3, scheduler=ASHA), workspace, build=FakeTraining, concurrent=1)
    status = require_whole(workspace, trials=3, epochs=3, asha=Asha(1, 2))
    assert failures(status) == dict.fromkeys(range(3), "non-finite")
    assert [(row.epoch, row.message) for row in status.rows] == [
        (1, f"NonFiniteLossError: mean_auc is {metric} after epoch 2") for metric in kinds
    ]


def test_an_objective_that_never_changes_stops_nobody(workspace: Path) -> None:
    run_study(make_space(workspace, trials=5, epochs=4, scheduler=ASHA), workspace, build=Constant)
    status = require_whole(workspace, trials=5, epochs=4, asha=Asha(1, 2), build=Constant)
    assert status.counts == {"complete": 5}


def test_memory_that_ran_out_is_recorded_as_infeasible_and_not_tried_again(workspace: Path) -> None:
    fault(workspace, what="memory", epoch=1)
    run_study(make_space(workspace, trials=2, scheduler=ASHA), workspace, build=FakeTraining, concurrent=1)
    status = require_whole(workspace, trials=2, epochs=3, asha=Asha(1, 2))
    assert failures(status) == {0: "out-of-host-memory", 1: "out-of-host-memory"}
    assert [row.attempt for row in status.rows] == [1, 1]
    study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{workspace / 'ledger.db'}")
    assert [dict(trial.constraints) for trial in study.trials] == [{"memory": 1.0}, {"memory": 1.0}]


def test_a_real_training_killed_or_short_of_memory(workspace: Path) -> None:
    """One is halved, killed, and ends as one that was never killed; the others fail for what no other worker mends."""
    make_data(workspace, images=np.random.default_rng(0).integers(0, 255, (7, 48, 48, 3), np.uint8))
    (workspace / "tiny.yaml").write_text(SPACE)
    (workspace / "fault").touch()
    run_study(workspace / "tiny.yaml", workspace, build=Scarce)
    status = require_whole(workspace, trials=3, epochs=4, asha=Asha(2, 2), build=None)
    assert [row.attempt for row in status.rows] == [2, 1, 1]
    assert failures(status) == {1: "out-of-memory", 2: "error"}
    assert str(status.rows[1].message) == "OutOfMemoryError: 2 images are too many"
    assert "smote with 5 neighbours needs 6 images of a class, seborrheic_keratosis has 1" in str(
        status.rows[2].message
    )
    study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{workspace / 'ledger.db'}")
    assert [dict(trial.constraints) for trial in study.trials] == [{}, {"memory": 1.0}, {}]

    row, folder = status.rows[0], workspace / "checkpoints" / "tiny"
    assert checkpoints.load(checkpoints.saved(folder / "0")[-1])["training"]["parts"] == 2
    job = Job("tiny", "", workspace / "data" / "tiny", None, "log_loss", 4, folder, Scarce)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the trial had
    try:
        never_killed = Scarce(row.settings, job, row.seed)
        told = [never_killed.step() for _ in range(4)]
    finally:
        torch.set_num_threads(threads)
    assert list(row.history.values()) == [epoch["log_loss"] for epoch in told]
    assert {name: value for name, value in row.metrics.items() if name != "seconds"} == {
        name: value for name, value in told[-1].items() if name != "seconds" and math.isfinite(value)
    }
