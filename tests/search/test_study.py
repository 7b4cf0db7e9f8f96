"""Sessions with a training that costs nothing; those that start Ray are marked slow, and most share one Ray."""

import ast
import gc
import json
import os
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_training import FakeTraining, make_data, make_space

from lesion.errors import DataError
from search import cluster, run_study, studies, study_status
from search.cluster import joined
from search.errors import LedgerError, StudyError
from search.mirror import mirror_of
from search.progress import Progress, StudyState, count
from search.retention import KEPT, Retention
from search.rows import TrialRow
from search.study import StudyStatus, sync
from search.tracking import PARENT, StudyRuns
from search.workspace import open_workspace

ASHA = "{asha: {grace: 1, reduction: 2}}"
HERE = Path(__file__).parent
# Workers find `fake_training` beside this file; Ray's niceness of 15 would starve them on a machine that is busy.
WORKERS = {"PYTHONPATH": str(HERE), "RAY_worker_niceness": "0"}


def slow(test: Any) -> Any:
    """A real search: seconds where the machine is free, minutes where others have it."""
    return pytest.mark.slow(pytest.mark.timeout(400)(test))


@pytest.fixture(scope="module")
def shared_ray() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in WORKERS.items():
            patch.setenv(name, value)
        with joined(None):
            yield


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With data; sessions in it end without figures, which take seconds each."""
    monkeypatch.setattr("search.study.show", lambda *_: "")
    make_data(tmp_path)
    return tmp_path


def study_runs(workspace: Path, result: StudyStatus) -> StudyRuns:
    return mirror_of(open_workspace(workspace), result.name, result.identity).runs


def runs_in_mlflow(workspace: Path, result: StudyStatus) -> dict[int, Any]:
    runs = study_runs(workspace, result)
    return {
        number: (run.status, [m.step for m in runs.client.get_metric_history(run.id, "mean_auc")])
        for number, run in runs.runs().items()
    }


def results_of(study: StudyStatus) -> list[tuple[Any, ...]]:
    return [(row.number, row.state, row.settings, row.history, row.value, row.seed) for row in study.rows]


def finished(number: int, value: float | None, state: str = "complete", epoch: int = 4) -> TrialRow:
    history = {} if value is None else {epoch: value}
    return TrialRow(number, state, value, epoch, {}, history, {"seconds": 10.0})


@slow
def test_a_study_runs_extends_and_refuses_other_data(shared_ray: None, workspace: Path) -> None:
    seen: list[StudyState] = []
    space = make_space(workspace, trials=5, epochs=4, scheduler=ASHA)
    result = run_study(space, workspace, build=FakeTraining, progress=seen.append)
    assert result.complete
    assert result.message == "tiny: all 5 trials have ended"
    assert {row.state for row in result.rows} == {"complete", "pruned"}
    assert [row.number for row in result.rows] == [0, 1, 2, 3, 4]
    assert result.best is not None
    assert result.best.state == "complete"
    assert [seen[0].phase, seen[-1].phase] == ["starting", "ended"]
    assert seen[-1].counts["complete"] + seen[-1].counts["pruned"] == 5

    more = run_study(space, workspace, trials=7, build=FakeTraining)
    assert more.complete
    assert more.rows[:5] == result.rows
    assert len(more.rows) == 7
    status = {"complete": "FINISHED", "pruned": "KILLED"}
    expected = {row.number: (status[row.state], list(row.history)) for row in more.rows}
    assert runs_in_mlflow(workspace, more) == {PARENT: ("FINISHED", []), **expected}
    ids = {number: run.id for number, run in study_runs(workspace, more).runs().items()}
    for row in more.rows:  # the row names its run where MLflow was faster than the trial
        assert row.attributes.get("mlflow_run", ids[row.number]) == ids[row.number]
    assert list((workspace / "ray").iterdir()) == []

    make_data(workspace, label=2)
    with pytest.raises(StudyError, match="other images or labels than before"):
        run_study(space, workspace, build=FakeTraining)


def test_rows_are_proposed_by_the_sampler_of_the_space(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("search.study.Session.run", lambda session: asked.append(session.ledger.sampler) or "stopped")
    space = make_space(workspace)
    for each in (space, replace(space, sampler="random")):
        run_study(each, workspace, build=FakeTraining)
    assert asked == ["tpe", "random"]


@slow
def test_a_session_ends_with_tables_figures_and_pictures_in_mlflow(shared_ray: None, tmp_path: Path) -> None:
    make_data(tmp_path)
    result = run_study(make_space(tmp_path, trials=2, epochs=2), tmp_path, build=FakeTraining)
    assert (result.unshown, result.message) == ("", "tiny: all 2 trials have ended")
    runs = mirror_of(open_workspace(tmp_path), "tiny", result.identity).runs
    assert {run.status for run in runs.runs().values()} == {"FINISHED"}
    for number in (0, 1):
        names = {Path(file.path).name for file in runs.client.list_artifacts(runs.runs()[number].id, "evaluation")}
        assert {"roc.png", "confusion.png", "per_class.csv", "per_image.csv", "wide.csv"} <= names
        told = Path(runs.client.download_artifacts(runs.runs()[number].id, "evaluation/confusion_by_epoch.csv"))
        epochs = [line.split(",")[0] for line in told.read_text().splitlines()]
        assert epochs == ["epoch", "1", "1", "1", "2", "2", "2"]
    assert runs.client.list_artifacts(runs.runs()[PARENT].id, "data")


@slow
def test_a_worker_that_dies_is_replaced_where_it_was(shared_ray: None, workspace: Path) -> None:
    whole = run_study(make_space(workspace, trials=3, name="whole"), workspace, build=FakeTraining)
    (workspace / "fault.json").write_text(json.dumps({"what": "once", "epoch": 2}))
    torn = run_study(make_space(workspace, trials=3, name="torn"), workspace, build=FakeTraining)
    assert sorted(row.attempt for row in torn.rows) == [1, 1, 2]
    assert results_of(torn) == results_of(whole)
    assert {steps == [1, 2, 3] for n, (_, steps) in runs_in_mlflow(workspace, torn).items() if n != PARENT} == {True}


@slow
def test_a_worker_that_always_dies_is_a_lost_trial(
    shared_ray: None, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.watchdog.RETRIES", 1)
    (workspace / "fault.json").write_text(json.dumps({"what": "kill", "epoch": 1}))
    result = run_study(make_space(workspace, trials=1), workspace, build=FakeTraining)
    [row] = result.rows
    assert (row.state, row.failure, row.attempt, row.epoch) == ("failed", "lost", 2, 1)
    assert result.complete
    assert result.best is None
    assert runs_in_mlflow(workspace, result)[0] == ("FAILED", [1])


@slow
def test_hours_end_a_session_and_the_next_one_goes_on(shared_ray: None, workspace: Path) -> None:
    space = make_space(workspace, trials=3)
    first = run_study(space, workspace, hours=0, build=FakeTraining)
    assert (first.ended, first.complete) == ("hours", False)
    assert "the hours are used up after 0 of 3 trials" in first.message
    assert run_study(space, workspace, build=FakeTraining).complete


def start(workspace: Path, wait: float, trials: int = 4, scheduler: str = "none") -> subprocess.Popen[str]:
    environment = {**os.environ, **WORKERS, "FAKE_WAIT": str(wait), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / "fake_training.py"), str(workspace), str(trials), scheduler]
    with (workspace / "log").open("a") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, text=True)


def wait_for(condition: Any, seconds: float = 200) -> None:
    """As long as Ray takes to start where four other tests start theirs."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def epochs_in(workspace: Path) -> int:
    log = (workspace / "log").read_text().splitlines()
    state = next((line for line in reversed(log) if line.startswith("running [")), "running []")
    return sum(epoch for _, epoch in ast.literal_eval(state.removeprefix("running ")))


