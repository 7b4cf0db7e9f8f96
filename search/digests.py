"""Checksums beside files that read as whole ones where they were cut: a table with a shorter last number."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

DIGESTS = "digests.json"


def write_digests(folder: Path, names: Iterable[str]) -> None:
    """Note in `folder` the SHA-256 of its files called `names`."""
    (folder / DIGESTS).write_text(json.dumps({name: _digest(folder / name) for name in names}))


def require_sound(folder: Path) -> None:
    """ValueError or OSError that names a file of `folder` which is not what was noted; nothing where nothing was."""
    noted = folder / DIGESTS
    if not noted.exists():
        return
    for name, digest in read_json(noted).items():
        if _digest(folder / name) != digest:
            raise ValueError(f"{folder / name} is damaged: its checksum differs")


def read_json(path: Path) -> dict[str, Any]:
    """What an object in JSON holds; ValueError that names the file where it was cut."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(told, dict):
        raise ValueError(f"{path} is damaged: it holds no object")
    return told


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
