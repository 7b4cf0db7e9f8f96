"""A packed data set is whole or not there, continues where it was stopped, and is the same however it was made."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import filelock
import psutil
import pytest
from drawn_sources import isic2017, jpeg, manifest, pack, two_classes

from lesion.data import decoding
from lesion.data.packed import open_test, prepared
from lesion.data.prepare import prepare
from lesion.errors import DataError

KILLED = """
import os, signal, sys
from pathlib import Path
from lesion.data.prepare import prepare

def die(done, total, what):
    if what == "decoding" and done >= 24:
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    prepare(Path(sys.argv[1]), Path(sys.argv[2]), size=16, workers=2, progress=die)
"""


@pytest.fixture
def decoded(monkeypatch) -> list[int]:
    """Counts the photos that are decoded."""
    seen: list[int] = []
    real = decoding.decode
    monkeypatch.setattr(decoding, "decode", lambda *a: (seen.append(1), real(*a))[1])
    return seen


def test_what_stands_already_is_returned(tmp_path, decoded):
    source, said = two_classes(tmp_path / "own"), []
    pack(source, tmp_path / "w")
    count = len(decoded)
    pack(source, tmp_path / "w", progress=lambda done, total, what: said.append(what))
    assert len(decoded) == count
    assert said[-1] == "already prepared"


def test_another_set_under_the_name_is_kept_unless_replaced(tmp_path):
    source = two_classes(tmp_path / "own")
    pack(source, tmp_path / "w")
    with pytest.raises(
        DataError, match=r"own is another data set \(size 16 there, 8 here\): give this one another name"
    ):
        pack(source, tmp_path / "w", size=8)
    assert pack(source, tmp_path / "w", size=8, replace=True).size == 8
    assert open_test(tmp_path / "w", "own").size == 8
    with pytest.raises(DataError, match="other source files"):
        pack(two_classes(tmp_path / "other", 32), tmp_path / "w", size=8, name="own")


def interrupt_at(count: int):
    def progress(done: int, total: int, what: str) -> None:
        if what == "decoding" and done >= count:
            raise KeyboardInterrupt

    return progress


def test_an_interrupted_run_is_continued(tmp_path, decoded):
    source = two_classes(tmp_path / "own", 48)
    whole = pack(source, tmp_path / "whole")
    decoded.clear()
    with pytest.raises(KeyboardInterrupt):
        pack(source, tmp_path / "w", progress=interrupt_at(16))
    assert prepared(tmp_path / "w") == []
    assert len(decoded) == 16
    assert pack(source, tmp_path / "w").content_hash == whole.content_hash
    assert len(decoded) == 48


def test_pixels_that_did_not_reach_the_disk_are_decoded_again(tmp_path, decoded):
    source = two_classes(tmp_path / "own", 48)
    with pytest.raises(KeyboardInterrupt):
        pack(source, tmp_path / "w", progress=interrupt_at(32))
    with (tmp_path / "w/data/own.partial/pixels.bin").open("r+b") as file:
        file.write(bytes(3 * 16 * 16 * 3))
    with (tmp_path / "w/data/own.partial/journal.jsonl").open("a") as file:
        file.write("[40, 12")
    decoded.clear()
    pack(source, tmp_path / "w").verify()
    assert len(decoded) == 16 + 3


def test_an_interrupted_run_of_another_source_is_not_continued(tmp_path, decoded):
    source = two_classes(tmp_path / "own", 48)
    with pytest.raises(KeyboardInterrupt):
        pack(source, tmp_path / "w", progress=interrupt_at(16))
    (source / "a0.jpg").write_bytes(jpeg(99))
    decoded.clear()
    pack(source, tmp_path / "w")
    assert len(decoded) == 48


def _living(group: int) -> list[int]:
    """Processes of a group that have not ended; one that nobody waited for has."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


@pytest.mark.slow
def test_a_killed_run_leaves_no_data_set_and_no_process_and_is_continued(tmp_path, decoded):
    source, workspace = isic2017(tmp_path / "s", (96, 12, 9)), tmp_path / "w"
    script = tmp_path / "run.py"
    script.write_text(KILLED)
    child = subprocess.Popen([sys.executable, script, source, workspace], start_new_session=True)
    assert child.wait(60) == -signal.SIGKILL
    assert prepared(workspace) == []
    data = prepare(source, workspace, size=16, workers=1)
    assert len(decoded) < 117 - 23
    assert data.content_hash == prepare(source, workspace, size=16, workers=2, name="whole").content_hash
    assert not _living(child.pid)  # the workers went with their parent


@pytest.mark.parametrize("at", range(1, 5))
def test_a_run_that_ends_between_two_renames_is_mended_by_the_next(tmp_path, monkeypatch, at):
    source = two_classes(tmp_path / "own")
    old = pack(source, tmp_path / "w")
    real, seen = Path.rename, []

    def rename(self: Path, target: Path) -> Path:
        seen.append(target)
        if len(seen) == at:
            raise KeyboardInterrupt
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        with pytest.raises(KeyboardInterrupt):
            pack(source, tmp_path / "w", size=8, replace=True)
    again = pack(source, tmp_path / "w")
    assert again.content_hash == old.content_hash
    assert open_test(tmp_path / "w", "own").content_hash == again.manifest["test"]["content_hash"]
    assert pack(source, tmp_path / "w", size=8, replace=True).size == 8
    assert [p.name for p in (tmp_path / "w/data").iterdir() if not p.name.startswith(".")] == ["own"]


