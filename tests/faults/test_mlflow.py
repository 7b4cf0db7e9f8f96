"""MLflow down, slow, refusing, and lying about what it did: the search does not notice, and everything arrives once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tracking
from tracking import Proxy, Server
from whole import of_mlflow

from search import study_status
from search.identity import Identity
from search.mirror import Mirror, mirror_of
from search.study import sync
from search.workspace import Workspace, open_workspace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
HERE = Path(__file__).parent
KILLED = """
import os, signal, sys
import tracking
from pathlib import Path
from search.mirror import mirror_of
from search.workspace import open_workspace

def at(number, epoch):
    if (number, epoch) == (2, 2):
        os.kill(os.getpid(), signal.SIGKILL)

place = open_workspace(Path(sys.argv[1]))
tracking.search(place, lambda identity: mirror_of(place, "tiny", identity, sys.argv[2]), at=at)
"""


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


def require_mirrored(place: Workspace, uri: str) -> None:
    """One ended run a row with every epoch once, and nothing that waits."""
    status = study_status(place, "tiny")
    assert {row.state for row in status.rows} == {"complete"}
    found = [*of_mlflow(place, status, uri), *map(str, place.spool.iterdir())]
    assert not found, "\n".join(found)


def test_down_at_the_start_in_the_middle_and_at_the_end(place: Workspace, server: Server) -> None:
    def strike(number: int, epoch: int) -> None:
        if (number, epoch) == (0, 2):
            server.start()
            time.sleep(1.0)
        if (number, epoch) == (1, 2):
            server.kill()

    server.kill()
    try:
        mirror = tracking.search(place, told(place, server.uri), at=strike, flush=1.0)
        assert mirror.pending > 0
        assert mirror.problem is not None
    finally:
        server.kill()
        server.start()
    assert len(study_status(place, "tiny").rows) == 3
    sync(place, "tiny", server.uri)
    require_mirrored(place, server.uri)


@pytest.mark.parametrize("fault", [500, 403, 429, "lost", 5.0])
def test_answers_that_are_errors_lies_or_late(place: Workspace, proxy: Proxy, server: Server, fault: Any) -> None:
    calls = {"left": 3 if fault == 5.0 else 12}

    def misbehave(path: str) -> Any:
        calls["left"] -= 1
        return fault if calls["left"] >= 0 else None

    def watch(number: int, epoch: int) -> None:
        time.sleep(0.1)

    proxy.fault = misbehave
    began = time.monotonic()
    mirror = tracking.search(place, told(place, proxy.uri), at=watch, flush=0.0)
    assert time.monotonic() - began < 60  # 1.5 s alone; what MLflow does must not be in it
    assert mirror.pending > 0
    proxy.fault = lambda path: None
    sync(place, "tiny", proxy.uri)
    require_mirrored(place, server.uri)


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
    require_mirrored(place, server.uri)


def test_a_driver_killed_while_the_mirror_is_behind(place: Workspace, proxy: Proxy, server: Server) -> None:
    proxy.fault = lambda path: 500
    environment = {**os.environ, "PYTHONPATH": f"{HERE}:{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-c", KILLED, str(place.path), proxy.uri]
    assert subprocess.run(command, env=environment, check=False, timeout=200).returncode == -signal.SIGKILL
    assert [row.state for row in study_status(place, "tiny").rows] == ["complete", "complete", "running"]
    assert len(list(place.spool.iterdir())) == 1
    proxy.fault = lambda path: None
    sync(place, "tiny", proxy.uri)
    runs = mirror_of(place, "tiny", study_status(place, "tiny").identity, proxy.uri).runs
    assert {run.status for run in runs.runs().values()} == {"FINISHED", "KILLED"}
    tracking.search(place, told(place, proxy.uri))
    require_mirrored(place, server.uri)
