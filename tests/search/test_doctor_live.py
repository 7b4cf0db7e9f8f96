"""The doctor while somebody is at work in the workspace: what is theirs stays, and is told as passed over."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Timer
from typing import Any

import optuna
import pytest
from examined_study import IDENTITY, Line, checkpoint, search
from filelock import FileLock

from search import doctor
from search.cli import main
from search.doctor import Finding, examine
from search.errors import LedgerAccessError
from search.ledger import open_ledger
from search.locks import driving, is_driven
from search.mirror import mirror_of
from search.ownership import note_ledger
from search.study import sync
from search.tracking import STATE
from search.versions import alone
from search.workspace import Workspace, open_workspace


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path / "workspace")


@pytest.fixture
def unmirrored(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what has nothing to do with MLflow, which takes seconds."""
    for name in ("of_spool", "of_runs", "of_promotions"):
        monkeypatch.setattr(f"search.doctor.{name}", lambda *arguments: ())


@pytest.fixture
def sessions() -> Iterator[ExitStack]:
    """Holds the locks of sessions until the test ends."""
    with ExitStack() as held:
        yield held


@pytest.fixture
def after(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, Callable[[], object]], None]:
    """Has something happen once, when the doctor has done `step` for the first time and a study called `name`."""

    def arrange(step: str, name: str, happen: Callable[[], object]) -> None:
        real, done = getattr(doctor, step), list[str]()

        def stepped(*arguments: Any) -> Any:
            found = real(*arguments)
            if name in arguments and not done:
                done.append(name)
                happen()
            return found

        monkeypatch.setattr(doctor, step, stepped)

    return arrange


def begin(place: Workspace, name: str) -> None:
    """What a session has made of a study once its first epoch is behind it."""
    ledger = open_ledger(place.ledger_url, name, IDENTITY, 7)
    ledger.begin(ledger.ask(Line()).number)
    ledger.report(0, 1, 0.1)
    checkpoint(place.trial(name, 0), 1)


@pytest.mark.usefixtures("unmirrored")
def test_what_a_session_works_with_that_began_meanwhile_stays(
    place: Workspace, sessions: ExitStack, after: Callable[..., None]
) -> None:
    """The doctor has looked at a study, and is at the next one."""
    for name in ("first", "second"):
        search(place, name, trials=1)
    live = [place.ray / "first" / "session-1" / "log", place.path / ".reach-0a" / "token"]
    live.append(place.cache / ".draws-0.npz.77ab.partial")

    def start() -> None:
        sessions.enter_context(driving(place.lock("first"), "first"))
        for path in live:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("live")

    after("_of_study", "second", start)
    examination = examine(place, fix=True)
    assert (examination.findings, [path.exists() for path in live]) == ((), [True, True, True])
    assert "locks/first.lock is held" in examination.passed_over[0]
    sessions.close()
    assert [finding.kind for finding in examine(place, fix=True).findings] == ["scratch", "scratch", "torn cache entry"]


