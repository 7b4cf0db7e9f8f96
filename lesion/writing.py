"""Files that are whole or not there, whenever their writer dies."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path


def permitted() -> None:
    """Nothing stands against a write: what `check` is where nobody has to be asked."""


def write_atomically(path: Path, *parts: bytes | memoryview, check: Callable[[], object] = permitted) -> None:
    """Write `parts` to `path` such that a reader finds the old content or the new one, never a part of it.

    `check` is called once they are on the disk; what it raises leaves the old content.
    """
    # No two writers share a name, not even those of one pid on two machines.
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with beside.open("wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        check()
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
