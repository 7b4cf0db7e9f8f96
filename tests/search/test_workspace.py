import errno
from pathlib import Path

import pytest

from search.errors import WorkspaceError
from search.workspace import Workspace, checked_name, existing_workspace, open_workspace


def test_makes_its_folders_once_and_again(tmp_path: Path) -> None:
    place = open_workspace(tmp_path / "new")
    assert (place.data.is_dir(), place.test.is_dir(), place.spool.is_dir(), place.reports.is_dir()) == (True,) * 4
    assert open_workspace(place) == place


def test_argument_before_variable_before_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_workspace().path == tmp_path / "workspace"
    monkeypatch.setenv("LESION_WORKSPACE", str(tmp_path / "other"))
    assert open_workspace().path == tmp_path / "other"
    assert open_workspace(tmp_path / "third").path == tmp_path / "third"


def test_databases_are_in_the_workspace_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    place = Workspace(Path("/w"))
    assert (place.ledger_url, place.tracking_uri) == ("sqlite:////w/ledger.db", "sqlite:////w/mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://lab:5000")
    monkeypatch.setenv("LESION_LEDGER", "postgresql://lab/ledger")
    assert (place.ledger_url, place.tracking_uri) == ("postgresql://lab/ledger", "http://lab:5000")


def test_a_file_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "w").write_text("")
    with pytest.raises(WorkspaceError, match="a file stands in the way"):
        open_workspace(tmp_path / "w")


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.ENOSPC, "disk is full"), (errno.EACCES, "may not write"), (errno.EROFS, "read-only"), (errno.EIO, "error")],
)
def test_what_the_system_says_becomes_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(code, "Input/output error")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(WorkspaceError, match=words):
        open_workspace(tmp_path)
    assert not list(tmp_path.glob(".probe*"))


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a..b", "x" * 200, "a b"])
def test_names_that_lead_out_of_a_folder_are_refused(name: str) -> None:
    with pytest.raises(WorkspaceError, match="cannot be called"):
        checked_name(name)


def test_reading_makes_no_workspace(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="no workspace"):
        existing_workspace(tmp_path / "none")
