"""Every state file of ours, cut short at random offsets: mended, or answered by an error that says which file it is.

Nothing may be lost in silence: where what was cut held something that stands nowhere else, somebody is told.
"""

import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cuts import cuts
from fake_training import FakeTraining, make_data, make_space

from lesion.checkpoints import load_latest, save, saved
from lesion.data.packed import PackedDataset
from lesion.errors import DataError
from lesion.footprint import Footprint
from lesion.rules import Rules
from search import evidence, run_study
from search.doctor import examine
from search.errors import LedgerError
from search.fence import NOTE, SupersededError, raise_fence, require_latest
from search.identity import Identity
from search.ledger import Ending, Ledger, open_ledger
from search.locks import driving, is_driven
from search.mirror import epoch_of, mirror_of
from search.predictions import load_predictions, save_predictions
from search.probes import Key, Probes
from search.spool import Spool
from search.study import identity_of, studies, study_status
from search.trial import Job, Order, TrialRun
from search.unchanged import Unchanged
from search.workspace import Workspace, open_workspace

IDENTITY = Identity("tiny", "d1", "holdout", "s1", "mean_auc", "maximize", {"objective": "mean_auc", "epochs": 3})


FOOTPRINT = Footprint(10**9, 0, 12.5, 1.0)


class Line:
    def sample(self, trial: Any) -> dict[str, Any]:
        return {"optimizer.adamw.lr": trial.suggest_float("optimizer.adamw.lr", 0.001, 0.002), "image_size": 32}


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path / "workspace")


def searched(place: Workspace, trials: int = 3, identity: Identity = IDENTITY) -> Ledger:
    ledger = open_ledger(place.ledger_url, "tiny", identity, 7)
    for _ in range(trials):
        row = ledger.ask(Line())
        ledger.begin(row.number)
        ledger.report(row.number, 1, 0.25)
        ledger.finish(row.number, Ending("complete", 2, 0.5))
    return ledger


@pytest.mark.slow
def test_ledger(place: Workspace) -> None:
    """A database that was cut is refused in words, or has all its rows still; the doctor says which page is gone.

    Nor does `run` begin the study anew in what is left of the file.
    """
    make_data(place.path)
    space = make_space(place.path, trials=4)
    identity = identity_of(space, PackedDataset.open(place.data / "tiny"))
    before = [asdict(row) for row in searched(place, identity=identity).rows()]
    save({"epoch": 2}, place.trial("tiny", 0))
    path = place.path / "ledger.db"
    refused = 0
    for offset in cuts(path, 25):
        try:
            rows = [asdict(row) for row in study_status(place, "tiny").rows]
        except LedgerError:
            refused += 1
            [finding] = examine(place).findings
            assert finding.kind == "damaged ledger", offset
            left = path.read_bytes()
            with pytest.raises(LedgerError):
                run_study(space, place, build=FakeTraining)
            assert path.read_bytes() == left, offset
        else:
            assert rows == before, offset
    assert refused > 20
    (place.path / "ledger.db").write_bytes(b"")
    shutil.rmtree(place.checkpoints("tiny"))
    assert studies(place) == []  # with nothing beside it, it is a new workspace's


def test_ledger_with_a_hot_journal(place: Workspace, tmp_path: Path) -> None:
    """A driver that died in the middle of a write leaves a journal, by which SQLite undoes it."""
    before = [asdict(row) for row in searched(place).rows()]
    path = place.path / "ledger.db"
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA cache_size = 1")  # has pages written before the end
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE trial_user_attributes SET value_json = value_json || ' '")
    for number in range(400):
        writer.execute("INSERT INTO studies (study_name) VALUES (?)", (f"filler {number} {'x' * 400}",))
    copy = tmp_path / "torn"
    shutil.copytree(place.path, copy)
    writer.execute("ROLLBACK")
    writer.close()
    assert (copy / "ledger.db-journal").stat().st_size > 0
    assert [asdict(row) for row in study_status(Workspace(copy), "tiny").rows] == before


def test_spool(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "tiny.jsonl")
    told = [epoch_of(0, epoch, {"mean_auc": 0.5}) for epoch in range(1, 6)]
    for event in told:
        spool.append(event)
    for _ in cuts(spool.path, 60):
        events = spool.events()
        assert events == told[: len(events)]
        assert len(told) - len(events) <= 5
        assert len(events) >= spool.path.read_bytes().count(b"\n")


