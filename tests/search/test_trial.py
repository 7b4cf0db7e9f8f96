import errno
import itertools
import json
import pickle
import shutil
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_training import FakeTraining, make_data

from lesion.data import travel
from lesion.data.packed import IMAGES, PackedDataset
from lesion.devices import spoils_its_process
from lesion.errors import CheckpointAccessError, DataAccessError, DataError, RankError
from lesion.parallel import ParallelTraining
from lesion.tasks import Task
from search.errors import WorkerError
from search.fence import raise_fence
from search.predictions import load_confusions, load_predictions
from search.trial import Job, Order, TrialRun, Worker, build_training, failure_class, train_on

SETTINGS = {"image_size": 32, "optimizer": "adamw", "optimizer.adamw.lr": 1e-3, "loss": "cross_entropy"}
ORDER = Order(0, 5, SETTINGS)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job("tiny", "i1", tmp_path / "data", None, "mean_auc", 3, tmp_path / "checkpoints" / "tiny", FakeTraining, 2)


def run_to_end(run: TrialRun) -> list[dict[str, Any]]:
    results = [run.step()]
    while not results[-1]["done"]:
        results.append(run.step())
    return results


def fault(job: Job, **plan: Any) -> None:
    job.folder.mkdir(parents=True, exist_ok=True)
    (job.folder.parent.parent / "fault.json").write_text(json.dumps(plan))


def essence(results: list[dict[str, Any]]) -> list[tuple[int, float]]:
    return [(result["epoch"], result["value"]) for result in results]


def test_reports_every_epoch_and_says_when_it_is_over(job: Job) -> None:
    results = run_to_end(TrialRun(job, ORDER))
    assert [result["epoch"] for result in results] == [1, 2, 3]
    assert [result["done"] for result in results] == [False, False, True]
    last = results[-1]
    assert last["examples"] == 18
    assert last["device_seconds"] == pytest.approx(2 * last["seconds"])
    assert last["metrics"]["mean_auc"] == last["value"]
    assert "auc_rare" not in last["metrics"]  # undefined: its class is absent


def test_predictions_of_the_last_epoch_lie_beside_the_checkpoints(job: Job) -> None:
    results = run_to_end(TrialRun(job, ORDER))
    probabilities, epoch, value = load_predictions(job.folder / "0" / "predictions.npz")
    assert (probabilities.shape, epoch, value) == ((3, 3), 3, results[-1]["value"])
    np.testing.assert_allclose(probabilities.sum(1), 1)


def test_the_confusion_of_every_epoch_lies_there_too_across_attempts(job: Job) -> None:
    told = TrialRun(job, ORDER).step()
    assert "confusion" not in told  # it goes through no queue and no database
    again = TrialRun(job, replace(ORDER, reported=1))
    again.step()
    found = load_confusions(job.folder / "0" / "predictions.npz")
    assert list(found) == [1, 2]
    np.testing.assert_array_equal(found[1], [[0, 0, 0, 1]] * 3)


def test_predictions_of_an_earlier_release_hold_no_confusion(tmp_path: Path) -> None:
    with (tmp_path / "predictions.npz").open("wb") as file:
        np.savez(file, probabilities=np.full((3, 3), 1 / 3), epoch=1, value=0.5)
    assert load_confusions(tmp_path / "predictions.npz") == {}
    assert load_predictions(tmp_path / "predictions.npz")[1:] == (1, 0.5)


def test_goes_on_where_it_was_left(job: Job) -> None:
    whole = essence(run_to_end(TrialRun(replace(job, folder=job.folder / "whole"), ORDER)))
    first = TrialRun(job, ORDER)
    first.step(), first.step()
    rest = run_to_end(TrialRun(job, replace(ORDER, reported=2)))
    assert essence(rest) == whole[2:]


def test_tells_again_what_the_ledger_has_not_heard(job: Job) -> None:
    first = TrialRun(job, ORDER)
    told = [first.step(), first.step()]
    again = run_to_end(TrialRun(job, replace(ORDER, reported=0)))
    assert essence(again)[:2] == essence(told)
    assert len(again) == 3


