"""Checkpoints that are whole, cut short, damaged, of somebody else, or written to a full disk."""

import errno
import hashlib
import io
import os
from pathlib import Path

import pytest
import torch

from lesion.checkpoints import load, load_latest, save, saved
from lesion.errors import CheckpointAccessError, CheckpointError
from lesion.writing import write_atomically


def state(epoch):
    return {"epoch": epoch, "weights": torch.arange(5.0) * epoch, "key": "a", "average": None}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_state_comes_back_and_the_last_two_are_kept(tmp_path):
    for epoch in range(1, 5):
        path = save(state(epoch), tmp_path / "trial")
    assert names(tmp_path / "trial") == ["epoch-0003.ckpt", "epoch-0004.ckpt"]
    found, passed_over = load_latest(tmp_path / "trial")
    assert torch.equal(found.pop("weights"), torch.arange(5.0) * 4)
    assert found == {"epoch": 4, "key": "a", "average": None}
    assert passed_over == []
    assert load(path)["epoch"] == 4


def test_a_folder_without_checkpoints_has_none(tmp_path):
    assert load_latest(tmp_path) == (None, [])
    assert load_latest(tmp_path / "absent") == (None, [])
    with pytest.raises(CheckpointError, match=r"cannot be read: .*No such file"):
        load(tmp_path / "epoch-0001.ckpt")


@pytest.fixture
def folder(tmp_path):
    save(state(1), tmp_path)
    save(state(2), tmp_path)
    return tmp_path


def passes_over(folder, content):
    """Whether the newest checkpoint with this content is passed over for the one before, with the fact."""
    newest = folder / "epoch-0002.ckpt"
    newest.write_bytes(content)
    found, passed_over = load_latest(folder)
    return found["epoch"] == 1 and passed_over == [f"{newest} is damaged: its checksum differs"]


def test_cut_short_anywhere_the_one_before_is_found(folder):
    whole = saved(folder)[-1].read_bytes()
    assert all(
        passes_over(folder, whole[:length]) for length in (*range(0, len(whole), 29), 31, 32, 33, len(whole) - 1)
    )
    assert not passes_over(folder, whole)


def test_damaged_anywhere_the_one_before_is_found(folder):
    whole = saved(folder)[-1].read_bytes()
    damaged = (whole[:i] + bytes([whole[i] ^ 1 << i % 8]) + whole[i + 1 :] for i in range(0, len(whole), 29))
    assert all(passes_over(folder, content) for content in damaged)


def test_what_is_trained_again_after_damage_is_kept(tmp_path):
    for epoch in (5, 6):
        save(state(epoch), tmp_path).write_bytes(b"torn")
    found, passed_over = load_latest(tmp_path)
    assert found is None
    assert [Path(fact.split()[0]).name for fact in passed_over] == ["epoch-0006.ckpt", "epoch-0005.ckpt"]
    save(state(1), tmp_path)
    assert load_latest(tmp_path)[0]["epoch"] == 1
    assert names(tmp_path) == ["epoch-0001.ckpt"]


def test_what_a_killed_process_left_is_neither_read_nor_kept(tmp_path):
    (tmp_path / ".epoch-0007.ckpt.4711.partial").write_bytes(b"half of it")
    assert load_latest(tmp_path) == (None, [])
    save(state(1), tmp_path)
    assert names(tmp_path) == ["epoch-0001.ckpt"]


class Executed:
    def __reduce__(self):
        return (os.mkdir, ("executed",))


def test_code_in_a_checkpoint_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(state(1), tmp_path)
    buffer = io.BytesIO()
    torch.save({"epoch": 2, "model": Executed()}, buffer)
    foreign = tmp_path / "epoch-0002.ckpt"
    foreign.write_bytes(hashlib.sha256(buffer.getvalue()).digest() + buffer.getvalue())
    found, passed_over = load_latest(tmp_path)
    assert found["epoch"] == 1
    assert passed_over == [f"{foreign} is not a checkpoint: UnpicklingError when it was read"]
    assert not (tmp_path / "executed").exists()


class FullDisk(io.FileIO):
    def write(self, content):
        super().write(content[:3])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_on_a_full_disk_the_old_content_stays(tmp_path, monkeypatch):
    path = tmp_path / "report.csv"
    write_atomically(path, b"old ", b"content")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda self, mode: FullDisk(self, mode.replace("b", "")))
        with pytest.raises(OSError, match="No space left"):
            write_atomically(path, b"new content")
    assert path.read_bytes() == b"old content"
    assert names(tmp_path) == ["report.csv"]


def test_on_a_full_disk_the_checkpoints_stay(tmp_path, monkeypatch):
    save(state(1), tmp_path)
    save(state(2), tmp_path)

    def refuse(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("lesion.writing.os.fsync", refuse)
    with pytest.raises(OSError, match="No space left"):
        save(state(3), tmp_path)
    assert names(tmp_path) == ["epoch-0001.ckpt", "epoch-0002.ckpt"]
    assert load_latest(tmp_path)[0]["epoch"] == 2


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_a_checkpoint_that_the_storage_does_not_give_is_not_passed_over(folder, monkeypatch, code):
    def refuse(self):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        with pytest.raises(CheckpointAccessError, match=r"epoch-0002.ckpt cannot be read: .*look at the storage"):
            load_latest(folder)
    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", refuse)
        with pytest.raises(CheckpointAccessError, match="cannot be listed"):
            load_latest(folder)
    assert load_latest(folder)[0]["epoch"] == 2


@pytest.mark.parametrize("problem", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_a_checkpoint_for_which_there_is_no_memory_is_not_passed_over(folder, monkeypatch, problem):
    def refuse(*arguments, **options):
        raise problem

    monkeypatch.setattr(torch, "load", refuse)
    with pytest.raises(type(problem)):
        load_latest(folder)