@pytest.mark.usefixtures("unmirrored")
def test_a_session_that_begins_between_two_mends_keeps_what_is_left(
    place: Workspace, sessions: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    search(place, trials=1)
    for name in (".probe-1", ".probe-2", ".probe-3"):
        (place.path / name).touch()
    treated = Finding.treated

    def mend(self: Finding) -> Finding:
        done = treated(self)
        if not is_driven(place.lock("tiny")):
            sessions.enter_context(driving(place.lock("tiny"), "tiny"))
        return done

    monkeypatch.setattr(Finding, "treated", mend)
    examination = examine(place, fix=True)
    assert [finding.where for finding in examination.findings] == [str(place.path / ".probe-1")]
    assert sorted(path.name for path in place.path.glob(".probe-*")) == [".probe-2", ".probe-3"]
    assert "locks/tiny.lock is held" in examination.passed_over[0]


@pytest.mark.usefixtures("unmirrored")
def test_a_study_that_began_and_ended_meanwhile_is_none_of_no_study(
    place: Workspace, after: Callable[..., None]
) -> None:
    search(place, trials=1)
    after("_of_study", "tiny", lambda: begin(place, "new"))
    examination = examine(place, fix=True)
    assert examination.findings == ()
    assert [path.name for path in place.trial("new", 0).glob("*.ckpt")] == ["epoch-0001.ckpt"]


@pytest.mark.usefixtures("unmirrored")
@pytest.mark.parametrize("driven", [True, False])
def test_checkpoints_of_a_study_that_begins_before_they_are_deleted_stay(
    place: Workspace, sessions: ExitStack, monkeypatch: pytest.MonkeyPatch, driven: bool
) -> None:
    """An interrupted study whose ledger was away goes on, at the last moment, and may have ended again."""
    search(place, trials=1)
    note_ledger(place, "gone")
    checkpoint(place.trial("gone", 0), 1)
    treated = Finding.treated

    def mend(self: Finding) -> Finding:
        if driven:  # by a ledger elsewhere
            sessions.enter_context(driving(place.lock("gone"), "gone"))
        else:
            begin(place, "gone")
        return treated(self)

    monkeypatch.setattr(Finding, "treated", mend)
    [finding] = examine(place, fix=True).findings
    assert (finding.kind, finding.mended) == ("checkpoints of no study", False)
    assert ("being driven already" if driven else "has the study 'gone' by now") in str(finding.problem)
    assert len([*place.trial("gone", 0).glob("*.ckpt")]) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("unmirrored")
def test_runs_of_a_study_that_somebody_drives_or_has_stay(
    place: Workspace, sessions: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The study is gone from the ledger as the doctor looks."""
    search(place, trials=1)
    identity = search(place, "gone", trials=1).identity
    sync(place, "gone")
    runs = mirror_of(place, "gone", identity).runs
    run = runs.runs()[0].id
    runs.client.update_run(run, status="RUNNING")
    ledger = place.path / "ledger.db"
    kept = ledger.read_bytes()
    optuna.delete_study(study_name="gone", storage=place.ledger_url)
    for path in place.checkpoints("gone").rglob("*.ckpt"):
        path.unlink()

    def drive() -> None:
        sessions.enter_context(driving(place.lock("gone"), "gone"))

    def problems(meanwhile: Callable[[], object]) -> list[str]:
        treated = Finding.treated

        def mend(self: Finding) -> Finding:
            meanwhile()
            return treated(self)

        with monkeypatch.context() as patch:
            patch.setattr(Finding, "treated", mend)
            found = examine(place, fix=True).findings
        now = runs.client.get_run(run)
        assert (now.info.status, now.data.tags[STATE]) == ("RUNNING", "complete")
        return [str(finding.problem) for finding in found]

    drive()
    assert problems(lambda: None) == []
    sessions.close()
    [problem] = problems(drive)
    assert "'gone' is being driven already" in problem
    sessions.close()
    [problem] = problems(lambda: ledger.write_bytes(kept))
    assert "a ledger has the study 'gone' by now" in problem


def test_a_promotion_that_begins_as_the_doctor_asks_is_not_refused(place: Workspace) -> None:
    """To ask whether a lock is held is to hold it for a moment."""
    asked = FileLock(place.path / "locks" / "promote-tiny.lock", thread_local=False)
    asked.acquire()
    answered = Timer(0.2, asked.release)
    answered.start()
    with alone(place, "tiny"):
        assert not asked.is_locked
        [line, _] = examine(place, fix=True).passed_over
        assert "promote-tiny.lock is held" in line
    answered.join()


@pytest.mark.usefixtures("unmirrored")
def test_a_ledger_that_another_program_holds_is_not_called_damaged(
    place: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    search(place, trials=1)
    monkeypatch.setattr("search.busy.SECONDS", 0.1)
    with closing(sqlite3.connect(place.path / "ledger.db", isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LedgerAccessError, match=r"cannot read the ledger: .*locked\. Another program holds"):
            examine(place, fix=True)
        assert main(["doctor", "--workspace", str(place.path)]) == 1
        assert "restore" not in capsys.readouterr().err
        holder.execute("ROLLBACK")
    assert examine(place).clean