def offspring(pid: int) -> list[str]:
    listing = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listing.splitlines()[1:] if line.split()[1] == str(pid)]


@slow
@pytest.mark.timeout(700)
def test_a_killed_driver_loses_nothing(workspace: Path) -> None:
    process = start(workspace, wait=0.7)
    wait_for(lambda: epochs_in(workspace) >= 2)
    children = offspring(process.pid)
    process.kill()
    process.wait()
    # Some of Ray's processes take a minute to notice.
    wait_for(lambda: not [line for line in children if Path(f"/proc/{line.split()[0]}").exists()], seconds=150)
    assert study_status(workspace, "tiny").counts["interrupted"] == 2
    assert start(workspace, wait=0).wait(300) == 0
    status = study_status(workspace, "tiny")
    assert status.counts == {"complete": 4}
    assert sorted(row.attempt for row in status.rows) == [1, 1, 2, 2]
    assert [list(row.history) for row in status.rows] == [[1, 2, 3, 4]] * 4
    runs = runs_in_mlflow(workspace, status)
    assert runs == {PARENT: ("FINISHED", []), **{n: ("FINISHED", [1, 2, 3, 4]) for n in range(4)}}

    other = workspace / "uninterrupted"
    other.mkdir()
    assert start(other, wait=0).wait(300) == 0
    whole = study_status(other, "tiny")
    assert results_of(status) == results_of(whole)


