"""MLflow's server on a cluster's head: started again whenever it ends, for as long as Ray runs there.

A search survives it being away (`search.mirror` keeps what it could not send), so nothing here needs to be quick. It
listens on loopback; who wants to look comes through an ssh tunnel (``lesion-search ui --cluster``).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from search.workspace import Workspace

PAUSES = (1.0, 2.0, 5.0, 15.0)
"""Seconds before each new start; the last for all that follow."""
SETTLED = 60.0
"""Seconds of running after which a server counts as having started well."""
NAMES = ("localhost", "127.0.0.1", "localhost:*", "127.0.0.1:*")
"""Host names that it answers to; it sends all others away."""
STORE = "TRACKING_STORE"
HEAD = "gcs_server"
"""Name of the process that is Ray's head."""


def server_words(place: Workspace, port: int) -> list[str]:
    """The command line of the server; what nobody else may read is among its `server_variables`."""
    return [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--artifacts-destination", place.artifacts.as_uri(), "--allowed-hosts", ",".join(NAMES),
    ]  # fmt: skip


def server_variables(place: Workspace) -> dict[str, str]:
    """What the server is told besides; its database is $TRACKING_STORE, else SQLite in the workspace."""
    # The database's address may hold a password, and a command line is for every account of the machine to read.
    store = os.environ.get(STORE) or f"sqlite:///{place.path / 'mlflow.db'}"
    # A queue of its own for jobs that nobody here sends would be four more processes.
    return {"MLFLOW_BACKEND_STORE_URI": store, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def supervise(
    words: list[str], variables: Mapping[str, str], alive: Callable[[], bool], say: Callable[[str], object]
) -> None:
    """Run `words` again and again until `alive` says no, or until SIGINT or SIGTERM; what runs then is ended.

    `variables` come on top of this process's own.
    """
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: asked.append(number))
    pauses = iter(PAUSES)
    while alive() and not asked:
        began = time.monotonic()
        code = _run_one(words, variables, lambda: alive() and not asked)
        if code is None:
            return
        pauses = iter(PAUSES) if time.monotonic() - began > SETTLED else pauses
        pause = next(pauses, PAUSES[-1])
        say(f"MLflow ended with {code}; it starts again in {pause:g} s")
        _wait(pause, lambda: alive() and not asked)


def head_is_alive() -> Callable[[], bool]:
    """Whether Ray's head that runs on this machine now still does; always yes where there is none."""
    import psutil  # noqa: PLC0415 - heavy imports wait until they are needed

    mine = os.getuid()
    heads = [each for each in psutil.process_iter(["name", "uids"]) if each.info["name"] == HEAD]
    heads = [each for each in heads if each.info["uids"] is not None and each.info["uids"].real == mine]
    if not heads:
        return lambda: True
    newest = max(heads, key=lambda each: each.create_time())

    def alive() -> bool:
        with suppress(psutil.NoSuchProcess):
            return bool(newest.is_running() and newest.status() != psutil.STATUS_ZOMBIE)
        return False

    return alive


def _run_one(words: list[str], variables: Mapping[str, str], wanted: Callable[[], bool]) -> int | None:
    """Exit code of a server that ended by itself, None where it was ended because nobody wants it any more."""
    server = subprocess.Popen(words, env={**os.environ, **variables}, start_new_session=True)
    try:
        while server.poll() is None:
            if not wanted():
                return None
            time.sleep(0.5)
        return server.returncode
    finally:
        _end(server)


def _end(server: subprocess.Popen[bytes]) -> None:
    # The whole group: MLflow's command leaves its own workers behind when it is ended alone.
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(server.pid, number)
        with suppress(subprocess.TimeoutExpired):
            server.wait(5)


def _wait(seconds: float, wanted: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and wanted():
        time.sleep(0.2)
