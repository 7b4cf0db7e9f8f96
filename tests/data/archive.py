"""An archive of challenge files on a server of our own, which misbehaves as it is told to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Archive:
    """A server's files, and the ways in which it misbehaves."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    etag: str = '"whole-2"'
    cuts: int = 0  # how many answers break off half-way
    busy: int = 0  # how many are 503
    ranges: bool = True
    length: bool = True
    extra: int = 0  # bytes by which the announced length is wrong
    requests: list[str] = field(default_factory=list)


@contextmanager
def served() -> Iterator[Archive]:
    """An archive on this machine, for as long as the context lasts."""
    state = Archive()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            wanted = self.headers.get("Range", "")
            state.requests.append(f"{self.command} {wanted}".strip())
            data = state.files.get(self.path.lstrip("/"))
            if data is None or state.busy > 0:
                state.busy -= data is not None
                self.send_error(404 if data is None else 503)
                return
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and state.ranges else 0
            self.send_response(206 if start else 200)
            if state.length:
                self.send_header("Content-Length", str(len(data) - start + state.extra))
            self.send_header("ETag", state.etag)
            self.end_headers()
            if body:
                state.cuts -= 1
                rest = data[start:]
                self.wfile.write(rest[: len(rest) // 2] if state.cuts >= 0 else rest)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
