"""What is said of a disk that is full while Ray notes something."""

import errno
from collections import namedtuple
from pathlib import Path

import pytest

from search import full_disks
from search.errors import WorkspaceFullError
from search.full_disks import full_disk_explained

Usage = namedtuple("Usage", "total used free")


def test_the_folder_that_the_error_names_is_told_with_the_way_out(tmp_path: Path) -> None:
    for file, way in (
        (tmp_path / "ray" / "session-1" / "state.json", "--workspace"),
        ("/gone/error.pkl", "RAY_TMPDIR"),
    ):
        with pytest.raises(WorkspaceFullError, match=f"the disk of {Path(file).parent} is full: .*{way}"):
            fail(tmp_path, OSError(errno.ENOSPC, "No space left on device", str(file)))


def test_where_the_error_names_nothing_the_fullest_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere, rooms = tmp_path / "elsewhere", {"elsewhere": 7, "workspace": 8}
    for name in rooms:
        (tmp_path / name).mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(elsewhere))
    monkeypatch.setattr(full_disks.shutil, "disk_usage", lambda path: Usage(9, 9, rooms[path.name]))
    with pytest.raises(WorkspaceFullError, match=f"the disk of {elsewhere} is full: .*RAY_TMPDIR"):
        fail(tmp_path / "workspace", OSError(errno.EDQUOT, "Disk quota exceeded"))


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(PermissionError):
        fail(tmp_path, PermissionError(errno.EACCES, "Permission denied"))


def fail(workspace: Path, error: OSError) -> None:
    with full_disk_explained(workspace):
        raise error
