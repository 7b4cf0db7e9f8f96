import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search.errors import MirrorError
from search.identity import Identity
from search.mirror import Mirror, deliver_all, ended, epoch_of, events_of, mirror_of, started, study_event
from search.provenance import provenance
from search.rows import TrialRow
from search.spool import Spool
from search.tracking import PARENT, Change, StudyRuns, metric_name
from search.tracking_client import client_of
from search.workspace import open_workspace

IDENTITY = Identity("tiny", "d1", "holdout", "s1", "mean_auc", "maximize", {"epochs": 3})


def row(number: int = 0, state: str = "complete", epochs: int = 2) -> TrialRow:
    history = {epoch: epoch / 10 for epoch in range(1, epochs + 1)}
    settings = {"loss": "focal", "lr": 0.1, "balancing.copies+cap.cap.count": 3, "backbone": "timm/resnet50.a1_in1k"}
    return TrialRow(number, state, None, epochs, settings, history, {"seed": 5, "attempt": 1})


def nothing_kept(number: int) -> dict[int, dict[str, float]]:
    return {}


class Server(StudyRuns):
    """Remembers what it was sent; `fault` may refuse."""

    def __init__(self, fault: Callable[[], None] = lambda: None) -> None:
        super().__init__("http://nowhere", Path(), "tiny", "i1", "h1", "mean_auc")
        self.fault, self.log, self._runs = fault, list[tuple[int, Change]](), {}

    def forget(self) -> None:
        pass

    def write(self, number: int, change: Change) -> None:
        self.fault()
        self.log.append((number, change))


class RefusalError(Exception):
    error_code = "INVALID_PARAMETER_VALUE"


@pytest.fixture
def spools(tmp_path: Path) -> tuple[Spool, Spool]:
    return Spool(tmp_path / "tiny.jsonl"), Spool(tmp_path / "tiny.rejected")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.mirror.PATIENCE", (0.01,))


def test_events_arrive_and_leave_no_spool(spools: tuple[Spool, Spool]) -> None:
    server = Server()
    mirror = Mirror(server, *spools)
    mirror.start()
    mirror.put(epoch_of(0, 1, {"mean_auc": 0.5}))
    mirror.put(epoch_of(0, 2, {"mean_auc": 0.6}))
    assert mirror.close(5)
    told = [epoch for _, change in server.log for epoch in change.epochs]
    assert told == [1, 2]
    assert spools[0].events() == []


def test_a_server_that_is_down_costs_nothing_and_loses_nothing(spools: tuple[Spool, Spool]) -> None:
    def down() -> None:
        raise ConnectionError("refused")

    mirror = Mirror(Server(down), *spools)
    mirror.start()
    mirror.put(epoch_of(0, 1, {"mean_auc": 0.5}))
    assert not mirror.close(0.1)
    assert mirror.problem == "ConnectionError: refused"
    later = Server()
    again = Mirror(later, *spools)
    again.start()
    assert again.close(5)
    assert [list(change.epochs) for _, change in later.log] == [[1]]


def test_a_server_that_comes_back_gets_everything(spools: tuple[Spool, Spool]) -> None:
    faults = iter([True, True, False])

    def shaky() -> None:
        if next(faults, False):
            raise TimeoutError("slow")

    server = Server(shaky)
    mirror = Mirror(server, *spools)
    mirror.start()
    mirror.put(epoch_of(0, 1, {"mean_auc": 0.5}))
    assert mirror.close(5)
    assert (len(server.log), mirror.problem, mirror.pending) == (1, None, 0)


def test_what_mlflow_will_never_take_is_put_aside(spools: tuple[Spool, Spool]) -> None:
    def refuse() -> None:
        raise RefusalError("too long")

    mirror = Mirror(Server(refuse), *spools)
    mirror.start()
    mirror.put(epoch_of(0, 1, {"mean_auc": 0.5}))
    assert mirror.close(5)
    [kept] = spools[1].events()
    assert (kept["trial"], kept["error"]) == (0, "too long")


