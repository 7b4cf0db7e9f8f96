"""MLflow down, slow, refusing, and lying about what it did: the search does not notice, and everything arrives once."""

import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tracking
from drivers import start, wait_for
from fake_training import FakeTraining, Unhurried, make_data, make_space
from tracking import Proxy, Server
from whole import of_mlflow, require_whole

from search import run_study, study_status
from search.identity import Identity
from search.mirror import Mirror, mirror_of
from search.space import Asha
from search.study import StudyStatus, sync
from search.tracking import PARENT, STATUS
from search.workspace import Workspace, open_workspace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
ASHA = "{asha: {grace: 1, reduction: 2}}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    proxy = Proxy(server.port)
    yield proxy
    proxy.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.mirror.PATIENCE", (0.2,))


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path)


def told(place: Workspace, uri: str) -> Callable[[Identity], Mirror]:
    return partial(mirror_of, place, "tiny", uri=uri)


def require_mirrored(place: Workspace, uri: str, trials: int) -> None:
    """So many ended rows with the values of their settings, a run each that says the same, and nothing that waits."""
    status = study_status(place, "tiny")
    assert [(row.number, row.state) for row in status.rows] == [(number, "complete") for number in range(trials)]
    assert [row.value for row in status.rows] == [row.settings["lr"] * (1 - 0.5**3) for row in status.rows]
    shown = list(mirror_of(place, "tiny", status.identity, uri).runs._search())
    assert [run.info.status for run in shown] == ["FINISHED"] * (trials + 1)
    last = {int(run.data.tags.get("lesion.trial", PARENT)): run.data.metrics.get("mean_auc") for run in shown}
    assert last == {PARENT: None, **{row.number: row.value for row in status.rows}}
    found = [*of_mlflow(place, status, uri), *map(str, place.spool.iterdir())]
    assert not found, "\n".join(found)


def require_every_metric(place: Workspace, status: StudyStatus, uri: str) -> None:
    """Every metric of every epoch is in MLflow, once, not the objective alone."""
    runs = mirror_of(place, "tiny", status.identity, uri).runs
    for row in status.rows:
        whole = FakeTraining(row.settings, SimpleNamespace(folder=Path("/nowhere/checkpoints/study")), row.seed)
        told = [{k: v for k, v in whole.step().items() if math.isfinite(v)} for _ in row.history]
        for name in told[0]:
            history = runs.client.get_metric_history(runs.runs()[row.number].id, name)
            assert sorted((each.step, each.value) for each in history) == [*enumerate((e[name] for e in told), 1)]


@pytest.mark.usefixtures("one_ray")
def test_down_at_the_start_in_the_middle_and_at_the_end(place: Workspace, proxy: Proxy, server: Server) -> None:
    """A real search, which trains on: the server is away, comes, goes, comes again, and is away at the end."""
    make_data(place.path, label=1)  # one server has the runs of many tests

    def come() -> None:
        """The server is there again; the search goes on once MLflow has begun to hear what waited."""
        server.start()
        before = proxy.passed
        wait_for(lambda: proxy.passed > before + 3)

    ended = lambda state: sum(state.counts.get(kind, 0) for kind in ("complete", "pruned"))  # noqa: E731
    strikes: list[tuple[Callable[[Any], bool], Callable[[], None]]] = [
        (lambda state: any(trial.epoch for trial in state.running), come),
        (lambda state: ended(state) >= 2, server.kill),
        (lambda state: ended(state) >= 4, come),
        (lambda state: ended(state) >= 6, server.kill),
    ]

    def strike(state: Any) -> None:
        if strikes and strikes[0][0](state):
            strikes.pop(0)[1]()

    space = make_space(place.path, trials=8, epochs=4, scheduler=ASHA)
    server.kill()
    try:
        result = run_study(space, place.path, build=Unhurried, concurrent=1, tracking_uri=proxy.uri, progress=strike)
    finally:
        server.kill()
        server.start()
    assert strikes == []
    assert result.complete
    assert result.unmirrored > 0
    assert result.mirror_problem is not None
    sync(place, "tiny", proxy.uri)
    status = require_whole(place.path, trials=8, epochs=4, asha=Asha(1, 2), uri=server.uri)
    require_every_metric(place, status, server.uri)


@pytest.mark.usefixtures("one_ray")
def test_answers_that_are_errors_lies_or_late(place: Workspace, proxy: Proxy, server: Server) -> None:
    """A real search whose mirror meets one fault after the other: it does not notice, and everything arrives once."""
    make_data(place.path, label=2)
    answers = [answer for fault in (500, 403, 429, "lost") for answer in [fault] * 6 + [None] * 2] + [5.0] * 2

    def misbehave(path: str) -> Any:
        return answers.pop(0) if answers else None

    proxy.fault = misbehave
    space = make_space(place.path, trials=5, epochs=4, scheduler=ASHA)
    result = run_study(space, place.path, build=Unhurried, concurrent=1, tracking_uri=proxy.uri)
    assert result.complete
    assert answers == [], "all of them were met before the search was over"
    proxy.fault = lambda path: None
    if result.unmirrored == 0:  # what the session calls mirrored is there before any sync
        require_every_metric(place, study_status(place, "tiny"), server.uri)
    # MLflow may have taken all, and the session be over before it was known that nothing arrived twice.
    sync(place, "tiny", proxy.uri)
    status = require_whole(place.path, trials=5, epochs=4, asha=Asha(1, 2), uri=server.uri)
    require_every_metric(place, status, server.uri)


def test_a_run_that_a_late_server_made_twice_is_one_in_the_end(
    place: Workspace, proxy: Proxy, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    late = iter([3.0, 3.0])
    proxy.fault = lambda path: next(late, None) if path.endswith("runs/create") else None
    tracking.search(place, told(place, proxy.uri), flush=60.0)
    made = sum(path.endswith("runs/create") for path in proxy.asked)
    assert made > 4  # three trials, the study, and what was asked for again
    time.sleep(4)  # the late ones have arrived by now
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
    sync(place, "tiny", proxy.uri)
    require_mirrored(place, server.uri, trials=3)


@pytest.mark.usefixtures("one_ray")
def test_a_driver_killed_while_the_mirror_is_behind(place: Workspace, proxy: Proxy, server: Server) -> None:
    proxy.fault = lambda path: 500
    plan = {"trials": 5, "epochs": 4, "scheduler": ASHA}
    driver = start(place.path, wait=0.5, **plan, run={"tracking_uri": proxy.uri})
    wait_for(lambda: driver.ended >= 1 and sum(driver.running.values()) >= 1)
    driver.kill()
    rows = study_status(place, "tiny").rows
    assert {row.finished for row in rows} == {True, False}
    assert len(list(place.spool.iterdir())) == 1
    proxy.fault = lambda path: None
    sync(place, "tiny", proxy.uri)
    runs = mirror_of(place, "tiny", study_status(place, "tiny").identity, proxy.uri).runs.runs()
    told = {row.number: STATUS[row.state if row.finished else "interrupted"] for row in rows if row.settings}
    assert {number: run.status for number, run in runs.items()} == {PARENT: "KILLED", **told}
    run_study(make_space(place.path, **plan), place.path, build=FakeTraining, tracking_uri=proxy.uri)
    require_whole(place.path, trials=5, epochs=4, asha=Asha(1, 2), uri=server.uri)
