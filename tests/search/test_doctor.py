"""The doctor in a workspace where everything is broken that can be: each thing is found once, mended, and gone."""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from examined_study import IDENTITY, Line, checkpoint, search

from lesion.footprint import Footprint
from search import mirror as mirrored
from search.cli import main
from search.doctor import examine
from search.errors import LedgerError, WorkspaceError
from search.ledger import Ending, open_ledger
from search.locks import driving
from search.mirror import mirror_of
from search.ownership import note_ledger
from search.probes import Key, Probes
from search.study import study_status, sync
from search.tracking import Change
from search.workspace import Workspace, open_workspace


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path / "workspace")


@pytest.fixture
def unmirrored(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what has nothing to do with MLflow, which takes seconds."""
    monkeypatch.setattr("search.doctor.of_spool", lambda *arguments: ())
    monkeypatch.setattr("search.doctor.of_runs", lambda *arguments: ())


def kinds(place: Workspace, **options: Any) -> list[str]:
    return [finding.kind for finding in examine(place, **options).findings]


def require_mended(place: Workspace, *expected: str) -> None:
    """The findings are found, found again, mended, and then there are none."""
    assert kinds(place) == list(expected) == kinds(place)
    mended = examine(place, fix=True)
    assert [finding.kind for finding in mended.findings] == list(expected)
    assert mended.clean, [finding.problem for finding in mended.findings]
    assert kinds(place) == []


def in_order(cache: Path) -> None:
    """What trials share, as they leave it: notes, draws, locks, and folders of footprints and of feature maps."""
    from lesion.embeddings import cached_maps

    Probes(cache / "footprints", "cpu", lambda key: Footprint(1, 0, 1.0, 1.0)).probe([Key("resnet18", 64, 32)])
    photos, pool = np.zeros((2, 8, 8, 3), np.uint8), torch.nn.AdaptiveAvgPool2d(1)
    cached_maps(pool, "0123-view0", photos, cache / "features", image_size=8, device=torch.device("cpu"))
    (cache / "verified-0123.json").write_text("[]")
    np.savez(cache / "draws-1.npz", row=np.zeros(2))
    (cache / ".1.lock").touch()


@pytest.mark.usefixtures("unmirrored")
def test_a_workspace_in_order_has_no_findings_and_says_what_fills_the_disk(place: Workspace) -> None:
    search(place)
    in_order(place.cache)
    cached = [*place.cache.rglob("*")]
    examination = examine(place, fix=True)
    assert [*place.cache.rglob("*")] == cached
    assert (examination.findings, examination.clean, examination.passed_over) == ((), True, ())
    usage = {each.kind: each for each in examination.usage}
    assert usage["checkpoints"].size == sum(p.stat().st_size for p in (place.path / "checkpoints").rglob("*.*"))
    assert usage["ledger.db"].size > 0


@pytest.mark.slow
@pytest.mark.usefixtures("unmirrored")
def test_rows_that_no_driver_ends(place: Workspace) -> None:
    ledger = search(place, trials=1)
    for _ in range(3):
        ledger.ask(Line())
    for number in (1, 2, 3):
        ledger.report(number, 1, 0.1)
        ledger.begin(number)
    ledger.let_go([3])  # Ctrl-C: nothing is wrong with it
    ledger.note(2, verdict=vars(Ending("pruned", 1, 0.1)))  # as earlier versions left it when they died just then
    require_mended(place, "zombie row", "half-ended row")
    rows = study_status(place, "tiny").rows
    assert [row.state for row in rows] == ["complete", "running", "pruned", "running"]
    assert [row.number for row in open_ledger(place.ledger_url, "tiny", IDENTITY, 7).reconcile()] == [1, 3]
    assert open_ledger(place.ledger_url, "tiny", IDENTITY, 7).row(1).losses == 1  # counted once, not once a look


@pytest.mark.slow
@pytest.mark.usefixtures("unmirrored")
def test_files_that_crashes_leave(place: Workspace) -> None:
    search(place)
    folder = place.checkpoints("tiny")
    (folder / "0" / ".epoch-0003.ckpt.77.partial").write_bytes(b"half")
    (folder / "1" / ".predictions.npz.77ab.partial").write_bytes(b"half")
    with (folder / "1" / "epoch-0001.ckpt").open("r+b") as file:
        file.truncate(40)
    checkpoint(folder / "7", 1)
    (folder / "7" / "predictions.npz").write_bytes(b"kept")
    place.lock("tiny").with_suffix(".json").write_text('{"pid": 1, "host": "here", "since": "then"}')
    (place.ray / "session-1").mkdir()
    (place.ray / "session-1" / "log").write_text("long")
    in_order(place.cache)
    sound = {path for path in place.cache.rglob("*") if path.is_file()} - {place.cache / "draws-1.npz"}
    cached = place.cache / "features" / "0123-view1"
    cached.mkdir()
    (cached / "maps.npy").write_bytes(b"\x93NUMPY")
    (cached / "manifest.json").write_text("{}")
    (place.cache / "features" / "0123-view2").mkdir()
    (place.cache / "features" / "0123-view2" / "manifest.json").write_text("{}")
    (place.cache / "features" / ".0123-view3.partial").mkdir()
    (place.cache / "draws-1.npz").write_bytes(b"PK")
    (place.cache / "footprints" / "0123.json").write_text('{"host_by')
    require_mended(
        place, "stale lock", *2 * ["half-written file"], "checkpoint of no trial", "damaged checkpoint", "scratch",
        *5 * ["torn cache entry"],
    )  # fmt: skip
    assert {path for path in place.cache.rglob("*") if path.is_file()} == sound
    assert (folder / "7" / "predictions.npz").exists()
    assert sorted(path.name for path in (folder / "1").iterdir()) == ["epoch-0002.ckpt", "predictions.npz"]


@pytest.mark.usefixtures("unmirrored")
def test_what_is_left_beside_the_studies(place: Workspace) -> None:
    search(place, trials=1)
    report = place.reports / "tiny" / "promotion-0a" / "test" / "table.csv"
    report.parent.mkdir(parents=True)
    report.write_text("kept")
    half, young = report.with_name(".table.csv.77ab.partial"), report.with_name(".digests.json.77ab.partial")
    half.write_bytes(b"half")
    young.write_bytes(b"half")
    an_hour_ago = time.time() - 3600
    os.utime(half, (an_hour_ago, an_hour_ago))
    asked = place.path / ".reach-0123"
    asked.mkdir()
    (asked / "token").write_text("0123")
    (place.path / ".probe-77").write_bytes(b"0")
    (place.path / ".somebody-else-s").mkdir()
    (place.cache / "footprints").mkdir()
    (place.cache / "footprints" / ".0123.json.77").write_text("{")  # of earlier versions
    (place.cache / "footprints" / ".0123.json.77ab.partial").write_text("{")
    require_mended(place, *2 * ["scratch"], "half-written file", *2 * ["torn cache entry"])
    assert (asked.exists(), half.exists(), [*(place.cache / "footprints").iterdir()]) == (False, False, [])
    assert (report.read_text(), young.exists(), (place.path / ".somebody-else-s").exists()) == ("kept", True, True)


@pytest.mark.slow
@pytest.mark.usefixtures("unmirrored")
def test_a_checkpoint_that_the_storage_does_not_give_is_not_deleted(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    search(place, trials=1)
    [first, last] = sorted(place.trial("tiny", 0).glob("*.ckpt"))
    opens = Path.open

    def refuse(self: Path, *arguments: Any, **options: Any) -> Any:
        if self == last:
            raise OSError(5, "Input/output error")
        return opens(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    assert kinds(place, fix=True) == ["unreadable checkpoint"]
    assert first.exists()
    assert last.exists()


@pytest.mark.slow
@pytest.mark.usefixtures("unmirrored")
def test_what_only_a_person_can_mend_stays_and_is_said(place: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    search(place)
    folder = place.checkpoints("tiny")
    for path in (folder / "0").glob("epoch-*"):
        path.unlink()
    (folder / "1" / "predictions.npz").write_bytes(b"PK")
    assert kinds(place, fix=True) == ["lost checkpoint", "lost predictions"]
    arguments = ["doctor", "tiny", "--fix", "--workspace", str(place.path)]
    assert main(arguments) == 1
    shown = capsys.readouterr().out
    for words in ("lost checkpoint", "promotion passes over", "(by hand)", "0 mended, 2 left", "disk use"):
        assert words in shown
    assert main([*arguments, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [finding["kind"] for finding in told["findings"]] == ["lost checkpoint", "lost predictions"]
    assert told["clean"] is False


@pytest.mark.usefixtures("unmirrored")
def test_a_study_that_is_driven_is_passed_over(place: Workspace) -> None:
    ledger = search(place)
    ledger.ask(Line())
    ledger.begin(2)
    with driving(place.lock("tiny"), "tiny"):
        for fix in (False, True):
            examination = examine(place, fix=fix)
            assert examination.findings == ()
            assert "driven" in examination.passed_over[0]
    assert kinds(place) == ["zombie row"]


@pytest.mark.usefixtures("unmirrored")
def test_scratch_of_a_session_on_another_ledger_is_left_alone(place: Workspace) -> None:
    search(place)
    scratch = [place.ray / "other" / "session-1", place.path / ".reach-other"]
    for folder in scratch:
        folder.mkdir(parents=True)
    with driving(place.lock("other"), "other"):
        examination = examine(place, fix=True)
    assert examination.findings == ()
    assert "locks/other.lock is held" in examination.passed_over[0]
    assert all(folder.is_dir() for folder in scratch)
    require_mended(place, "scratch", "scratch")


@pytest.mark.usefixtures("unmirrored")
def test_checkpoints_of_a_study_that_is_not_there(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    search(place)
    for name in ("gone", "gone.finalists", "driven"):
        note_ledger(place, name)
        checkpoint(place.trial(name, 0), 1)
        (place.trial(name, 0) / "predictions.npz").write_bytes(b"kept")
    with driving(place.lock("driven"), "driven"):  # by another ledger
        [usage] = [each for each in examine(place).usage if each.kind == "checkpoints"]
        assert usage.free >= sum(path.stat().st_size for path in place.checkpoints("gone").rglob("*.ckpt"))
        assert "gone" in usage.how
        monkeypatch.setenv("LESION_LEDGER", f"sqlite:///{place.path / 'elsewhere.db'}")
        assert kinds(place, fix=True) == []  # in the workspace's own ledger they may be: nobody looked
        assert any("beside the ledger in use" in line for line in examine(place).passed_over)
        monkeypatch.delenv("LESION_LEDGER")
        require_mended(place, *2 * ["checkpoints of no study"])
    assert [path.parent.parent.name for path in (place.path / "checkpoints").glob("*/0/*.ckpt")].count("driven") == 1
    assert len([*place.path.glob("checkpoints/*/0/predictions.npz")]) == 4
    assert len([*place.checkpoints("tiny").rglob("*.ckpt")]) == 4


@pytest.mark.usefixtures("unmirrored")
def test_nothing_is_deleted_where_the_ledger_may_be_elsewhere(place: Workspace) -> None:
    """Somebody forgot LESION_LEDGER: to this ledger, which is not even there, all studies are gone."""
    checkpoint(place.trial("tiny", 0), 1)
    [finding] = examine(place, fix=True).findings
    assert (finding.kind, finding.mended, "LESION_LEDGER" in finding.remedy) == ("checkpoints of no study", False, True)
    assert len([*place.checkpoints("tiny").rglob("*.ckpt")]) == 1


@pytest.mark.usefixtures("unmirrored")
def test_a_folder_that_no_study_can_be_called_is_told_and_left(place: Workspace) -> None:
    """Somebody copied one with a file manager."""
    search(place)
    copy = place.path / "checkpoints" / "tiny (backup)"
    shutil.copytree(place.checkpoints("tiny"), copy)
    [finding] = examine(place, fix=True).findings
    assert (finding.kind, finding.where, finding.mended) == ("checkpoints of no study", str(copy), False)
    assert "no study can be called that" in finding.found
    assert len([*copy.rglob("*.ckpt")]) == 4


@pytest.mark.slow
def test_runs_of_a_study_whose_ledger_is_gone(place: Workspace) -> None:
    for name in ("tiny", "gone"):
        search(place, name)
        sync(place, name)
    ledger = place.path / "ledger.db"
    kept = ledger.read_bytes()
    optuna.delete_study(study_name="gone", storage=place.ledger_url)
    for path in place.checkpoints("gone").rglob("*.ckpt"):
        path.unlink()
    runs = mirror_of(place, "gone", IDENTITY).runs
    found = {run.data.tags.get("lesion.trial"): run.info.run_id for run in runs._search()}
    runs.client.update_run(found["1"], status="RUNNING")
    [finding] = examine(place).findings
    assert (finding.kind, finding.found[:25]) == ("runs of no study", "3 runs, 1 of them RUNNING")
    require_mended(place, "runs of no study")
    told = {number: runs.client.get_run(run_id) for number, run_id in found.items()}
    assert {run.data.tags["lesion.state"] for run in told.values()} == {"lost"}
    assert {number: run.info.status for number, run in told.items()} == {
        None: "FINISHED", "0": "FINISHED", "1": "KILLED",
    }  # fmt: skip
    assert told["0"].data.metrics["mean_auc"] == 0.2
    ledger.write_bytes(kept)  # it comes back
    assert kinds(place, study="gone", fix=True)[-1] == "runs behind"
    assert {runs.client.get_run(run_id).data.tags["lesion.state"] for run_id in found.values()} == {"complete"}
    shutil.rmtree(place.path / "checkpoints")
    ledger.unlink()  # all is gone, or LESION_LEDGER was forgotten: nobody marks anything
    assert [finding.mended for finding in examine(place, fix=True).findings] == [False, False]


@pytest.mark.usefixtures("unmirrored")
def test_what_was_done_is_printed(place: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    search(place)
    note = place.lock("tiny").with_suffix(".json")
    note.write_text('{"pid": 1, "host": "here", "since": "then"}')
    half = place.trial("tiny", 0) / ".epoch-0003.ckpt.77.partial"
    half.write_bytes(b"half")
    arguments = ["doctor", "--workspace", str(place.path)]
    assert main(arguments) == 1
    before = " ".join(capsys.readouterr().out.split())
    assert ("remedy delete the note" in before, "did" in before.split()) == (True, False)
    assert "2 to mend" in before
    assert main([*arguments, "--fix"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for words in ("stale lock:", "did delete the note", "half-written file:", "did delete it", "2 mended, 0 left"):
        assert words in shown
    assert "remedy" not in shown.split()
    assert not note.exists()
    assert not half.exists()
    assert main(arguments) == 0
    assert "nothing to mend" in capsys.readouterr().out


def test_what_is_not_there_is_named(place: Workspace, tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="no study 'tiny'"):
        examine(place, "tiny")
    with pytest.raises(WorkspaceError, match="no workspace"):
        examine(tmp_path / "nowhere")
    assert examine(place).clean


def test_a_damaged_ledger_is_found(place: Workspace) -> None:
    search(place)
    path = place.path / "ledger.db"
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 5] = bytes(8192)
    path.write_bytes(content)
    [finding] = examine(place, fix=True).findings
    assert (finding.kind, finding.mended) == ("damaged ledger", False)


@pytest.mark.slow
def test_runs_that_crashes_leave(place: Workspace) -> None:
    ledger = search(place)
    assert kinds(place) == ["runs behind"]
    assert not (place.path / "mlflow.db").exists()  # looking makes nothing
    assert kinds(place, fix=True) == ["runs behind"]
    assert kinds(place) == []

    row = ledger.ask(Line())  # its driver is killed after two epochs, one of which MLflow has seen
    ledger.begin(2)
    ledger.report(2, 1, 0.1)
    runs = mirror_of(place, "tiny", ledger.identity).runs
    now = int(time.time() * 1000)
    for _ in range(2):  # a server that made it twice
        runs._create(2, Change({}, {"lesion.state": "running"}, state="running", time=now))
        runs.forget()
    runs._create(9, Change({}, {"lesion.state": "running"}, state="running", time=now))
    mirror_of(place, "tiny", ledger.identity).spool.append(mirrored.epoch_of(2, 1, {"mean_auc": 0.1, "ece": 0.5}))
    spool = mirror_of(place, "tiny", ledger.identity)
    spool.rejected.append({"trial": 0, "error": "too long", **vars(Change({"note": "short"}, {}, {1: (now, {})}))})
    # Refused with its end: all that matters is told, and the run is RUNNING.
    spool.rejected.append({"trial": 1, "error": "bad name", **vars(Change(tags={"lesion.state": "running"}, time=now))})
    runs.client.update_run(runs.runs()[1].id, status="RUNNING")
    other = place.spool / f"tiny.{'a' * 32}.jsonl"
    other.write_text("{}\n")
    expected = ["zombie row", "events wait", "rejected events", "spool of a lost ledger"]
    found = kinds(place)
    assert found == [*expected, "doubled run", "run without a row", "zombie run"], found
    mended = examine(place, fix=True)
    assert [finding.kind for finding in mended.findings if not finding.mended] == ["spool of a lost ledger"]
    other.unlink()
    assert kinds(place) == []
    runs = mirror_of(place, "tiny", ledger.identity).runs
    assert {number: run.status for number, run in runs.runs().items() if number >= 0} == {
        0: "FINISHED", 1: "FINISHED", 2: "KILLED",
    }  # fmt: skip
    assert runs.client.get_run(runs.runs()[0].id).data.params["note"] == "short"
    told = runs.client.get_metric_history(runs.runs()[2].id, "ece")
    assert [metric.value for metric in told] == [0.5]
    assert row.number == 2


def test_mlflow_that_is_away_is_a_finding(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    search(place)
    monkeypatch.setattr("search.doctor.runs.SECONDS", 0.5)
    monkeypatch.setitem(os.environ, "MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    examination = examine(place)
    assert [finding.kind for finding in examination.findings] == ["MLflow away"]
    assert not examination.clean


@pytest.mark.slow
@pytest.mark.usefixtures("unmirrored")
def test_finalists_are_looked_at_with_their_study(place: Workspace) -> None:
    for name in ("tiny", "tiny.finalists", "tiny.finalists-folds", "other"):
        search(place, name, trials=1)
    for name in ("tiny.finalists-folds", "other"):
        ledger = open_ledger(place.ledger_url, name, IDENTITY, 7)
        ledger.ask(Line())
        ledger.begin(1)
    (place.trial("tiny.finalists", 0) / "predictions.partial").write_bytes(b"half")
    found = examine(place, "tiny", fix=True).findings
    assert [(finding.kind, finding.where.rpartition("/")[2]) for finding in found] == [
        ("half-written file", "predictions.partial"), ("zombie row", "tiny.finalists-folds trial 1"),
    ]  # fmt: skip
    assert kinds(place, study="tiny") == []
    assert kinds(place) == ["zombie row"]
