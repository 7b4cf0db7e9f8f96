"""``lesion-search ui``: MLflow's own server and pages on the workspace.

It listens on this machine alone unless told otherwise. MLflow refuses host names that it does not know (403), so a
server for others is told every name of this machine.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from search.commands.options import command, whole, workspace_option

if TYPE_CHECKING:
    from search.commands.options import Commands
    from search.workspace import Workspace

LOOPBACK = ("127.0.0.1", "localhost", "::1")
PATIENCE = 180.0
"""Seconds that MLflow has to answer for the first time; on a busy machine its imports alone take a while."""


def add(commands: Commands) -> None:
    """The command ``ui``."""
    parser = command(
        commands, "ui", ui,
        "Show the studies in MLflow's pages, until Ctrl-C. They are served to this machine alone unless --host says "
        "otherwise; whoever reaches the port can change everything in it.",
        "",
        "--port 8080",
        "--host 0.0.0.0 --allow lab.example.org",
    )  # fmt: skip
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=whole, default=5000, help="port to listen on (default 5000)")
    parser.add_argument(
        "--allow", action="append", default=[], metavar="NAME", help="another host name to answer to; may be repeated"
    )
    workspace_option(parser)


def ui(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C (0), or until the server ends by itself (1)."""
    from search.display import console, say  # noqa: PLC0415 - heavy imports wait until they are needed
    from search.workspace import existing_workspace  # noqa: PLC0415

    place = existing_workspace(args.workspace)
    if place.tracking_uri.startswith("http"):
        say(f"MLflow is a server of its own (MLFLOW_TRACKING_URI): open {place.tracking_uri}")
        return 0
    _require_free(args.host, args.port)
    log = place.path / f"mlflow-server-{args.port}.log"
    with _serving(server_command(place, args.host, args.port, args.allow), log) as server:
        url = f"http://{_shown_host(args.host)}:{args.port}"
        with console(stderr=True).status("starting MLflow"):
            answers = _answers(server, url)
        if not answers:
            if server.stopped:
                return 0
            say(f"MLflow did not start; the end of {log}:", *_tail(log), stderr=True)
            return 1
        say(f"MLflow on {place.path}: {url}   (Ctrl-C ends it; log in {log})")
        server.wait()
        if server.stopped:
            return 0
    say(f"MLflow ended by itself; the end of {log}:", *_tail(log), stderr=True)
    return 1


def server_command(place: Workspace, host: str, port: int, allow: Sequence[str] = ()) -> list[str]:
    """The command line of MLflow's server."""
    words = [
        sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1",
        "--backend-store-uri", place.tracking_uri, "--artifacts-destination", place.artifacts.as_uri(),
    ]  # fmt: skip
    if host in LOOPBACK and not allow:
        return words
    names = [*host_names(host), *allow]
    hosts = ",".join(f"{name},{name}:*" for name in names)
    # Its pages post their queries; from a name that is not listed, MLflow takes that for another site's doing.
    origins = ",".join(f"http://{name}:{port},https://{name}" for name in names)
    return [*words, "--allowed-hosts", hosts, "--cors-allowed-origins", origins]


def host_names(host: str) -> list[str]:
    """Names and addresses under which this machine may be asked for."""
    names = {*LOOPBACK[:2], socket.gethostname(), socket.getfqdn()}
    with suppress(socket.gaierror):  # a machine whose own name does not resolve is reached by the others
        names |= {str(found[4][0]) for found in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    if host not in ("0.0.0.0", "::"):
        names.add(host)
    return sorted(names)


class _Server(subprocess.Popen[bytes]):
    """MLflow's server with its processes; `stopped` once we have ended it."""

    stopped = False

    def stop(self, number: int = 0, frame: FrameType | None = None) -> None:
        """End the whole group: MLflow's command leaves its own server behind when it is ended alone."""
        self.stopped = True
        with suppress(ProcessLookupError):  # it has ended
            os.killpg(self.pid, signal.SIGTERM)


@contextmanager
def _serving(words: Sequence[str], log: Path) -> Iterator[_Server]:
    # A queue of its own for jobs that nobody here sends would be four more processes.
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with log.open("wb") as output:
        server = _Server(words, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True)
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


def _answers(server: _Server, url: str) -> bool:
    deadline = time.monotonic() + PATIENCE
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    return False


def _require_free(host: str, port: int) -> None:
    """Raise ClusterError where the port cannot be listened on."""
    from search.errors import ClusterError  # noqa: PLC0415

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


def _shown_host(host: str) -> str:
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _tail(log: Path) -> list[str]:
    return log.read_text("utf-8", "replace").splitlines()[-15:]
