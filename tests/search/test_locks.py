"""Drivers of several workspaces on one SQLite ledger; those on a PostgreSQL server are in `faults/test_postgres.py`."""

import subprocess
import sys
from pathlib import Path

import pytest

from search.doctor.files import of_locks
from search.errors import LedgerAccessError, LedgerError
from search.locks import driving, is_driven
from search.workspace import Workspace, open_workspace

HOLDER = """
import sys, time
from pathlib import Path
from search.locks import driving
from search.workspace import Workspace
place = Workspace(Path(sys.argv[1]))
with driving(place.lock("tiny"), "tiny", sys.argv[2]):
    print("driving", flush=True)
    time.sleep(600)
"""


def shared_url(kind: str, folder: Path) -> str:
    """Of a ledger beside the workspaces, of that in the first one, and of a link to the latter."""
    database = {"beside": folder / "shared.db", "first's": folder / "first" / "ledger.db", "link": folder / "link.db"}
    if kind == "link":
        database[kind].symlink_to(database["first's"])
    return f"sqlite:///{database[kind]}"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["beside", "first's", "link"])
def test_drivers_of_two_workspaces_on_one_file_exclude_each_other(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LESION_LEDGER", raising=False)
    first, second = (open_workspace(tmp_path / name) for name in ("first", "second"))
    url = shared_url(kind, tmp_path)
    # Who has the ledger in its workspace need not say where it is.
    command = [sys.executable, "-c", HOLDER, str(first.path), first.ledger_url if kind == "link" else url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "driving\n"
            with (
                pytest.raises(LedgerAccessError, match=rf"driven already by process {other.pid} on .+ since 2"),
                driving(second.lock("tiny"), "tiny", url),
            ):
                pass
            assert is_driven(second.lock("tiny"), "tiny", url)
            assert not is_driven(second.lock("tiny"))  # nobody drives it by a ledger of that workspace
            with driving(second.lock("another"), "another", url):  # another study is another lock
                pass
        finally:
            other.kill()
            other.wait()
    assert not is_driven(second.lock("tiny"), "tiny", url)
    monkeypatch.setenv("LESION_LEDGER", url)
    stale = [Path(finding.where) for finding in of_locks(second, "tiny")]
    assert stale == [tmp_path / (".shared.db.tiny.json" if kind == "beside" else "first/locks/tiny.json")]
    with driving(second.lock("tiny"), "tiny", url):
        assert is_driven(first.lock("tiny"), "tiny", url)
    assert [*of_locks(second, "tiny")] == []


def test_a_ledger_of_the_workspace_itself_has_one_lock(tmp_path: Path) -> None:
    place = open_workspace(tmp_path)
    with driving(place.lock("tiny"), "tiny", f"sqlite:///{tmp_path / 'ledger.db'}"):
        assert sorted(path.name for path in tmp_path.rglob("*tiny*")) == ["tiny.json", "tiny.lock"]
        with driving(Workspace(tmp_path).lock("tiny.finalists"), "tiny.finalists", "sqlite://"):
            pass


def test_a_ledger_that_cannot_be_locked_is_told(tmp_path: Path) -> None:
    place = open_workspace(tmp_path / "workspace")
    (tmp_path / ".shared.db.tiny.lock").mkdir()
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    with (
        pytest.raises(LedgerError, match=r"'tiny' cannot be locked: .*writable for you"),
        driving(place.lock("tiny"), "tiny", url),
    ):
        pass
    with driving(place.lock("tiny"), "tiny", f"sqlite:///{tmp_path / 'nowhere' / 'shared.db'}"):
        assert not (tmp_path / "nowhere").exists()  # that there is no such folder is the ledger's to say