def test_of_what_mlflow_refuses_the_rest_arrives(spools: tuple[Spool, Spool]) -> None:
    """One epoch is refused: settings, the other epoch, tags and the end of the run are not put aside with it."""

    class Picky(Server):
        def write(self, number: int, change: Change) -> None:
            if 2 in change.epochs:
                raise RefusalError("bad name")
            super().write(number, change)

    server = Picky()
    mirror = Mirror(server, *spools)
    mirror._waiting.extend(events_of(row(), "mean_auc", nothing_kept))  # all at once, as after an outage
    mirror.start()
    assert mirror.close(5)
    written = [change for _, change in server.log]
    assert {name for change in written for name in change.params} == {*row().settings} - {
        "balancing.copies+cap.cap.count"
    } | {"balancing.copies-cap.cap.count"}
    assert written[-1].state == "complete"
    assert any(change.tags.get("lesion.state") == "complete" for change in written)
    assert [epoch for change in written for epoch in change.epochs] == [1]
    [kept] = spools[1].events()
    assert ([*kept["epochs"]], kept["params"], kept["tags"]) == (["2"], {}, {})


def test_a_full_disk_does_not_reach_the_search(spools: tuple[Spool, Spool], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(event: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spools[0], "append", refuse)
    server = Server()
    mirror = Mirror(server, *spools)
    mirror.start()
    mirror.put(epoch_of(0, 1, {"mean_auc": 0.5}))
    assert mirror.close(5)
    assert len(server.log) == 1


def test_torn_lines_of_a_spool_are_passed_over(tmp_path: Path) -> None:
    whole = Spool(tmp_path / "whole")
    for epoch in (1, 2, 3):
        whole.append(epoch_of(0, epoch, {"mean_auc": 0.5}))
    content = whole.path.read_bytes()
    for cut in range(0, len(content), 7):
        torn = Spool(tmp_path / f"torn-{cut}")
        torn.path.write_bytes(content[:cut])
        torn.append(epoch_of(0, 9, {}))
        # A cut just before a line's end leaves the line whole.
        lines = content[:cut].count(b"\n") + (content[cut : cut + 1] == b"\n")
        assert [event["epoch"] for event in torn.events()] == [*range(1, lines + 1), 9]


def test_a_trial_told_from_the_ledger_is_complete() -> None:
    begun, *epochs, end = events_of(row(state="running"), "mean_auc", nothing_kept)
    assert begun["params"] == row(0).settings
    assert [event["metrics"] for event in epochs] == [{"mean_auc": 0.1}, {"mean_auc": 0.2}]
    assert end["state"] == "interrupted"
    assert events_of(row(state="waiting"), "mean_auc", nothing_kept) == []


def test_a_trial_is_told_with_the_metrics_kept_of_the_epochs_that_were_recorded() -> None:
    """What another attempt left that came to other values is not told."""
    kept = {1: {"mean_auc": 0.1, "ece": 0.5}, 2: {"mean_auc": 0.19, "ece": 0.4}, 3: {"mean_auc": 0.3, "ece": 0.3}}
    _, *epochs, _ = events_of(row(state="running"), "mean_auc", lambda number: kept)
    assert [event["metrics"] for event in epochs] == [{"mean_auc": 0.1, "ece": 0.5}, {"mean_auc": 0.2}]


def test_what_does_not_arrive_in_time_is_said(spools: tuple[Spool, Spool]) -> None:
    def down() -> None:
        raise ConnectionError("refused")

    with pytest.raises(MirrorError, match=r"did not take everything \(5 events wait.*refused"):
        deliver_all(Mirror(Server(down), *spools), [row()], 0.2)


# From here on with MLflow itself, on its own database.


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


def runs_of(mirror: Mirror) -> dict[int, Any]:
    mirror.runs.forget()
    client = mirror.runs.client
    return {number: client.get_run(run.id) for number, run in mirror.runs.runs().items()}


def steps(mirror: Mirror, run: Any) -> list[int]:
    return [metric.step for metric in mirror.runs.client.get_metric_history(run.info.run_id, "mean_auc")]


@pytest.mark.slow
def test_one_run_a_trial_whatever_is_sent_how_often(tmp_path: Path, tracking: str) -> None:
    place = open_workspace(tmp_path)
    for _ in range(2):
        mirror = mirror_of(place, "often", IDENTITY, tracking)
        mirror.start()
        mirror.put(study_event("running", provenance(IDENTITY)))
        mirror.put(started(row(), provenance(IDENTITY)))
        for epoch in (1, 2):
            mirror.put(epoch_of(0, epoch, {"mean_auc": epoch / 10, "ece": 0.1}))
        mirror.put(ended(row()))
        mirror.put(study_event("complete", {}))
        assert mirror.close(60), mirror.problem
    runs = runs_of(mirror)
    assert {number: run.info.status for number, run in runs.items()} == {PARENT: "FINISHED", 0: "FINISHED"}
    assert steps(mirror, runs[0]) == [1, 2]
    assert runs[0].data.params == {
        "loss": "focal",
        "lr": "0.1",
        "balancing.copies-cap.cap.count": "3",
        "backbone": "timm/resnet50.a1_in1k",
    }
    assert runs[0].data.tags["mlflow.parentRunId"] == runs[PARENT].info.run_id
    assert runs[0].data.tags["lesion.data_hash"] == "d1"
    assert runs[0].data.metrics["ece"] == 0.1


@pytest.mark.slow
def test_studies_of_one_name_and_identity_keep_their_runs_apart(tmp_path: Path, tracking: str) -> None:
    identities = [IDENTITY, *(replace(IDENTITY, id=letter * 32) for letter in "ab")]
    seen = []
    for identity in (*identities, *identities):  # a ledger from before ids, two begun since; each told twice
        mirror = mirror_of(open_workspace(tmp_path / identity.id[:1]), "same", identity, tracking)
        mirror.start()
        mirror.put(started(row(), provenance(identity)))
        mirror.put(epoch_of(0, 1, {"mean_auc": 0.5}))
        assert mirror.close(60), mirror.problem
        seen.append({number: run.info.run_id for number, run in runs_of(mirror).items()})
    assert seen[:3] == seen[3:]
    assert len({run for runs in seen for run in runs.values()}) == 6


def test_the_spool_of_an_earlier_ledger_is_not_told_of_this_study(tmp_path: Path) -> None:
    place = open_workspace(tmp_path)
    paths = {mirror_of(place, "same", replace(IDENTITY, id=id)).spool.path.name for id in ("", "a", "b")}
    assert paths == {"same.jsonl", "same.a.jsonl", "same.b.jsonl"}


@pytest.mark.slow
def test_what_is_missing_is_rebuilt_from_the_ledger(tmp_path: Path, tracking: str) -> None:
    place = open_workspace(tmp_path)
    mirror = mirror_of(place, "rebuilt", IDENTITY, tracking)
    mirror.start()
    mirror.put(started(row(1), {}))
    mirror.put(epoch_of(1, 1, {"mean_auc": 0.1}))
    assert mirror.close(60)
    rows = [row(0), row(1, "pruned"), row(2, "failed", 0), row(3, "running", 1)]
    for _ in range(2):
        again = mirror_of(place, "rebuilt", IDENTITY, tracking)
        deliver_all(again, rows, 60)
    runs = runs_of(again)
    statuses = {number: run.info.status for number, run in runs.items() if number != PARENT}
    assert statuses == {0: "FINISHED", 1: "KILLED", 2: "FAILED", 3: "KILLED"}
    assert [steps(again, runs[number]) for number in range(4)] == [[1, 2], [1, 2], [], [1]]


@pytest.mark.slow
def test_classes_may_be_called_anything(tmp_path: Path, tracking: str) -> None:
    """Metrics are called after classes, and MLflow refuses brackets; it did so with all that came beside them."""
    identity = replace(IDENTITY, objective="auc_BCC (nodular)")
    labels = ("BCC (nodular)", "BCC [nodular]", "a//b", "../c", "nævus", "50 %", "x" * 300, "plain", "c/", "line\n")
    for _ in range(2):
        mirror = mirror_of(open_workspace(tmp_path), "named", identity, tracking)
        mirror.start()
        mirror.put(started(row(), provenance(identity)))
        for epoch in (1, 2):
            mirror.put(epoch_of(0, epoch, {f"auc_{label}": epoch / 10 for label in labels}))
        mirror.put(ended(row()))
        mirror.put(study_event("complete", {}))
        assert mirror.close(60), mirror.problem
        assert mirror.rejected.events() == []
    run = runs_of(mirror)[0]
    assert run.info.status == "FINISHED"
    assert len(run.data.metrics) == len(labels)
    assert {name for name in run.data.metrics if name.startswith("auc_plain")} == {"auc_plain"}
    told = mirror.runs.client.get_metric_history(run.info.run_id, metric_name("auc_BCC (nodular)"))
    assert [metric.step for metric in told] == [1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [1, 3])
def test_more_than_mlflow_takes_at_once_arrives_whole(
    tmp_path: Path, tracking: str, epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """101 settings, 101 tags and 1001 metrics: each list is one longer than a call may be, and sent twice is told once.

    In one epoch the metrics are cut in two; in three, whole epochs go together.
    """
    sent: list[tuple[int, int, int]] = []
    mirror = mirror_of(open_workspace(tmp_path), f"many {epochs}", IDENTITY, tracking)
    log = mirror.runs.client.log_batch

    def counting(run_id: str, metrics: Any = (), params: Any = (), tags: Any = (), **options: Any) -> None:
        sent.append((len(metrics), len(params), len(tags)))
        log(run_id, metrics=metrics, params=params, tags=tags, **options)

    monkeypatch.setattr(mirror.runs.client, "log_batch", counting)
    params, tags = ({f"{kind}.{n:03d}": f"{kind} {n}" for n in range(101)} for kind in ("setting", "note"))
    names = ["mean_auc", *(f"auc_class {n:04d}" for n in range(1001 // epochs))][: 1001 // epochs + (epochs > 1)]
    told = {epoch: (epoch, {name: epoch + n / 1024 for n, name in enumerate(names)}) for epoch in range(1, epochs + 1)}
    assert sum(len(metrics) for _, metrics in told.values()) > 1000
    for _ in range(2):
        mirror.runs.write(0, Change(params, tags, told, "complete", time=1))
    assert [max(sizes) for sizes in zip(*sent, strict=True)] == [1000 if epochs == 1 else 2 * len(names), 100, 100]
    run = runs_of(mirror)[0]
    assert run.data.params == params
    assert tags.items() <= run.data.tags.items()
    assert run.data.metrics == told[epochs][1]
    assert run.info.status == "FINISHED"
    client = mirror.runs.client
    for name in (names[0], names[1], names[len(names) // 2], names[-1]):
        history = [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name)]
        assert history == [(epoch, metrics[name]) for epoch, (_, metrics) in told.items()], name


@pytest.mark.slow
@pytest.mark.parametrize("state", ["complete", "running"])
def test_a_run_whose_tags_are_right_and_that_is_running_is_ended(tmp_path: Path, tracking: str, state: str) -> None:
    """A mirror that died between tags and status; or in a second session that recorded nothing."""
    place = open_workspace(tmp_path)
    mirror = mirror_of(place, f"zombie {state}", IDENTITY, tracking)
    tags = {"lesion.state": state, "lesion.epoch": "2"}
    mirror.runs.write(0, Change(epochs={e: (1, {"mean_auc": e / 10}) for e in (1, 2)}, tags=tags, state="running"))
    again = mirror_of(place, f"zombie {state}", IDENTITY, tracking)
    deliver_all(again, [row(0, state)], 60)
    run = runs_of(again)[0]
    assert run.info.status == {"complete": "FINISHED", "running": "KILLED"}[state]
    assert steps(again, run) == [1, 2]


@pytest.mark.slow
def test_a_database_is_made_by_one_process_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow makes tables when its first client is; of two at once, one failed with "duplicate column name"."""
    at_once: list[int] = []
    busy: list[int] = []

    def make(uri: str, registry_uri: str) -> str:
        busy.append(1)
        time.sleep(0.3)
        at_once.append(len(busy))
        busy.pop()
        return uri

    monkeypatch.setattr("mlflow.tracking.MlflowClient", make)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    threads = [threading.Thread(target=client_of, args=(uri,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert at_once == [1, 1, 1]
