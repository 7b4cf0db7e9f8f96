"""The doctor's look at the cache: notes, draws, footprints and feature maps, in folders that hold them side by side.

Feature maps are a folder each. Every other folder is one of entries, and is itself never torn.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from search.doctor.findings import Finding, readable, size_of
from search.doctor.workspace import remove

HALF_MADE = ("*.partial", ".*.json.[0-9]*")
"""What a writer works on beside the entry; earlier versions put their pid behind the name of a footprint."""


def of_cache(cache: Path) -> Iterator[Finding]:
    """Entries of the cache that are torn; asked for only while nobody computes one."""
    for path in _entries(cache):
        why = _torn(path)
        if why:
            yield Finding(
                "torn cache entry", str(path), why, "a trial that needs it makes it again, which takes its time",
                "delete it", partial(remove, path),
            )  # fmt: skip


def _entries(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_dir() and not _is_half_made(path) and not _is_of_maps(path):
            yield from _entries(path)
        else:
            yield path


def _is_half_made(path: Path) -> bool:
    return any(fnmatch(path.name, kind) for kind in HALF_MADE)


def _is_of_maps(folder: Path) -> bool:
    from lesion.embeddings import MANIFEST, MAPS  # noqa: PLC0415 - torch takes seconds

    return (folder / MANIFEST).exists() or (folder / MAPS).exists()


def _torn(path: Path) -> str:
    """Why an entry of the cache is not whole; empty where it is, or is none."""
    if _is_half_made(path):
        return f"half-made, {readable(size_of(path))}"
    try:
        if path.is_dir():
            _read_maps(path)
        elif path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".npz":
            with ZipFile(path) as archive:
                bad = archive.testzip()
            return f"{bad} is damaged" if bad else ""
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        return str(error)
    return ""


def _read_maps(folder: Path) -> None:
    """Maps are as large as their header says; whether their checksum holds is looked at when they are used."""
    import numpy as np  # noqa: PLC0415

    from lesion.embeddings import MANIFEST, MAPS  # noqa: PLC0415 - torch takes seconds

    json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    np.load(folder / MAPS, mmap_mode="r", allow_pickle=False)