def test_what_cannot_be_found_is_named(workspace: Path) -> None:
    space = make_space(workspace)
    with pytest.raises(DataError, match="no prepared data set 'tony'; known: tiny"):
        run_study(space, workspace, data="tony", build=FakeTraining)
    with pytest.raises(LedgerError, match="no study 'tiny'"):
        study_status(workspace, "tiny")
    assert studies(workspace) == []


def test_zero_trials_need_no_ray(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.mirror.Mirror.start", lambda self, rows: None)
    monkeypatch.setattr("search.session.FLUSH_INTERRUPTED", 0.0)
    monkeypatch.setattr("search.session.FLUSH", 0.0)
    result = run_study(make_space(workspace), workspace, trials=0, build=FakeTraining)
    assert (result.complete, result.rows, studies(workspace)) == (True, (), ["tiny"])
    assert "wait for MLflow: run 'lesion-search sync tiny'" in result.message


def test_sync_waits_for_no_driver(workspace: Path) -> None:
    place = open_workspace(workspace)
    with pytest.raises(LedgerError, match="no study 'tiny'"):
        sync(place, "tiny")


def test_nothing_of_ray_is_let_go_of_while_ray_shuts_down(monkeypatch: pytest.MonkeyPatch) -> None:
    # Ray ends the process where another thread does, in which the garbage collector happens to run.
    class Cycle:
        def __init__(self) -> None:
            self.me = self

    gone, collecting = [], []
    weakref.finalize(Cycle(), gone.append, "before")
    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(cluster.ray, "init", lambda **options: None)
    monkeypatch.setattr(cluster.ray, "shutdown", lambda: collecting.append((list(gone), gc.isenabled())))
    with joined(None):
        pass
    assert collecting == [(["before"], False)]
    assert gc.isenabled()


def test_checkpoints_of_the_best_stay_and_predictions_of_all(tmp_path: Path) -> None:
    retention = Retention(tmp_path, "maximize", [])
    rows = [finished(n, n / 100) for n in range(KEPT + 2)]
    rows += [finished(90, 0.99, "pruned", 1), finished(91, None, "failed", 1)]
    for row in rows:
        folder = tmp_path / str(row.number)
        folder.mkdir()
        (folder / "epoch-0001.ckpt").touch()
        (folder / "predictions.npz").touch()
        retention.ended(row)
    kept = {int(path.parent.name) for path in tmp_path.glob("*/epoch-0001.ckpt")}
    assert kept == set(range(2, KEPT + 2))
    assert len(list(tmp_path.glob("*/predictions.npz"))) == len(rows)


def test_progress_counts_and_estimates() -> None:
    empty = StudyState("tiny", "starting", "auc", "maximize", 4, 6, {}, None, (), {}, {}, 0.0, None)
    seen: list[StudyState] = []
    progress = Progress(empty, [finished(0, 0.5), finished(1, 0.7), finished(2, None, "failed", 0)], seen.append)
    progress.concurrent = 2
    begun = TrialRow(3, "running", 0.6, 2, {}, {2: 0.6}, {})
    progress.started(begun)
    progress.show(force=True, phase="running")
    progress.show()
    [state] = seen
    assert (state.best and state.best.number, state.counts["running"], state.running[0].epoch) == (1, 1, 2)
    assert state.remaining == pytest.approx((3 - 0.5) * 10 / 2)
    assert count([begun], [])["interrupted"] == 1
