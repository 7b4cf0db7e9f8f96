"""An attempt that was given up while it saved an epoch: its successor begins, or ends the trial, meanwhile."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_training import FakeTraining

from lesion import checkpoints
from search.fence import SupersededError, raise_fence
from search.resumption import resume
from search.trial import Job, Order, TrialRun

SETTINGS = {"image_size": 32, "optimizer": "adamw", "optimizer.adamw.lr": 1e-3, "loss": "cross_entropy"}
NOTHING = {"number": 0, "epoch": 0, "over": True, "superseded": True, "done": True}


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job("tiny", "i1", tmp_path / "data", None, "mean_auc", 4, tmp_path / "checkpoints" / "tiny", FakeTraining, 2)


def in_its_place(monkeypatch: pytest.MonkeyPatch, name: str, nth: int, meanwhile: Callable[[], object]) -> None:
    """The `nth` call of the function `name` waits until `meanwhile` has happened, which calls the true one."""
    module, _, function = name.rpartition(".")
    true = getattr(importlib.import_module(module), function)
    calls: list[None] = []

    def held(*arguments: Any, **options: Any) -> Any:
        calls.append(None)
        if len(calls) == nth:
            meanwhile()
        return true(*arguments, **options)

    monkeypatch.setattr(name, held)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("held", "nth"), [("numpy.savez", 1), ("os.fsync", 1), ("torch.save", 1), ("os.fsync", 2)]
)  # predictions made, and on the disk; the checkpoint made, and on the disk
def test_an_attempt_given_up_while_it_saves_changes_nothing(
    job: Job, monkeypatch: pytest.MonkeyPatch, held: str, nth: int
) -> None:
    folder = job.folder / "0"
    raise_fence(folder, "1 of a")
    old = TrialRun(job, Order(0, 5, SETTINGS, attempt="1 of a"))
    old.step(), old.step()
    after: dict[str, bytes] = {}

    def successor() -> None:
        raise_fence(folder, "2 of a")
        new = TrialRun(job, Order(0, 5, SETTINGS, reported=2, attempt="2 of a"))
        assert [new.step()["done"], new.step()["done"]] == [False, True]
        after.update(content(folder))

    in_its_place(monkeypatch, held, nth, successor)
    assert old.step() == NOTHING
    assert {"epoch-0003.ckpt", "epoch-0004.ckpt"} <= after.keys()
    assert content(folder) == after


def test_an_attempt_given_up_as_its_checkpoint_got_its_name_deletes_no_later_one(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = job.folder / "0"
    raise_fence(folder, "1 of a")
    old = TrialRun(job, Order(0, 5, SETTINGS, attempt="1 of a"))
    old.step(), old.step()
    replaces, names = Path.replace, []

    def replaced(self: Path, target: Path) -> Any:
        found = replaces(self, target)
        if target.name == "epoch-0003.ckpt" and not names:
            names.append(target.name)
            raise_fence(folder, "2 of a")
            new = TrialRun(job, Order(0, 5, SETTINGS, reported=2, attempt="2 of a"))
            while not new.step()["done"]:
                pass
        return found

    monkeypatch.setattr(Path, "replace", replaced)
    assert old.step() == NOTHING
    assert names == ["epoch-0003.ckpt"]
    state, passed_over = checkpoints.load_latest(folder)
    assert (state["epoch"] if state else None, passed_over) == (4, [])


def test_an_attempt_given_up_while_it_builds_discards_nothing(job: Job) -> None:
    folder = job.folder / "0"
    checkpoints.save({"epoch": 1, "key": "of another trial"}, folder)

    def superseded() -> None:
        raise SupersededError

    with pytest.raises(SupersededError):
        resume(folder, "key", lambda: FakeTraining(SETTINGS, job, 5), superseded)
    assert [path.name for path in checkpoints.saved(folder)] == ["epoch-0001.ckpt"]
