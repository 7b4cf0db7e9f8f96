"""MLflow's client, and its database where that is a file: made by one process at a time, and refused where it was cut.

What MLflow makes of a damaged file is a page of SQL; of an empty one it makes a new database, in which no model has
been promoted.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from search.errors import MirrorError
from search.workspace import ARTIFACTS

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

TABLES = 300.0
"""Seconds that another process is given to make a database's tables; it takes some ten."""
HEADER = 100
"""Bytes that every SQLite database has; those at 16 and 17 are the size of a page."""
_DAMAGED = ("malformed", "not a database")
_REMEDY = (
    "restore a copy of it; or delete it, and 'lesion-search sync' tells every run again from the ledger, "
    "and models that were promoted have to be promoted again"
)


def client_of(uri: str) -> MlflowClient:
    """MLflow's client for runs and registered models at `uri`; MirrorError where that is a file which is damaged.

    The first one in a database makes its tables, and two processes that do so at once stumble over each other's.
    """
    from mlflow.tracking import MlflowClient  # noqa: PLC0415 - takes seconds
    from sqlalchemy.exc import DatabaseError  # noqa: PLC0415

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if not uri.startswith("sqlite:///"):
        return MlflowClient(uri, registry_uri=uri)
    path = Path(uri.removeprefix("sqlite:///"))
    with FileLock(path.with_name(f".{path.name}.lock"), timeout=TABLES):
        _require_whole(path)
        try:
            return MlflowClient(uri, registry_uri=uri)
        except DatabaseError as error:
            if any(word in str(error.orig) for word in _DAMAGED):
                raise MirrorError(f"MLflow's database {path} is damaged ({error.orig}): {_REMEDY}") from error
            raise


def _require_whole(path: Path) -> None:
    """SQLite takes what is left of a header for a new database, and fills up a last page that was cut with zeros."""
    if not path.exists():
        return
    size, kept = path.stat().st_size, path.with_name(ARTIFACTS)
    with path.open("rb") as file:
        page = int.from_bytes(file.read(HEADER)[16:18], "big")
    if not size and not (kept.is_dir() and any(kept.iterdir())):
        return  # as a process leaves it that was killed when it began
    # With a journal beside it, SQLite puts it right when it is opened.
    journals = any(path.with_name(f"{path.name}-{kind}").exists() for kind in ("journal", "wal"))
    if size < HEADER or (page > 1 and size % page and not journals):
        raise MirrorError(f"MLflow's database {path} is damaged (cut short, {size} bytes are left): {_REMEDY}")
