"""What the ledger tells MLflow by, cut short, or never written: the spool, and MLflow's own database.

The ledger tells it again, with the metrics that trials keep beside their checkpoints.
"""

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cuts import cuts
from drivers import WORKERS
from fake_training import FakeTraining, make_data, make_space
from played import EXIT, play
from whole import of_mlflow, require_whole

from search import mirror as mirrored
from search import run_study
from search.doctor import examine
from search.errors import MirrorError
from search.identity import Identity
from search.ledger import Ending, open_ledger
from search.mirror import mirror_of
from search.space import Asha
from search.study import study_status, sync
from search.tracking_client import client_of
from search.workspace import Workspace, open_workspace

IDENTITY = Identity("tiny", "d1", "holdout", "s1", "mean_auc", "maximize", {"objective": "mean_auc", "epochs": 3})
ASHA = "{asha: {grace: 1, reduction: 2}}"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


class Line:
    def sample(self, trial: Any) -> dict[str, Any]:
        return {"lr": trial.suggest_float("lr", 0.001, 0.002), "image_size": 32}


def searched_while_mlflow_was_away(place: Workspace, name: str, trials: int = 3) -> Path:
    """A study that has ended, and the spool with all that MLflow was to be told of it."""
    ledger = open_ledger(place.ledger_url, name, IDENTITY, 7)
    mirror = mirror_of(place, name, ledger.identity)  # its thread is never started
    for _ in range(trials):
        row = ledger.ask(Line())
        ledger.begin(row.number)
        mirror.put(mirrored.started(row, {}))
        for epoch in (1, 2, 3):
            metrics = {"mean_auc": epoch / 8, "ece": 0.25}
            mirror.put(mirrored.epoch_of(row.number, epoch, metrics))
            if epoch < 3:
                ledger.report(row.number, epoch, epoch / 8)
        ledger.finish(row.number, Ending("complete", 3, 0.375), metrics=metrics)
        mirror.put(mirrored.ended(ledger.row(row.number)))
    mirror.put(mirrored.study_event("complete", {}))
    return mirror.spool.path


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A database of MLflow's, which takes half a minute to make, and a blink to copy."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    client_of(f"sqlite:///{path}").create_experiment("another")
    return path.read_bytes()


def test_what_a_cut_took_from_the_spool_is_told_again_from_the_ledger(
    tmp_path: Path, database: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.study.show_all", lambda *arguments: "")
    place = open_workspace(tmp_path)
    (tmp_path / "mlflow.db").write_bytes(database)
    path = searched_while_mlflow_was_away(place, "tiny")
    for number, offset in enumerate(cuts(path, 3)):
        name = f"cut-{number}"  # a study of its own, whose runs nobody has told of
        spool = searched_while_mlflow_was_away(place, name)
        spool.write_bytes(spool.read_bytes()[:offset])
        sync(place, name)
        found = [*of_mlflow(place, study_status(place, name))]
        assert not found, (offset, found)
        assert not spool.exists()


def test_every_cut_through_the_database_of_mlflow_is_told(tmp_path: Path, database: bytes) -> None:
    """Or else what is left of it would be taken for a new one, or for all there was."""
    (tmp_path / "artifacts" / "1").mkdir(parents=True)
    path = tmp_path / "mlflow.db"
    path.write_bytes(database)
    for offset in cuts(path, 25):
        with pytest.raises(MirrorError, match=rf"{path} is damaged.*restore a copy of it; or delete it"):
            client_of(f"sqlite:///{path}")
        assert path.stat().st_size == offset
    assert client_of(f"sqlite:///{path}").get_experiment_by_name("another") is not None


def test_a_search_goes_on_while_the_database_of_mlflow_is_cut(
    tmp_path: Path, database: bytes, monkeypatch: pytest.MonkeyPatch, one_ray: None
) -> None:
    monkeypatch.setattr("search.study.show_all", lambda *arguments: "")
    make_data(tmp_path)
    path = tmp_path / "mlflow.db"
    path.write_bytes(database[: random.Random(0).randrange(len(database))])
    result = run_study(make_space(tmp_path, trials=2, epochs=3, scheduler=ASHA), tmp_path, build=FakeTraining)
    assert result.complete
    assert result.unmirrored > 0
    assert f"{path} is damaged" in str(result.mirror_problem)
    assert [finding.kind for finding in examine(tmp_path).findings] == ["events wait", "MLflow away"]
    path.write_bytes(database)
    sync(tmp_path, "tiny")
    require_whole(tmp_path, trials=2, epochs=3, asha=Asha(1, 2))


def curves(workspace: Path) -> dict[int, dict[str, list[tuple[int, float]]]]:
    """Every metric of every epoch in MLflow, by trial."""
    runs = mirror_of(Workspace(workspace), "tiny", study_status(workspace, "tiny").identity).runs
    told = {}
    for number, run in runs.runs().items():
        names = runs.client.get_run(run.id).data.metrics
        told[number] = {
            name: [(each.step, each.value) for each in runs.client.get_metric_history(run.id, name)] for name in names
        }
    return told


def test_a_driver_killed_between_ledger_and_spool_loses_no_metric(
    tmp_path: Path, database: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice: after an epoch of a trial that goes on, and after the last one of a trial."""
    for name in ("killed", "whole"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mlflow.db").write_bytes(database)
    command = [sys.executable, str(Path(__file__).with_name("played.py")), str(tmp_path / "killed"), "2", "3"]
    for where in (["epoch", "0", "2"], ["ended", "1", "3"]):
        died = subprocess.run([*command, *where], env={**os.environ, **WORKERS}, capture_output=True, check=False)
        assert died.returncode == EXIT, died.stderr.decode()
    for name in ("killed", "whole"):
        play(tmp_path / name, 2, 3, monkeypatch)
        require_whole(tmp_path / name, trials=2, epochs=3)
    whole = curves(tmp_path / "whole")
    assert curves(tmp_path / "killed") == whole
    assert [step for step, _ in whole[0]["train_loss"]] == [1, 2, 3]
    assert [row.attempt for row in study_status(tmp_path / "killed", "tiny").rows] == [2, 1]
