"""A real MLflow server in a process of its own, a proxy before it that misbehaves, and a search that tells them."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from search import mirror as mirrored
from search.identity import Identity
from search.ledger import Ending, open_ledger
from search.mirror import Mirror
from search.workspace import Workspace

IDENTITY = Identity("tiny", "d1", "holdout", "s1", "mean_auc", "maximize", {"objective": "mean_auc", "epochs": 3})


class Server:
    """``mlflow server`` on a port of its own, with its database in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start, and wait until it answers."""
        store = ["--backend-store-uri", f"sqlite:///{self.folder / 'server.db'}", "--workers", "1"]
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), *store]
        # As `ui` and a cluster's server are started: MLflow's runners of jobs would be four more processes.
        quiet = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=log, start_new_session=True, env=quiet
            )
        deadline = time.monotonic() + 120
        while not self._answers():
            assert time.monotonic() < deadline, (self.folder / "server.log").read_text()
            assert self.process.poll() is None, (self.folder / "server.log").read_text()
            time.sleep(0.2)

    def kill(self) -> None:
        """SIGKILL it and its workers, a process group of their own."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False


class Proxy:
    """Passes requests on to `target`, or does what `fault` says, a function of the request's path:

    a number is answered as such; "lost" is passed on and its answer thrown away; a fraction is passed on after so many
    seconds; None is passed on.
    """

    def __init__(self, target: int) -> None:
        self.fault: Callable[[str], Any] = lambda path: None
        self.asked: list[str] = []
        self.passed = 0
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                proxy.asked.append(self.path)
                fault = proxy.fault(self.path)
                if isinstance(fault, int):
                    return self.reply(fault, b'{"error_code": "INTERNAL_ERROR", "message": "as you wish"}')
                if isinstance(fault, float):
                    time.sleep(fault)
                status, content = self.passed_on(body)
                proxy.passed += 1
                return self.reply(500, b"{}") if fault == "lost" else self.reply(status, content)

            def passed_on(self, body: bytes) -> tuple[int, bytes]:
                headers = {name: text for name, text in self.headers.items() if name.lower() != "host"}
                # Closed where the server is killed in mid-answer as well.
                with closing(http.client.HTTPConnection("127.0.0.1", target, timeout=60)) as inner:
                    inner.request(self.command, self.path, body, {**headers, "Host": f"127.0.0.1:{target}"})
                    reply = inner.getresponse()
                    return reply.status, reply.read()

            def reply(self, status: int, content: bytes) -> None:
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:  # nobody waits for it any more
                    self.close_connection = True

            do_GET = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815 - the names are http.server's

            def log_message(self, *arguments: Any) -> None:
                """Nothing."""

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Line:
    """A space of one number."""

    def sample(self, trial: Any) -> dict[str, float]:
        return {"lr": trial.suggest_float("lr", 0.0, 1.0)}


def search(
    place: Workspace,
    mirror_for: Callable[[Identity], Mirror],
    trials: int = 3,
    at: Callable[[int, int], None] = lambda number, epoch: None,
    flush: float = 60.0,
) -> Mirror:
    """A session of the study tiny with one worker, as `search.session` tells it; `at` is called before each epoch."""
    # One server has the runs of many tests: each test's data are its own.
    ledger = open_ledger(place.ledger_url, "tiny", replace(IDENTITY, data_hash=place.path.name), 7)
    adopted = ledger.reconcile()
    mirror = mirror_for(ledger.identity)
    mirror.start([row for row in ledger.rows() if row.finished])
    mirror.put(mirrored.study_event("running", {}))
    while adopted or len(ledger.rows()) < trials:
        row = ledger.adopt(adopted.pop(0), Line()) if adopted else ledger.ask(Line())
        ledger.begin(row.number)
        mirror.put(mirrored.started(ledger.row(row.number), {}))
        for epoch in range(row.epoch + 1, 4):
            at(row.number, epoch)
            value = float(row.settings["lr"]) * (1 - 0.5**epoch)
            ledger.report(row.number, epoch, value)
            mirror.put(mirrored.epoch_of(row.number, epoch, {"mean_auc": value, "train_loss": 1 - value}))
        ledger.finish(row.number, Ending("complete", 3, value), metrics={"mean_auc": value, "train_loss": 1 - value})
        mirror.put(mirrored.ended(ledger.row(row.number)))
    mirror.put(mirrored.study_event("complete", {}))
    mirror.close(flush)
    return mirror
