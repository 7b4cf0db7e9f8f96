"""The doctor's look at what the studies of a workspace share: the ledger's file, scratch folders, disk use."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

from sqlalchemy.exc import OperationalError

from search.busy import Wait, connect_args
from search.database import cut_short, explained
from search.doctor.findings import Finding, Usage, readable, size_of
from search.journal import cut_journal
from search.series import study_of
from search.workspace import PROBE, QUESTION, Workspace

OUT_OF_REACH = (
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
)  # fmt: skip
"""What SQLite answers where it was not let to the file; whether that is damaged, nobody has seen."""


def of_ledger_file(place: Workspace) -> Iterator[Finding]:
    """A damaged SQLite file; its own check reads every page.

    Raises LedgerAccessError where it cannot be read, because another program holds it for one.
    """
    path = Path(place.ledger_url.removeprefix("sqlite:///"))
    if not place.ledger_url.startswith("sqlite:///") or not path.exists():
        return
    why = "the ledger is the only truth about every search here"
    if problem := cut_short(place.ledger_url, place.studies_on_disk()):
        yield Finding("damaged ledger", str(path), problem, why, "restore a copy, or delete the file to begin anew")
        return
    if problem := cut_journal(path):  # before SQLite opens the file, which plays back what there is of the journal
        yield Finding("damaged ledger", f"{path}-journal", problem, why, "restore a copy of it, or of the ledger")
        return
    said = _checked(path)
    if said != ["ok"]:
        yield Finding(
            "damaged ledger", str(path), "; ".join(said), why,
            f"restore a copy, or save what can be read: sqlite3 {path} .recover | sqlite3 ledger-recovered.db",
        )  # fmt: skip


def _checked(path: Path) -> list[str]:
    """What SQLite's own check says of the file, "ok" where it is whole."""
    check = "PRAGMA quick_check(5)"
    try:
        connection = sqlite3.connect(f"file:{path}?mode=rw", uri=True, **connect_args(Wait()))
        try:
            return [str(line) for (line,) in connection.execute(check)]
        finally:
            connection.close()
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in OUT_OF_REACH:
            return [str(error)]
        with explained("read"):
            raise OperationalError(check, None, error) from error


def of_scratch(place: Workspace) -> Iterator[Finding]:
    """What sessions that were killed left in Ray's scratch folder, questions put to nodes, and probes of the disk."""
    left = [
        *(place.ray.iterdir() if place.ray.is_dir() else ()),
        *place.path.glob(f"{QUESTION}*"),
        *place.path.glob(f"{PROBE}*"),
    ]
    for path in sorted(left):
        yield Finding(
            "scratch", str(path), readable(size_of(path)), "a killed session left it; nothing reads it",
            "delete it", partial(remove, path),
        )  # fmt: skip


def usage_of(place: Workspace, studies: Collection[str]) -> Iterator[Usage]:
    """Bytes by kind; `studies` are those of the ledger."""
    folders = place.path / "checkpoints"
    unknown = [
        each
        for each in (folders.iterdir() if folders.is_dir() else ())
        if not {each.name, study_of(each.name)} & {*studies}
    ]
    foreign = sum(map(size_of, unknown))
    names = ", ".join(sorted(each.name for each in unknown))
    how = f"of no study in this ledger: {names}; delete them if their ledger is gone" if unknown else ""
    yield Usage("checkpoints", size_of(folders), foreign, how)
    cached = size_of(place.cache)
    yield Usage("cache", cached, cached, "delete the folder while no search runs; it is made again" if cached else "")
    for kind in ("artifacts", "data", "test", "reports", "spool", "ray"):
        yield Usage(kind, size_of(place.path / kind))
    for kind in ("ledger.db", "mlflow.db"):
        yield Usage(kind, size_of(place.path / kind))


def remove(path: Path) -> None:
    """Delete a file, or a folder with all that is in it; raises OSError where it is still there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    if os.path.lexists(path):
        raise OSError(f"{path} could not be deleted")
