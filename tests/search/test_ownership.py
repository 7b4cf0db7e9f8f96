"""Trials of several ledgers in one workspace: each session notes its own, and the doctor deletes nobody else's."""

import shutil
from pathlib import Path
from typing import Any

import optuna
import pytest
from examined_study import IDENTITY, checkpoint, search
from fake_training import FakeTraining, make_data, make_space

from lesion.data.packed import open_data
from search import ownership
from search.doctor import Finding, examine
from search.interrupts import Interrupts
from search.ledger import Ending, open_ledger
from search.mirror import mirror_of
from search.ownership import OWN, UNKNOWN, ledger_name, ledgers_of, note_ledger, note_of
from search.session import Plan, Session
from search.study import identity_of, sync
from search.trial import Job
from search.workspace import Workspace, open_workspace

SERVER = "postgresql+psycopg://me:secret@db.lab/lesions"


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path / "workspace")


@pytest.fixture
def elsewhere(tmp_path: Path) -> str:
    """A ledger that is not the workspace's."""
    return f"sqlite:///{tmp_path / 'elsewhere.db'}"


@pytest.fixture
def unmirrored(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what has nothing to do with MLflow, which takes seconds."""
    for name in ("of_spool", "of_runs", "of_promotions"):
        monkeypatch.setattr(f"search.doctor.{name}", lambda *arguments: ())


def use(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Have commands take the ledger at `url`; the workspace's own where it is empty."""
    monkeypatch.setenv("LESION_LEDGER", url)


def mended(place: Workspace) -> dict[str, bool]:
    """What ``doctor --fix`` finds, by the last two parts of where, and whether it mended it."""
    return {"/".join(Path(each.where).parts[-2:]): each.mended for each in examine(place, fix=True).findings}


def test_the_ledger_of_a_workspace_goes_by_no_path(
    place: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, "")
    assert ledger_name(place) == OWN
    open_ledger(place.ledger_url, "tiny", IDENTITY, 7)
    use(monkeypatch, f"sqlite:///{place.path / 'ledger.db'}")
    assert ledger_name(place) == OWN
    (tmp_path / "link.db").symlink_to(place.path / "ledger.db")
    use(monkeypatch, f"sqlite:///{tmp_path / 'link.db'}")
    assert ledger_name(place) == OWN
    assert ledger_name(Workspace(tmp_path / "another")) != OWN


def test_a_server_goes_by_where_it_is(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def name(url: str, machine: str = "here", **variables: str) -> str:
        with monkeypatch.context() as patch:
            patch.setenv("LESION_LEDGER", url)
            patch.setattr("platform.node", lambda: machine)
            for variable in ownership.WHERE.values():
                patch.delenv(variable, raising=False)
            for variable, value in variables.items():
                patch.setenv(variable, value)
            return ledger_name(place)

    usual = name(SERVER)
    same = [
        "postgresql+psycopg2://db.lab/lesions", "postgresql://you@db.lab:5432/lesions?sslmode=require",
        "postgresql:///lesions?host=db.lab",
    ]  # fmt: skip
    assert {name(url, machine) for url in same for machine in ("here", "there")} == {usual}
    assert name("postgresql://", PGHOST="db.lab", PGDATABASE="lesions") == usual
    others = [
        "postgresql://db.lab/others", "postgresql://db.lab:5433/lesions", "postgresql://db2.lab/lesions",
        "mysql://db.lab/lesions", "postgresql:///lesions", "postgresql://localhost/lesions",
        "postgresql:///lesions?host=/run/pg", "postgresql://a@db.lab", "postgresql://b@db.lab",
        "postgresql:///?service=lesions", "sqlite:////shared/lesions.db", "sqlite:////shared/others.db",
    ]  # fmt: skip
    names = [name(url) for url in others]
    assert len({usual, OWN, *names}) == len(others) + 2
    assert not any(word in "".join(names) for word in ("lab", "secret", "lesions"))
    # A socket, the loopback and a path are of one machine.
    of_here = [url for url in others if name(url) != name(url, "there")]
    assert of_here == [others[4], others[5], others[6], *others[9:]]


def test_ledgers_are_noted_one_beside_the_other(place: Workspace, elsewhere: str, monkeypatch: Any) -> None:
    assert ledgers_of(place, "tiny") == ()
    for url in ("", elsewhere, "", elsewhere):
        use(monkeypatch, url)
        note_ledger(place, "tiny")
    assert ledgers_of(place, "tiny") == (OWN, ledger_name(place))
    assert [path.name for path in place.checkpoints("tiny").iterdir()] == ["ledgers.json"]


def test_a_note_that_cannot_be_written_is_not_believed(
    place: Workspace, elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *parts: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("search.ownership.write_atomically", refuse)
        note_ledger(place, "tiny")
        assert ledgers_of(place, "tiny") == ()
    note_ledger(place, "tiny")
    use(monkeypatch, elsewhere)
    with monkeypatch.context() as patch:
        patch.setattr("search.ownership.write_atomically", refuse)
        note_ledger(place, "tiny")
        assert ledgers_of(place, "tiny") == (UNKNOWN,)
    note_ledger(place, "tiny")
    assert ledgers_of(place, "tiny") == (UNKNOWN, ledger_name(place))
    note_of(place, "tiny").write_text('{"own": 1}')
    assert ledgers_of(place, "tiny") == (UNKNOWN,)


@pytest.mark.parametrize("left", ["nothing", "checkpoints of its own", "checkpoints of another ledger"])
def test_a_session_notes_its_ledger_before_its_first_trial(tmp_path: Path, left: str) -> None:
    """Checkpoints that no note tells of are from before notes were made; they may be another ledger's."""
    make_data(tmp_path)
    place, space = open_workspace(tmp_path), make_space(tmp_path)
    identity = identity_of(space, open_data(tmp_path, "tiny"))
    ledger = open_ledger(place.ledger_url, "tiny", identity, 7)
    if left != "nothing":
        checkpoint(place.trial("tiny", 40), 1)
    if left == "checkpoints of its own":
        ledger.begin(ledger.ask(space).number)
        ledger.finish(0, Ending("complete", 3, 0.5), metrics={"mean_auc": 0.5})
    job = Job("tiny", "i", tmp_path, None, "mean_auc", 3, place.checkpoints("tiny"), FakeTraining)
    plan = Plan(place, space, identity, job, target=0)
    assert Session(plan, ledger, mirror_of(place, "tiny", identity), Interrupts()).run() == "complete"
    assert ledgers_of(place, "tiny") == ((UNKNOWN, OWN) if "another" in left else (OWN,))


@pytest.mark.usefixtures("unmirrored")
def test_checkpoints_of_another_ledger_stay(place: Workspace, elsewhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody forgot LESION_LEDGER, and the workspace has a ledger of its own."""
    search(place, trials=1)
    use(monkeypatch, elsewhere)
    for name in ("there", "there.finalists"):
        search(place, name, trials=1)
    use(monkeypatch, "")
    for name in ("gone", "earlier", "both"):
        if name != "earlier":  # whose session noted nothing
            note_ledger(place, name)
        checkpoint(place.trial(name, 0), 1)
    use(monkeypatch, elsewhere)
    note_ledger(place, "both")
    use(monkeypatch, "")
    expected = dict.fromkeys(("both", "earlier", "there", "there.finalists"), False)
    found = examine(place, fix=True).findings
    assert {Path(each.where).name: each.mended for each in found} == {**expected, "gone": True}
    assert all("LESION_LEDGER" in each.remedy for each in found if not each.mended)
    assert [Path(each.where).name for each in examine(place).findings] == [*expected]
    assert len([*place.path.glob("checkpoints/*/0/*.ckpt")]) == 8
    assert not [*place.checkpoints("gone").rglob("*.ckpt")]


@pytest.mark.usefixtures("unmirrored")
def test_a_workspace_that_moved_has_its_ledger_with_it(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    search(place, trials=1)
    search(place, "gone", trials=1)
    optuna.delete_study(study_name="gone", storage=place.ledger_url)
    moved = Workspace(place.path.with_name("moved"))
    shutil.move(place.path, moved.path)
    assert mended(moved) == {"checkpoints/gone": True}


@pytest.mark.usefixtures("unmirrored")
def test_checkpoints_of_no_trial_stay_where_another_ledger_has_the_study_too(
    place: Workspace, elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    search(place, trials=1)
    checkpoint(place.trial("tiny", 3), 1)
    assert mended(place) == {"tiny/3": True}
    use(monkeypatch, elsewhere)
    search(place, trials=2)
    use(monkeypatch, "")
    assert mended(place) == {"tiny/1": False}
    assert len([*place.trial("tiny", 1).glob("*.ckpt")]) == 2


@pytest.mark.usefixtures("unmirrored")
def test_what_another_ledger_drives_at_the_last_moment_stays(
    place: Workspace, elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    search(place, trials=1)
    note_ledger(place, "gone")
    checkpoint(place.trial("gone", 0), 1)
    treated = Finding.treated

    def mend(self: Finding) -> Finding:
        with monkeypatch.context() as patch:
            patch.setenv("LESION_LEDGER", elsewhere)
            note_ledger(place, "gone")  # and its session is over
        return treated(self)

    monkeypatch.setattr(Finding, "treated", mend)
    [finding] = examine(place, fix=True).findings
    assert "a ledger has the study 'gone' by now" in str(finding.problem)
    assert len([*place.trial("gone", 0).glob("*.ckpt")]) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("unmirrored")
def test_runs_of_another_ledger_stay(place: Workspace, elsewhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also under the name of a study that this ledger has, and where a tag was changed to no study's name."""
    search(place, "both", trials=1)
    use(monkeypatch, elsewhere)
    identity = search(place, "both", trials=1).identity
    sync(place, "both")
    runs = mirror_of(place, "both", identity).runs
    [study, trial] = [run.id for _, run in sorted(runs.runs().items())]
    runs.client.update_run(trial, status="RUNNING")
    runs.client.set_tag(study, "lesion.study", "../x")
    use(monkeypatch, "")
    found = examine(place, fix=True).findings
    assert [(finding.kind, finding.mended) for finding in found] == 2 * [("runs of no study", False)]
    told = [runs.client.get_run(run) for run in (study, trial)]
    assert [run.info.status for run in told] == ["FINISHED", "RUNNING"]
    assert {run.data.tags["lesion.state"] for run in told} == {"complete"}
