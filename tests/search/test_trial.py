import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_training import FakeTraining, make_data

from lesion.tasks import Task
from search.predictions import load_confusions, load_predictions
from search.trial import Job, Order, TrialRun, Worker, build_training, failure_class

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
    def refuse(state: dict[str, Any], folder: Path) -> None:
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


def test_an_actor_is_used_again(job: Job) -> None:
    worker = Worker({"job": job, "order": ORDER})
    assert worker.train()["epoch"] == 1
    assert worker.reset({"job": job, "order": replace(ORDER, number=1)})
    assert worker.train()["epoch"] == 1
    assert (job.folder / "1" / "epoch-0001.ckpt").exists()


def test_torch_says_out_of_memory_in_its_own_ways() -> None:
    told = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")
    assert failure_class(told) == "out-of-host-memory"
    assert failure_class(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")) == "out-of-memory"
    assert failure_class(RuntimeError("shapes differ")) == "error"
