"""Which ledgers the trials in a workspace are of: a note beside the checkpoints of each study.

A workspace may hold trials of several ledgers: of its own, and of those that LESION_LEDGER named. To each of them the
studies of the others are trials that nobody has. So a session notes its ledger before its first trial, beside those of
earlier sessions, and `doctor` deletes what is of no study only where the ledger in use is the only one noted.

The workspace's own ledger is called so, for it moves with the workspace; any other by a digest of where it is, without
user and password. What can be told of one machine alone (a path, a socket, localhost) is of another ledger elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from contextlib import suppress
from pathlib import Path

from sqlalchemy.engine import make_url

from lesion.writing import write_atomically
from search.database import sqlite_file
from search.workspace import LEDGER, Workspace

NOTE = "ledgers.json"
OWN, UNKNOWN = "own", "unknown"
"""The workspace's own ledger; and what a note was of that is damaged, or was never made."""
WHERE = {"host": "PGHOST", "hostaddr": "PGHOSTADDR", "port": "PGPORT", "dbname": "PGDATABASE", "service": "PGSERVICE"}
"""By what a server and its database are found, and the variables that libpq takes for what a URL leaves out."""


def note_ledger(place: Workspace, study: str, *, begun: bool = False) -> None:
    """Note that the ledger in use drives `study`, or a series of finalists; the caller holds its lock.

    `begun` says that it has trials of it that were begun. Where it has none, checkpoints that no note tells of are
    another's, which drove the study before notes were made.
    On a full disk a note that lacks it is emptied: better none is believed than one that is wrong. Raises OSError where
    not even that can be done.
    """
    noted, mine = ledgers_of(place, study), ledger_name(place)
    if mine in noted:
        return
    if not noted and not begun and any(place.checkpoints(study).glob("*/epoch-*.ckpt")):
        noted = (UNKNOWN,)
    path = note_of(place, study)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{NOTE}.*.partial"):  # by a driver that was killed
            left.unlink(missing_ok=True)
        write_atomically(path, json.dumps([*noted, mine]).encode())
    except OSError:
        with suppress(FileNotFoundError):
            os.truncate(path, 0)


def ledgers_of(place: Workspace, study: str) -> tuple[str, ...]:
    """Names of the ledgers that have driven `study`, the first one first; none where no session has noted any."""
    try:
        noted = json.loads(note_of(place, study).read_bytes())
    except FileNotFoundError:
        return ()
    except (OSError, ValueError):
        return (UNKNOWN,)
    return tuple(noted) if isinstance(noted, list) and all(isinstance(name, str) for name in noted) else (UNKNOWN,)


def note_of(place: Workspace, study: str) -> Path:
    """Where the ledgers of `study` are noted."""
    return place.checkpoints(study) / NOTE


def ledger_name(place: Workspace) -> str:
    """What the ledger in use is called in notes."""
    file = sqlite_file(place.ledger_url)
    if file is None:
        where = _of_server(place.ledger_url)
    elif file.resolve() == (place.path / LEDGER).resolve():
        return OWN
    else:
        where = ["sqlite", platform.node(), str(file.resolve())]
    return hashlib.sha256(json.dumps(where).encode()).hexdigest()[:32]


def _of_server(url: str) -> list[str]:
    parsed = make_url(url)
    in_url = {"host": parsed.host, "port": parsed.port, "dbname": parsed.database, **parsed.query}
    # Whose database it is where none is named.
    usual = {"port": "5432", "dbname": parsed.username or ""}
    where = {
        part: str(in_url.get(part) or os.environ.get(variable) or usual.get(part, ""))
        for part, variable in WHERE.items()
    }
    machine = platform.node() if all(map(_is_here, (where["host"], where["hostaddr"]))) else ""
    return [parsed.get_backend_name(), machine, *where.values()]


def _is_here(host: str) -> bool:
    """Whether an address means the machine that asks: none at all, a socket's folder, the loopback."""
    return host in ("", "localhost", "::1") or host.startswith(("/", "127."))