def test_every_broken_image_is_named_and_can_be_left_out(tmp_path):
    source = two_classes(tmp_path / "own", 48)
    (source / "a3.jpg").write_bytes(b"")
    (source / "a7.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError) as caught:
        pack(source, tmp_path / "w")
    for line in ("own: 2 images cannot be used", "own/a3.jpg is empty (zero bytes)", "own/a7.jpg is no image"):
        assert line in str(caught.value)
    data = pack(source, tmp_path / "w", skip_broken=True)
    assert len(data) + len(open_test(tmp_path / "w", "own")) == 46
    assert [f["images"] for f in data.manifest["findings"]] == [["a3.jpg"], ["a7.jpg"]]
    data.verify()


def test_a_lesion_in_two_parts_is_refused(tmp_path):
    rows = ["a0,x,train,L1", "a1,y,test,L1", "a2,x,train,L2"]
    with pytest.raises(DataError, match="lesion L1 stands in parts train and test: move it to one of them"):
        pack(manifest(tmp_path / "own", rows, "image,label,part,lesion"), tmp_path / "w")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 4}, "size is 4, must be from 8 to 2048"),
        ({"geometry": "zoom"}, "no geometry 'zoom'; known: crop, pad, stretch"),
        ({"folds": 1}, "folds is 1, must be 0"),
        ({"folds": 15}, "splitting needs at least 16 lesions of every class; melanoma has 6, mole has 6"),
        ({"test": 0.9}, "test is 0.9, must be a share"),
        ({"name": "../own"}, "data set name '../own': must be"),
        ({"name": "own.partial"}, "must be 1 to 64 letters"),
    ],
)
def test_wrong_options_are_told_before_any_work(tmp_path, decoded, options, message):
    with pytest.raises(DataError, match=message.replace("(", r"\(")):
        pack(two_classes(tmp_path / "own"), tmp_path / "w", **options)
    assert not decoded


def test_a_test_share_beside_an_official_test_part_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"has a test part of its own: leave the test share \(0.15\) out"):
        pack(isic2017(tmp_path / "s"), tmp_path / "w", test=0.15)


def test_two_writers_at_once_are_refused(tmp_path):
    (tmp_path / "w" / "data").mkdir(parents=True)
    with (
        filelock.FileLock(tmp_path / "w" / "data" / ".own.lock"),
        pytest.raises(DataError, match="another process is preparing"),
    ):
        pack(two_classes(tmp_path / "own"), tmp_path / "w")


def test_a_workspace_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "w").write_text("a file")
    with pytest.raises(DataError, match="cannot be written"):
        pack(two_classes(tmp_path / "own"), tmp_path / "w")


def test_too_small_a_disk_is_told_before_decoding(tmp_path, monkeypatch, decoded):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 99, 1))
    with pytest.raises(DataError, match=r"GiB are needed while preparing, 0.00 GiB are free"):
        pack(two_classes(tmp_path / "own"), tmp_path / "w")
    assert not decoded


@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite", "fsync"])
def test_a_disk_that_fills_up_is_told_and_the_work_goes_on_later(tmp_path, monkeypatch, call):
    source = two_classes(tmp_path / "own")

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(DataError, match=r"the disk is full .* free some space and run the same command again"):
            pack(source, tmp_path / "w")
    assert prepared(tmp_path / "w") == []
    pack(source, tmp_path / "w").verify()


def test_a_damaged_entry_of_a_zip_is_named(tmp_path):
    source = isic2017(tmp_path / "s")
    path = source / "ISIC-2017_Training_Data.zip"
    data = bytearray(path.read_bytes())
    data[data.index(b"ISIC_0000000.jpg") + 200] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"ISIC_0000000\.jpg is damaged inside its zip \(Bad CRC-32"):
        pack(source, tmp_path / "w")


def test_a_damaged_entry_of_an_lzma_zip_is_named(tmp_path):
    rows = "image,label\n" + "".join(f"a{i},{'xy'[i % 2]}\n" for i in range(12))
    path = tmp_path / "own.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as made:
        made.writestr("labels.csv", rows)
        for i in range(12):
            made.writestr(f"a{i}.jpg", jpeg(i))
    data = bytearray(path.read_bytes())
    data[data.index(b"a3.jpg") + len("a3.jpg") + 4] ^= 0xFF  # in the properties of the entry's stream
    path.write_bytes(data)
    with pytest.raises(
        DataError, match=r"source own: 1 image cannot be used\nown\.zip/a3\.jpg is damaged inside its zip"
    ):
        pack(path, tmp_path / "w")