def test_predictions(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.doctor.of_spool", lambda *arguments: ())
    monkeypatch.setattr("search.doctor.of_runs", lambda *arguments: ())
    searched(place, 1)
    path = place.trial("tiny", 0) / "predictions.npz"
    save({"epoch": 2}, path.parent)
    save_predictions(path, np.full((5, 3), 1 / 3), {"epoch": 2, "value": 0.5})
    whole = examine(place)
    assert whole.clean
    for offset in cuts(path, 6):
        [finding] = examine(place).findings
        assert (finding.kind, finding.where) == ("lost predictions", str(path)), offset
    assert load_predictions(path)[1:] == (2, 0.5)


def test_test_probabilities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the one look at the test part gave: never read as others, and the error says what to do."""
    data: Any = PackedDataset.open(make_data(tmp_path))
    whole = np.random.default_rng(0).dirichlet(np.ones(3), 7)

    class Model:
        def predict(self, images: Any, table: Any) -> Any:
            return whole

    monkeypatch.setattr("search.evidence.replace", lambda model, **changes: model)
    model: Any = Model()
    assert np.array_equal(evidence.tested(model, data, tmp_path / "reports", "c0ffee" * 4, "the part"), whole)
    [path] = (tmp_path / "reports").glob("*.npy")
    for offset in cuts(path, 25):
        with pytest.raises(DataError, match=r"is damaged: .*delete it and promote again") as caught:
            evidence.tested(model, data, tmp_path / "reports", "c0ffee" * 4, "the part")
        assert str(path) in str(caught.value), offset
    np.save(path, whole[:5])  # whole, and of another part
    with pytest.raises(DataError, match=r"holds \(5, 3\), not 7 images of 3 classes"):
        evidence.tested(model, data, tmp_path / "reports", "c0ffee" * 4, "the part")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["per_image.csv", "evaluation.json", "table.csv", "digests.json"])
def test_evidence_of_a_promotion(tmp_path: Path, name: str) -> None:
    """A table that was cut is a table still, with a row less or with a shorter last number."""
    data = PackedDataset.open(make_data(tmp_path))
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), 7)
    part = evidence.candidate(data, probabilities, Rules())
    status: Any = SimpleNamespace(identity=IDENTITY)
    best = SimpleNamespace(value=0.5, low=0.4, high=0.6)
    selection: Any = SimpleNamespace(best=best, standard_error=0.1, source="search", steps=(), rows=())
    evidence.write(tmp_path / "kept", part, part, status, selection)
    folder = tmp_path / "kept" / "test"
    for offset in cuts(folder / name, 6):
        with pytest.raises((ValueError, KeyError)):
            evidence.read(folder)
        assert offset >= 0
    again = evidence.read(folder)
    assert np.array_equal(again.evaluation.probabilities, part.evaluation.probabilities)


def test_footprints(tmp_path: Path) -> None:
    """Measured again."""
    measured: list[Any] = []

    def measure(key: Any) -> Footprint:
        measured.append(key)
        return FOOTPRINT

    key = Key("resnet18", 32, 8)
    assert Probes(tmp_path, "cpu", measure).probe([key]) == [FOOTPRINT]
    [path] = tmp_path.iterdir()
    count = 1
    content = path.read_bytes()
    for offset in cuts(path, 12):
        assert Probes(tmp_path, "cpu", measure).probe([key]) == [FOOTPRINT], offset
        count += 1
        assert len(measured) == count, offset
        assert path.read_bytes() == content, offset
    assert Probes(tmp_path, "cpu", measure).probe([key]) == [FOOTPRINT]
    assert len(measured) == count


def test_note_of_what_was_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is read again, and a label that was changed meanwhile is found."""
    data = PackedDataset.open(make_data(tmp_path))
    verified: list[Any] = []
    verify = PackedDataset.verify
    monkeypatch.setattr(PackedDataset, "verify", lambda self: (verified.append(self), verify(self)))
    Unchanged(data, tmp_path / "cache").verify()
    [path] = (tmp_path / "cache").glob("verified-*.json")
    for count, offset in enumerate(cuts(path, 12), 2):
        Unchanged(data, tmp_path / "cache").verify()
        assert len(verified) == count, offset
    Unchanged(data, tmp_path / "cache").verify()
    assert len(verified) == count


def test_what_mlflow_refused(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole lines are kept; that one is torn is said, and mended by what the ledger has."""
    monkeypatch.setattr("search.doctor.of_runs", lambda *arguments: ())
    monkeypatch.setattr("search.doctor.runs._sync", lambda *arguments: lambda: None)
    ledger = searched(place, 1)
    rejected = mirror_of(place, "tiny", ledger.identity).rejected
    for number in range(3):
        rejected.append({"trial": number, "error": "bad name", "tags": {"note": "x"}})
    for offset in cuts(rejected.path, 4):
        found = [finding for finding in examine(place).findings if finding.kind == "rejected events"]
        lines = [line for line in rejected.path.read_bytes().split(b"\n") if line]
        assert len(found) == (1 if lines else 0), offset
        assert all(f"MLflow refused {len(lines)} events" in finding.found for finding in found), offset


@pytest.mark.parametrize("latest", [True, False])
def test_checkpoint(tmp_path: Path, latest: bool) -> None:
    """The one before it, or none, is loaded instead, and that is said."""
    for epoch in (1, 2):
        save({"epoch": epoch, "training": {"weights": list(range(50))}}, tmp_path)
    path = saved(tmp_path)[-1 if latest else 0]
    for _ in cuts(path, 40):
        state, passed_over = load_latest(tmp_path)
        assert state is not None
        assert state["epoch"] == (1 if latest else 2)
        assert [str(path) in text for text in passed_over] == ([True] if latest else [])


def test_checkpoint_of_a_trial(place: Workspace) -> None:
    """A trial whose checkpoints are all cut begins again, comes to the same values, and the record says why."""
    job = Job("tiny", "key", Path(), None, "mean_auc", 3, place.checkpoints("tiny"), FakeTraining)
    order = Order(0, 5, {"optimizer.adamw.lr": 0.001})
    run = TrialRun(job, order)
    values = [run.step()["value"] for _ in range(2)]
    for path in saved(run.folder):
        path.write_bytes(path.read_bytes()[:100])
    again = TrialRun(job, Order(0, 5, order.settings, reported=2))
    told = [again.step() for _ in range(3)]
    assert [record["value"] for record in told[:2]] == values
    assert [record["epoch"] for record in told] == [1, 2, 3]
    assert "checksum" in told[0]["damage"]


def test_note_of_the_latest_attempt(place: Workspace) -> None:
    """Cut short it names nobody, whichever attempt looks; whole, it keeps all others out."""
    job = Job("tiny", "key", Path(), None, "mean_auc", 60, place.checkpoints("tiny"), FakeTraining)
    folder, attempt = job.folder / "0", "12 of a1b2c3_00004"
    raise_fence(folder, attempt)
    run = TrialRun(job, Order(0, 5, {"optimizer.adamw.lr": 0.001}, attempt=attempt))
    epochs = 0
    for offset in cuts(folder / NOTE, 12):
        told, epochs = run.step(), epochs + 1
        assert (told["epoch"], told.get("superseded")) == (epochs, None), offset
        require_latest(folder, "13 of a1b2c3_00004")  # nor is a shorter name taken for the whole one
    require_latest(folder, attempt)
    with pytest.raises(SupersededError, match=f"of attempt {attempt} by now, this is 1 of a"):
        require_latest(folder, "1 of a")


@pytest.mark.parametrize("name", ["manifest.json", "table.parquet", "images.npy"])
def test_packed_data(tmp_path: Path, name: str) -> None:
    folder = make_data(tmp_path)
    files = {path.name: path for path in folder.iterdir()}
    path = files[name]
    for offset in cuts(path, 12):
        with pytest.raises(DataError) as caught:
            PackedDataset.open(folder)
        assert str(folder) in str(caught.value), offset
    PackedDataset.open(folder)


@pytest.mark.parametrize("spoil", [lambda text: text[: len(text) // 2], lambda text: "", lambda text: "{}"])
def test_identity(place: Workspace, spoil: Callable[[str], str]) -> None:
    """The identity stands in the ledger; torn there, the study is refused, not begun anew over its rows."""
    ledger = searched(place, 1)
    stored = json.dumps(ledger.identity.to_json())
    with sqlite3.connect(place.path / "ledger.db") as connection:
        connection.execute("UPDATE study_user_attributes SET value_json = ? WHERE key = 'identity'", (spoil(stored),))
    connection.close()
    with pytest.raises(LedgerError, match="damaged"):
        open_ledger(place.ledger_url, "tiny", IDENTITY, 7)
    with pytest.raises(LedgerError, match="damaged"):
        study_status(place, "tiny")


def test_locks(place: Workspace) -> None:
    """The note beside a lock is a courtesy: torn, the second driver is told all the same that there is a first."""
    lock = place.lock("tiny")
    note = lock.with_suffix(".json")
    with driving(lock, "tiny"):
        for _ in cuts(note, 2):  # a second each: so long the first is waited for
            with pytest.raises(LedgerError, match="being driven already"), driving(lock, "tiny"):
                pass
    note.write_text('{"pid": 1')
    assert not is_driven(lock)
    with driving(lock, "tiny"):
        assert json.loads(note.read_text())["pid"] > 1
