"""A PostgreSQL server of the test's own: made, started and stopped; reached through a socket in its folder."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

INSTALLED = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
"""Debian's places, one a version."""


class Server:
    """A cluster of databases in `folder`, run by a user who is not root, which PostgreSQL refuses."""

    def __init__(self, folder: Path, binaries: Path) -> None:
        self.folder, self.binaries = folder, binaries
        self.user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        if os.geteuid() == 0:
            shutil.chown(folder, self.user)
        self._call("initdb", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync", "-D", "data")

    def url(self, database: str = "postgres") -> str:
        """Of one database, for SQLAlchemy."""
        return f"postgresql+psycopg://postgres@/{database}?host={self.folder}"

    def start(self) -> None:
        """Start, and wait until it takes connections."""
        # Nothing is flushed: a process may die here, the machine will not.
        options = f"-k {self.folder} -c listen_addresses='' -c fsync=off -c max_connections=40"
        self._call("pg_ctl", "-D", "data", "-l", "log", "-w", "-o", options, "start")

    def stop(self, how: str = "fast") -> None:
        """Stop: "immediate" is as if it had been killed."""
        self._call("pg_ctl", "-D", "data", "-m", how, "-w", "stop")

    def make(self, database: str) -> str:
        """A fresh database; its URL."""
        engine = create_engine(self.url(), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {database}"))
        engine.dispose()
        return self.url(database)

    def _call(self, name: str, *arguments: str) -> None:
        command = [str(self.binaries / name), *arguments]
        user = {"user": self.user, "group": self.user} if os.geteuid() == 0 else {}
        with (self.folder / "calls").open("ab") as log:
            done = subprocess.run(command, cwd=self.folder, stdout=log, stderr=log, check=False, timeout=100, **user)
        if done.returncode:
            raise RuntimeError((self.folder / "calls").read_text())


@contextmanager
def served() -> Iterator[Server]:
    """A running server; the test is skipped where PostgreSQL is not installed."""
    if not INSTALLED:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    pytest.importorskip("psycopg", reason="PostgreSQL's driver is not installed: pip install 'psycopg[binary]'")
    # Not pytest's folder: nobody but its owner may pass through that, and the server is run by somebody else.
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="lesion-pg-", dir=memory if memory.is_dir() else None))
    try:
        server = Server(folder, INSTALLED[-1].parent)
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
