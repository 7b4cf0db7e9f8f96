"""One driver a study: a lock file in the workspace, and beside it who holds it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from search.errors import LedgerAccessError


@contextmanager
def driving(lock: Path, study: str) -> Iterator[None]:
    """Hold `lock` for as long as this process drives `study`; the system frees it however the process ends.

    Raises LedgerAccessError that says who holds it.
    """
    # Not at once: `is_driven` of a passing 'status' may hold it for a moment.
    held = FileLock(lock, timeout=1)
    try:
        held.acquire()
    except Timeout:
        raise LedgerAccessError(
            f"the study {study!r} is being driven already{_described(lock)}; wait for it, stop it with Ctrl-C, "
            "or watch it with 'lesion-search status'"
        ) from None
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


def is_driven(lock: Path) -> bool:
    """Whether some process drives the study of `lock` now."""
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


def _holder(lock: Path) -> Path:
    return lock.with_suffix(".json")


def _described(lock: Path) -> str:
    try:
        holder = json.loads(_holder(lock).read_text())
        return f" by process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
