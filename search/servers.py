"""A server of MLflow's as a process of ours: started, waited for, ended with all that it started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from search.errors import ClusterError

PATIENCE = 180.0
"""Seconds that a server has to answer for the first time; on a busy machine its imports alone take a while."""


class Server(subprocess.Popen[bytes]):
    """A server with its processes; `stopped` once we have ended it."""

    stopped = False

    def stop(self, number: int = 0, frame: FrameType | None = None) -> None:
        """End the whole group: MLflow's command leaves its own server behind when it is ended alone."""
        self.stopped = True
        with suppress(ProcessLookupError):  # it has ended
            os.killpg(self.pid, signal.SIGTERM)


@contextmanager
def serving(words: Sequence[str], log: Path, environment: Mapping[str, str]) -> Iterator[Server]:
    """The server of a command line while the context lasts; Ctrl-C and SIGTERM end it, its output goes to `log`."""
    with log.open("wb") as output:
        server = Server(
            words, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **environment}, start_new_session=True
        )
    before = {number: signal.signal(number, server.stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield server
    finally:
        server.stop()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
        for number, handler in before.items():
            signal.signal(number, handler)


def answers(server: Server, url: str) -> bool:
    """Wait until `url` answers; False where the server ends or `PATIENCE` does."""
    from urllib.request import urlopen  # noqa: PLC0415 - TLS comes with it, which no --help needs

    deadline = time.monotonic() + PATIENCE
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urlopen(url, timeout=2):
                return True
        except OSError:  # what urllib raises is one as well
            time.sleep(0.3)
    return False


def require_free(host: str, port: int) -> None:
    """Raise ClusterError where the port cannot be listened on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ClusterError(
            f"{host}:{port} cannot be listened on ({reason}): choose another --port or --host"
        ) from error


def tail(log: Path) -> list[str]:
    """The last lines of a log."""
    return log.read_text("utf-8", "replace").splitlines()[-15:]