def test_a_trial_that_was_over_tells_its_end_once_more(job: Job) -> None:
    whole = run_to_end(TrialRun(job, ORDER))
    [again] = run_to_end(TrialRun(job, replace(ORDER, reported=3)))
    assert essence([again]) == essence(whole[-1:])


def test_a_damaged_checkpoint_costs_one_epoch_and_is_mentioned(job: Job) -> None:
    whole = run_to_end(TrialRun(job, ORDER))
    (job.folder / "0" / "epoch-0003.ckpt").write_bytes(b"torn")
    again = run_to_end(TrialRun(job, replace(ORDER, reported=3)))
    assert essence(again) == essence(whole[-1:])
    assert "epoch-0003.ckpt" in again[0]["damage"]


def test_without_any_sound_checkpoint_it_begins_again(job: Job) -> None:
    whole = run_to_end(TrialRun(job, ORDER))
    for path in (job.folder / "0").glob("*.ckpt"):
        path.write_bytes(path.read_bytes()[:-7])
    assert essence(run_to_end(TrialRun(job, replace(ORDER, reported=3)))) == essence(whole)


def test_what_is_trained_again_costs_again(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.trial.time.perf_counter", partial(next, itertools.count()))  # an epoch takes a second

    def costs(order: Order) -> list[tuple[float, float]]:
        results = run_to_end(TrialRun(replace(job, threads=4), order))
        return [(result["seconds"], result["device_seconds"]) for result in results]

    def heard(seconds: float, reported: int = 3) -> Order:
        return replace(ORDER, reported=reported, seconds=seconds, device_seconds=4 * seconds)

    assert costs(ORDER) == [(1, 4), (2, 8), (3, 12)]
    assert costs(heard(2, reported=2)) == [(3, 12)]  # saved, and its report lost
    assert costs(heard(3)) == [(3, 12)]
    assert costs(heard(2)) == [(3, 12)]  # the epoch was recorded, what it cost was not
    (job.folder / "0" / "epoch-0003.ckpt").write_bytes(b"torn")
    assert costs(heard(3)) == [(4, 16)]
    assert costs(heard(4)) == [(4, 16)]
    for path in (job.folder / "0").glob("*.ckpt"):
        path.write_bytes(b"torn")
    assert costs(heard(4)) == [(5, 20), (6, 24), (7, 28)]
    fault(job, what="broken", epoch=1)
    for path in (job.folder / "0").glob("*.ckpt"):
        path.write_bytes(b"torn")
    assert costs(heard(7)) == [(8, 32), (8, 32)]


@pytest.mark.parametrize("change", ["ledger begun anew", "other study", "other seed"])
def test_checkpoints_of_another_trial_are_not_taken_over(job: Job, change: str) -> None:
    run_to_end(TrialRun(job, ORDER))
    order = replace(ORDER, seed=6) if change == "other seed" else ORDER
    order = replace(order, settings={**SETTINGS, "optimizer.adamw.lr": 1e-2}) if "anew" in change else order
    results = run_to_end(TrialRun(replace(job, identity="i2") if "study" in change else job, order))
    assert [result["epoch"] for result in results] == [1, 2, 3]


def test_a_checkpoint_of_another_architecture_is_passed_over(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run_to_end(TrialRun(job, ORDER))
    loads = FakeTraining.load_state_dict

    def refuse_the_third(self: FakeTraining, state: dict[str, Any]) -> None:
        loads(self, state)
        if state["epoch"] == 3:
            raise RuntimeError("Error(s) in loading state_dict for Model: size mismatch\nfor conv1")

    monkeypatch.setattr(FakeTraining, "load_state_dict", refuse_the_third)
    again = run_to_end(TrialRun(job, replace(ORDER, reported=3)))
    assert essence(again) == essence(whole[-1:])
    assert "epoch-0003.ckpt does not fit this program's model: RuntimeError: Error(s) in" in again[0]["damage"]


def test_memory_that_runs_out_while_resuming_is_no_damage(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    run_to_end(TrialRun(job, ORDER))

    def refuse(self: FakeTraining, state: dict[str, Any]) -> None:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(FakeTraining, "load_state_dict", refuse)
    [result] = run_to_end(TrialRun(job, replace(ORDER, reported=3)))
    assert (result["failure"], result["damage"]) == ("out-of-memory", "")
    assert len(list((job.folder / "0").glob("*.ckpt"))) == 2


def test_a_storage_that_does_not_give_the_checkpoints_costs_none_of_them(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no result of the trial either, which would be failed for good: Ray gives it to another worker."""
    whole = essence(run_to_end(TrialRun(job, ORDER)))
    before = {path: path.read_bytes() for path in (job.folder / "0").glob("*.ckpt")}

    def refuse(self: Path) -> bytes:
        raise OSError(errno.ESTALE, "Stale file handle")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        with pytest.raises(CheckpointAccessError, match="Stale file handle"):
            TrialRun(job, replace(ORDER, reported=2)).step()
    assert {path: path.read_bytes() for path in (job.folder / "0").glob("*.ckpt")} == before
    assert not (job.folder / "0" / "error.txt").exists()
    assert essence(run_to_end(TrialRun(job, replace(ORDER, reported=2)))) == whole[2:]


def test_an_attempt_that_was_given_up_writes_nothing_more(job: Job) -> None:
    """Its node was cut off, and it trains on beside its successor on the same storage."""
    folder = job.folder / "0"
    whole = essence(run_to_end(TrialRun(replace(job, folder=job.folder / "whole"), ORDER)))
    raise_fence(folder, "1 of a")
    old = TrialRun(job, replace(ORDER, attempt="1 of a"))
    assert essence([old.step()]) == whole[:1]
    raise_fence(folder, "2 of a")
    new = TrialRun(job, replace(ORDER, reported=1, attempt="2 of a"))
    assert essence(run_to_end(new)) == whole[1:]
    before = {path: path.read_bytes() for path in folder.iterdir()}
    nothing = {"number": 0, "epoch": 0, "over": True, "superseded": True, "done": True}
    assert old.step() == nothing
    assert TrialRun(job, replace(ORDER, attempt="1 of a")).step() == nothing  # nor does it read, or discard
    fault(job, what="broken", epoch=1)
    late = TrialRun(job, ORDER)
    late.order = replace(ORDER, attempt="1 of a")
    late._training = FakeTraining(SETTINGS, job, 5)
    late._training.epoch = 1
    assert late.step()["failure"] == "error"
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_where_the_fence_cannot_be_moved_it_falls(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    raise_fence(job.folder / "0", "1 of a")

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lesion.writing.os.fsync", full)
    raise_fence(job.folder / "0", "2 of a")
    monkeypatch.undo()
    assert len(run_to_end(TrialRun(job, replace(ORDER, attempt="2 of a")))) == 3


def test_an_order_that_is_over_trains_nothing(job: Job) -> None:
    assert TrialRun(job, replace(ORDER, reported=2, over=True)).step() == {
        "number": 0, "epoch": 2, "over": True, "done": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("what", "failure"), [("nan", "non-finite"), ("memory", "out-of-host-memory"), ("broken", "error")]
)
def test_what_the_training_raises_is_a_result(job: Job, what: str, failure: str) -> None:
    fault(job, what=what, epoch=1)
    results = run_to_end(TrialRun(job, ORDER))
    last = results[-1]
    assert (len(results), last["failure"], last["epoch"], last["examples"]) == (2, failure, 1, 6)
    assert "Traceback" in (job.folder / "0" / "error.txt").read_text()


def test_an_objective_that_is_missing_is_named(job: Job) -> None:
    [result] = run_to_end(TrialRun(replace(job, objective="kappa"), ORDER))
    assert result["message"] == (
        "TrialError: the training reports no 'kappa'; it reports auc_rare, examples, mean_auc, train_loss"
    )


def test_an_objective_that_is_not_finite_fails_the_trial(job: Job) -> None:
    [result] = run_to_end(TrialRun(replace(job, objective="auc_rare"), ORDER))
    assert (result["failure"], "value" in result) == ("non-finite", False)


def test_a_full_disk_does_not_fail_the_trial(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(state: dict[str, Any], folder: Path, check: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lesion.checkpoints.save", refuse)
    results = run_to_end(TrialRun(job, ORDER))
    assert (len(results), "failure" in results[-1]) == (3, False)
    assert "epoch 1 was not saved: [Errno 28] No space left" in results[-1]["damage"]


def test_a_training_that_stops_by_itself_is_over_and_says_so_again(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_EPOCHS", "2")
    results = run_to_end(TrialRun(job, ORDER))
    assert [(result["epoch"], result["over"], result["done"]) for result in results] == [
        (1, False, False),
        (2, True, True),
    ]
    [again] = run_to_end(TrialRun(job, replace(ORDER, reported=2)))
    assert (again["epoch"], again["done"]) == (2, True)
    assert [result["epoch"] for result in run_to_end(TrialRun(job, replace(ORDER, reported=1)))] == [2]


def test_a_trial_sees_the_data_through_the_task(job: Job, tmp_path: Path) -> None:
    task = Task.read("nevus", ("melanoma", "seborrheic_keratosis", "nevus"))
    settings = {"image_size": 32, "backbone": "squeezenet1_1", "batch_size": 2}
    make_data(tmp_path)
    job = replace(job, data=tmp_path / "data" / "tiny", build=build_training, task=task, epochs=1)
    training: Any = build_training(settings, job, 5)
    assert training.data.classes == ("rest", "nevus")
    assert pickle.loads(pickle.dumps(job)) == job
    plain: Any = build_training(settings, replace(job, task=None), 5)
    assert plain.data.classes == task.groups["rest"] + ("nevus",)


def test_a_trial_of_data_with_an_address_trains_on_the_node_s_copy(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(travel.VARIABLE, str(tmp_path / "node"))
    there = make_data(tmp_path / "there")
    data_hash = PackedDataset.open(there).content_hash
    job = replace(job, data=tmp_path / "the driver's", build=build_training, epochs=1)
    job = replace(job, source=f"file://{there}", data_hash=data_hash)
    run = TrialRun(job, Order(0, 5, {"image_size": 32, "backbone": "squeezenet1_1", "batch_size": 2}))
    training: Any = run._prepare()
    copy = tmp_path / "node" / data_hash[:32]
    assert training.data.path == copy
    assert Path(training.data.images.filename) == copy / IMAGES
    # The copy is all that it needs from now on.
    shutil.rmtree(there)
    [result] = run_to_end(run)
    assert (result["epoch"], result.get("failure")) == (1, None)


class NoCredentialsError(Exception):
    """Like botocore's, no OSError."""


def test_data_that_this_machine_cannot_fetch_are_no_failure_of_the_trial(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise NoCredentialsError("Unable to locate credentials")

    monkeypatch.setenv(travel.VARIABLE, str(tmp_path / "node"))
    there = make_data(tmp_path / "there")
    data_hash = PackedDataset.open(there).content_hash
    job = replace(job, build=build_training, source=f"file://{there}", data_hash=data_hash)
    with monkeypatch.context() as away:
        away.setattr(travel, "_system", refuse)
        run = TrialRun(job, ORDER)
        with pytest.raises(DataAccessError, match="NoCredentialsError: Unable to locate credentials"):
            run.step()
    with monkeypatch.context() as full:
        full.setattr(travel, "SPARE", 1 << 60)
        with pytest.raises(DataAccessError, match="GiB are free"):
            TrialRun(job, ORDER).step()


def test_an_actor_is_used_again(job: Job) -> None:
    worker = Worker({"job": job, "order": ORDER})
    assert worker.train()["epoch"] == 1
    assert worker.reset({"job": job, "order": replace(ORDER, number=1)})
    assert worker.train()["epoch"] == 1
    assert (job.folder / "1" / "epoch-0001.ckpt").exists()


def test_a_worker_whose_gpu_is_unusable_gives_itself_up(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: FakeTraining) -> dict[str, float]:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(FakeTraining, "step", refuse)
    worker = Worker({"job": job, "order": ORDER})
    with pytest.raises(WorkerError, match="AcceleratorError: CUDA error: an illegal memory access"):
        worker.train()
    assert "illegal memory access" in (job.folder / "0" / "error.txt").read_text()


def test_what_a_machine_cannot_read_is_tried_elsewhere(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        try:
            raise OSError(28, "No space left on device")
        except OSError as problem:
            raise DataError("the draws cannot be kept") from problem

    [result] = run_to_end(TrialRun(replace(job, build=refuse), ORDER))
    assert (result["failure"], result["elsewhere"]) == ("error", True)
    monkeypatch.setattr(FakeTraining, "step", refuse)  # a training that has begun had all that it needs
    assert not run_to_end(TrialRun(job, ORDER))[0]["elsewhere"]


@pytest.mark.parametrize(
    ("said", "spoils"),
    [
        ("CUDA error: device-side assert triggered", True),
        ("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", True),
        ("CUDA error: out of memory", False),
        ("CUDA out of memory. Tried to allocate 2 GiB", False),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)", False),
        ("Expected all tensors to be on the same device", False),
    ],
)
def test_which_errors_spoil_their_process(said: str, spoils: bool) -> None:
    assert spoils_its_process(RuntimeError(said)) == spoils


def test_torch_says_out_of_memory_in_its_own_ways() -> None:
    told = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")
    assert failure_class(told) == "out-of-host-memory"
    assert failure_class(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")) == "out-of-memory"
    assert failure_class(RuntimeError("shapes differ")) == "error"


TWO = {**SETTINGS, "backbone": "squeezenet1_1", "batch_size": 4}


def in_two_processes(job: Job, tmp_path: Path) -> Job:
    make_data(tmp_path, "tiny")
    return replace(job, data=tmp_path / "data" / "tiny", gpus=2.0, build=partial(train_on, "cpu"), threads=2)


def test_a_whole_gpu_and_a_share_of_one_are_one_rank_and_several_are_as_many(job: Job) -> None:
    assert [replace(job, gpus=gpus).ranks for gpus in (0.0, 0.5, 1.0, 2.0, 8.0)] == [1, 1, 1, 2, 8]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_trial_on_two_gpus_costs_two_and_ends_the_processes_that_it_began(job: Job, tmp_path: Path) -> None:
    job = in_two_processes(job, tmp_path)
    run = TrialRun(job, Order(0, 5, TWO))
    first = run.step()
    assert first["device_seconds"] == 2 * first["seconds"]
    assert isinstance(run._training, ParallelTraining)
    other = run._training.ranks.others[0].process
    assert other.poll() is None
    run_to_end(run)
    assert other.poll() == 0
    # Another trial in the same process, and one whose other rank dies: for the search a worker that was lost.
    run = TrialRun(job, Order(1, 6, TWO))
    run.step()
    run._training.ranks.others[0].process.kill()
    with pytest.raises(RankError, match="rank 1 ended by SIGKILL"):
        run.step()
    # What it had saved goes on, here on one rank.
    assert TrialRun(replace(job, gpus=0.0), Order(1, 6, TWO, reported=1)).step()["epoch"] == 2


@pytest.mark.parametrize("what", [None, "broken"])
def test_no_step_waits_for_a_training_to_be_let_go_of(job: Job, what: str | None) -> None:
    gone: list[str] = []

    class Slow(FakeTraining):
        def __del__(self) -> None:
            gone.append(threading.current_thread().name)

    if what is not None:
        fault(job, what=what, epoch=1)
    worker = object.__new__(Worker)
    worker.reset_config({"job": replace(job, build=Slow), "order": ORDER})
    while not worker.step()["done"]:
        pass
    assert gone == []
    worker.reset_config({"job": job, "order": replace(ORDER, number=1, seed=6)})
    worker.step()
    assert len(gone) == 1
    assert gone != [threading.main_thread().name]


def test_what_a_trial_leaves_is_closed_before_the_next(job: Job, tmp_path: Path) -> None:
    closed: list[int] = []

    class Held(FakeTraining):
        def close(self) -> None:
            closed.append(self.seed)

    job = replace(job, build=Held)
    worker = object.__new__(Worker)
    worker.reset_config({"job": job, "order": ORDER})
    worker.step()
    worker.reset_config({"job": job, "order": replace(ORDER, number=1, seed=6)})
    assert closed == []
    worker.step()
    assert closed == [5]
