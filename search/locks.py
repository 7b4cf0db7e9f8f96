"""One driver a study: a lock file in the workspace, and one with the ledger where that is elsewhere.

The first keeps drivers of one workspace apart, the second those of all workspaces that share a ledger. With an SQLite
file it is a file beside it, with a PostgreSQL server an advisory lock. That one belongs to a connection, so that it
goes the moment its driver does, with ``kill -9`` or with the host. A server that restarts forgets it; `Hold.confirm`
takes it again before the next write, or finds that somebody else has it by now.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from sqlalchemy import Connection, Engine, NullPool, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from search.database import engine_options, explained, sqlite_file
from search.errors import LedgerAccessError
from search.workspace import LEDGER, Workspace

NAME_LENGTH = 63
"""Characters that PostgreSQL keeps of an application's name, in which the holder says who it is."""


@dataclass
class Hold:
    """The right to write to a study; `url` is its ledger's where a server has a lock as well, else empty."""

    study: str
    url: str = ""
    _engine: Engine | None = field(default=None, repr=False)
    _connection: Connection | None = field(default=None, repr=False)

    def confirm(self) -> bool:
        """Make sure that the study is still ours; LedgerAccessError where another driver has it by now.

        Whether it had been lost with the server's connection, so that another may have had it in between.
        A question to the server for every write: 0.2 ms beside the 5 ms of the write itself.
        """
        if not self.url:
            return False
        with explained("lock"):
            try:
                if self._connection is not None:
                    self._connection.execute(text("SELECT 1"))
                    return False
            except SQLAlchemyError:
                self.release()
            self._take()
        return True

    def release(self) -> None:
        """Let go of the server's lock."""
        with suppress(SQLAlchemyError):
            if self._connection is not None:
                self._connection.close()
        self._connection = None

    def _take(self) -> None:
        self._engine = self._engine or _lock_engine(self.url, _introduced())
        connection = self._engine.connect()
        if not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": _key(self.study)}).scalar():
            holder = _server_holder(connection, self.study)
            connection.close()
            raise LedgerAccessError(_occupied(self.study, f" by {holder}"))
        self._connection = connection


@contextmanager
def driving(lock: Path, study: str, url: str = "") -> Iterator[Hold]:
    """Hold `lock`, and that of the ledger at `url`, for as long as this process drives `study`.

    The system frees them however the process ends. Raises LedgerAccessError that says who holds one.
    """
    with ExitStack() as held:
        for path in lock_files(lock, study, url):
            held.enter_context(_locked(path, study))
        hold = Hold(study, url if _has_locks(url) else "")
        held.callback(hold.release)
        hold.confirm()
        yield hold


def is_driven(lock: Path, study: str = "", url: str = "") -> bool:
    """Whether some process drives the study of `lock` now, on this host or, by the ledger at `url`, on any."""
    return any(map(_is_held, lock_files(lock, study, url))) or bool(study and driver_elsewhere(study, url))


def driver_elsewhere(study: str, url: str) -> str | None:
    """Who holds the lock of `study` on the server at `url`, in words; None where nobody does or there is no server."""
    if not _has_locks(url):
        return None
    with explained("read"), _lock_engine(url, "lesion-search looks").connect() as connection:
        return _server_holder(connection, study)


def lock_files(lock: Path, study: str, url: str) -> tuple[Path, ...]:
    """The files that the driver of `study` holds: `lock`, and one with an SQLite ledger in another place.

    A ledger in another workspace has the lock of that one, which its own drivers hold.
    """
    database = sqlite_file(url) if url and study else None
    if database is None or not database.parent.is_dir():  # which the ledger says when it is opened
        return (lock,)
    database = database.resolve()  # two links to one file are one ledger
    there = Workspace(database.parent).lock(study)
    if database.name != LEDGER or not there.parent.is_dir():
        there = database.with_name(f".{database.name}.{study}.lock")
    return (lock,) if there == lock.resolve() else (lock, there)


def described(lock: Path) -> str:
    """Who left a note beside `lock`: " by process 7 on host since …"; empty where nobody did."""
    try:
        holder = json.loads(_holder(lock).read_text())
        return f" by process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


@contextmanager
def _locked(lock: Path, study: str) -> Iterator[None]:
    """Hold the file `lock`, with a note beside it of who does."""
    # Not at once: `is_driven` of a passing 'status' may hold it for a moment.
    held = FileLock(lock, timeout=1)
    try:
        held.acquire()
    except Timeout:
        raise LedgerAccessError(_occupied(study, described(lock))) from None
    except OSError as error:
        raise LedgerAccessError(
            f"the study {study!r} cannot be locked: {error}. Make {lock} and its folder writable for you"
        ) from error
    try:
        since = datetime.now().astimezone().isoformat(timespec="seconds")
        holder = {"pid": os.getpid(), "host": platform.node(), "since": since}
        with suppress(OSError):  # a courtesy to the next one; the lock itself holds without it
            _holder(lock).write_text(json.dumps(holder))
        yield
    finally:
        with suppress(OSError):
            _holder(lock).unlink(missing_ok=True)
        held.release()


def _is_held(lock: Path) -> bool:
    if not lock.exists():
        return False
    probe = FileLock(lock, timeout=0)
    try:
        probe.acquire()
    except Timeout:
        return True
    except OSError:  # a workspace that one may only read: no telling
        return False
    probe.release()
    return False


def _occupied(study: str, holder: str) -> str:
    return (
        f"the study {study!r} is being driven already{holder}; wait for it, stop it with Ctrl-C, "
        "or watch it with 'lesion-search status'"
    )


def _has_locks(url: str) -> bool:
    if not url:
        return False
    with explained("open"):
        return make_url(url).get_backend_name() == "postgresql"


def _lock_engine(url: str, name: str) -> Engine:
    # One connection, kept out of any pool, and in no transaction: a lock that is held for days must not hold up VACUUM.
    options: dict[str, Any] = engine_options(url)
    options["connect_args"] = {**options.get("connect_args", {}), "application_name": name}
    options |= {"pool_pre_ping": False, "poolclass": NullPool, "isolation_level": "AUTOCOMMIT"}
    return create_engine(url, **options)


def _server_holder(connection: Connection, study: str) -> str | None:
    """Who holds the lock of `study`; the server shows names of other roles' applications only to its owner."""
    query = (
        "SELECT coalesce(nullif(activity.application_name, ''), 'another role') FROM pg_locks AS lock "
        "JOIN pg_stat_activity AS activity USING (pid) WHERE lock.locktype = 'advisory' AND lock.granted "
        "AND lock.objsubid = 1 AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
        "AND (lock.classid::bigint << 32) | lock.objid::bigint = :key"
    )
    holder: str | None = connection.execute(text(query), {"key": _key(study)}).scalar()
    return holder


def _introduced() -> str:
    since = datetime.now().strftime("%m-%dT%H:%M")
    room = NAME_LENGTH - len(f"process {os.getpid()} on  since {since}")
    return f"process {os.getpid()} on {platform.node()[:room]} since {since}"


def _key(study: str) -> int:
    """The study's number among the advisory locks of a database: 63 bits, so that it is no negative number."""
    return int.from_bytes(hashlib.sha256(f"lesion-search {study}".encode()).digest()[:8], "big") >> 1


def _holder(lock: Path) -> Path:
    return lock.with_suffix(".json")
