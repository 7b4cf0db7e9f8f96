"""MLflow of a cluster's head with a PostgreSQL server behind it, started by its own command line."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from postgres import served
from sqlalchemy import create_engine, text

from search.remote.tracking_server import STORE, server_variables, server_words
from search.workspace import open_workspace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PATH = "/api/2.0/mlflow/experiments"


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    with served() as server:
        yield server.make("mlflow")


@pytest.fixture(scope="module")
def port(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where the server listens."""
    folder = tmp_path_factory.mktemp("head")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        number = int(probe.getsockname()[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(STORE, store)
        words = server_words(open_workspace(folder), number)
        environment = {**os.environ, **server_variables(open_workspace(folder))}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 200
        while not answers(number):
            assert time.monotonic() < deadline, (folder / "log").read_text()
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.3)
        yield number
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(port: int) -> bool:
    try:
        return ask(port, "GET", "/health")[0] == 200
    except OSError:
        return False


def ask(port: int, method: str, path: str, body: dict[str, Any] | None = None, host: str = "") -> tuple[int, bytes]:
    """Status and body of the answer; `host` is the name by which the server is asked for."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Content-Type": "application/json", "Host": host or f"127.0.0.1:{port}"}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    reply = connection.getresponse()
    content = reply.read()
    connection.close()
    return reply.status, content


def test_what_it_is_told_stands_in_the_database(port: int, store: str) -> None:
    status, _ = ask(port, "POST", f"{PATH}/create", {"name": "tiny"})
    assert status == 200
    engine = create_engine(store)
    with engine.connect() as connection:
        names = connection.execute(text("SELECT name FROM experiments")).scalars().all()
    engine.dispose()
    assert "tiny" in names


@pytest.mark.parametrize("host", ["lab.example.org", "10.77.0.2:5000", "127.0.0.1.example.org"])
def test_who_asks_for_another_name_is_sent_away(port: int, host: str) -> None:
    listing = f"{PATH}/search?max_results=1"
    assert ask(port, "GET", listing)[0] == 200
    assert ask(port, "GET", listing, host=f"localhost:{port}")[0] == 200
    assert ask(port, "GET", listing, host=host)[0] == 403
