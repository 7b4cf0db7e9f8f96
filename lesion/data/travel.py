"""A packed data set on every node: it travels once, and all trials of the node map that one copy.

    lesion-search run spaces/isic2018.yaml --data s3://bucket/data/isic2018
    lesion-search run spaces/isic2018.yaml --data file:///shared/data/isic2018

A source is the address of a packed set's folder, as fsspec reads it: a shared folder (``file://``), S3, GCS, HTTP.
The copy is called by its content hash, and the hash is checked when it arrives. One process of a node copies while
others wait; a copy that was changed or cut short since is fetched again.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import filelock

from lesion.data.packed import IMAGES, MANIFEST, TABLE, PackedDataset
from lesion.errors import DataAccessError, DataError
from lesion.writing import write_atomically

VARIABLE = "LESION_NODE_DATA"
FILES = (IMAGES, TABLE, MANIFEST)
SEAL = "copied.json"
"""Sizes and times of the files as they were when the hash was checked."""
SPARE = 1 << 28
"""Bytes that stay free on the node's disk."""
BLOCK = 1 << 24


def is_source(name: str) -> bool:
    """Whether `name` is an address, not a name or a path.

    >>> is_source("s3://bucket/data/isic2018"), is_source("../data/isic2018"), is_source("isic2018")
    (True, False, False)
    """
    return "://" in name


def node_folder() -> Path:
    """Where this node keeps its copies: $LESION_NODE_DATA, else a folder of the user's own among temporary files."""
    given = os.environ.get(VARIABLE)
    return Path(given) if given else _among_temporary() / "data"


def _among_temporary() -> Path:
    return Path(tempfile.gettempdir()) / f"lesion-search-{os.getuid()}"


def local_copy(source: str, content_hash: str | None = None, folder: Path | None = None) -> Path:
    """The folder of this node's copy of the packed set at `source`, copied if it is not there.

    With `content_hash` it has to be that set, and a copy that is there is found without asking the source. Raises
    DataError: nothing is there, something else is, it arrived damaged, or the disk is too full; with `content_hash`,
    which is known because the set was there before, DataAccessError that names this node.
    """
    folder = folder or node_folder()
    with _explained(source, folder, known=content_hash is not None):
        if content_hash is None:
            content_hash = _hash_at(source)
        _make(folder)
        place = _place(folder, content_hash)
        with _lock(place):
            if not _is_sound(place, content_hash):
                _copy(source, content_hash, place)
        return place


def require_access(source: str, content_hash: str, folder: Path | None = None) -> None:
    """Raise DataAccessError, with this node's name, where it has no copy of the set at `source` and could make none.

    Asked are the source, for the set's manifest, and the disk, for room; nothing is copied. What a killed process left
    of a copy goes; while one is under way, which takes the room, the disk is not asked.
    """
    folder = folder or node_folder()
    with _explained(source, folder, known=True):
        _make(folder)
        place = _place(folder, content_hash)
        if (place / SEAL).is_file():
            return
        _require_same(source, _hash_at(source), content_hash)
        with suppress(filelock.Timeout), _lock(place, timeout=0):
            _remove_partial(place)
            _require_room(source, folder, *_addresses(source))


def _make(folder: Path) -> None:
    """Make the folder of copies; among temporary files, where anybody may have made it first, it has to be ours."""
    ours = _among_temporary()
    if folder.parent == ours:
        were_open = []
        for each in (ours, folder):
            each.mkdir(exist_ok=True, mode=0o700)
            were_open.append(_was_open(each))
        if any(were_open):  # through either, others could change what is below
            _distrust(folder)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def _was_open(folder: Path) -> bool:
    """Whether others could write into a folder of ours until now; raises DataError where it is not ours."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise DataError(
            f"{folder} is another account's or a link, so copies there may be changed: remove it, or name a folder of "
            f"your own in {VARIABLE}"
        )
    # It is ours, with the rights that a umask left.
    if was_open := bool(found.st_mode & 0o022):
        folder.chmod(0o700)
    return was_open


def _distrust(folder: Path) -> None:
    """Have the copies in `folder`, which others could change, read and checked again; what they still can, goes."""
    for place in list(folder.iterdir()):
        if all(map(_is_ours_alone, [place, *place.rglob("*")])):
            if place.is_dir():
                (place / SEAL).unlink(missing_ok=True)
        elif place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink()


def _is_ours_alone(path: Path) -> bool:
    """Whether only we can write to it, once nobody else comes to its folder: no link leads to or from elsewhere."""
    found = path.lstat()
    alone = stat.S_ISDIR(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_nlink == 1)
    return alone and found.st_uid == os.getuid()


def _place(folder: Path, content_hash: str) -> Path:
    return folder / content_hash[:32]


def _lock(place: Path, timeout: float = -1) -> filelock.BaseFileLock:
    """Of who copies to `place`; raises filelock.Timeout after so many seconds, never where they are negative."""
    return filelock.FileLock(place.with_name(f".{place.name}.lock"), timeout=timeout)


def _remove_partial(place: Path) -> None:
    """Remove what killed processes left of copies to `place`; the caller holds its lock."""
    for old in place.parent.glob(f".{place.name}.partial-*"):
        shutil.rmtree(old, ignore_errors=True)


def _copy(source: str, content_hash: str, place: Path) -> None:
    """Fetch beside `place`, check, and rename; what stood there, and what a killed process left, goes."""
    shutil.rmtree(place, ignore_errors=True)
    _remove_partial(place)
    beside = place.with_name(f".{place.name}.partial-{uuid.uuid4().hex[:8]}")
    beside.mkdir()
    try:
        _fetch(source, beside)
        data = PackedDataset.open(beside)
        _require_same(source, data.content_hash, content_hash)
        data.verify()
        (beside / SEAL).write_text(json.dumps(_stamps(beside)))
        beside.rename(place)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _fetch(source: str, folder: Path) -> None:
    system, addresses = _addresses(source)
    _require_room(source, folder.parent, system, addresses)
    for name, address in addresses.items():
        with system.open(address, "rb") as opened, (folder / name).open("wb") as file:
            shutil.copyfileobj(opened, file, BLOCK)


def _require_same(source: str, found: str, wanted: str) -> None:
    if found != wanted:
        raise DataError(
            f"{source} holds other data than the study is of (content hash {found[:12]}, wanted {wanted[:12]}); "
            "give the address of the right set"
        )


def _require_room(source: str, folder: Path, system: Any, addresses: Mapping[str, str]) -> None:
    needed = sum(int(system.size(address) or 0) for address in addresses.values()) + SPARE
    if (free := shutil.disk_usage(folder).free) < needed:
        raise DataError(
            f"{source} needs {needed / 2**30:.2f} GiB in {folder}, {free / 2**30:.2f} GiB are free; "
            f"free some space, or name another folder in {VARIABLE}"
        )


def _hash_at(source: str) -> str:
    system, root = _system(source)
    with system.open(f"{root.rstrip('/')}/{MANIFEST}", "rb") as opened:
        found = json.loads(opened.read(1 << 24)).get("content_hash")
    if not isinstance(found, str) or not all(c in "0123456789abcdef" for c in found) or len(found) != 64:
        raise DataError(f"{source}/{MANIFEST} names no content hash; give the address of a folder that prepare wrote")
    return found


def _is_sound(place: Path, content_hash: str) -> bool:
    """Whether the copy is what was checked when it came; where only its times differ, it is read and checked again."""
    try:
        stamps = _stamps(place)
        if _sealed(place) == stamps:
            return True
        data = PackedDataset.open(place)
        data.verify()
    except (OSError, ValueError, DataError):
        return False
    if sound := data.content_hash == content_hash:
        with suppress(OSError):  # of an account that shares its copies, whose seal is not ours
            write_atomically(place / SEAL, json.dumps(stamps).encode())
    return sound


def _sealed(place: Path) -> object:
    """What the seal of a copy says; None where there is none, or a damaged one."""
    try:
        return json.loads((place / SEAL).read_text())
    except (OSError, ValueError):
        return None


def _stamps(folder: Path) -> dict[str, list[int]]:
    return {name: [(found := (folder / name).stat()).st_size, found.st_mtime_ns] for name in FILES}


def _system(source: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it."""
    import fsspec  # noqa: PLC0415 - only where data travel

    found: tuple[Any, str] = fsspec.core.url_to_fs(source)
    return found


def _addresses(source: str) -> tuple[Any, dict[str, str]]:
    """The file system of an address, and where each file of the set lies in it."""
    system, root = _system(source)
    return system, {name: f"{root.rstrip('/')}/{name}" for name in FILES}


@contextmanager
def _explained(source: str, folder: Path, known: bool) -> Iterator[None]:
    """Turn what a file system says into a DataError; of a set that is `known` to be there, into a DataAccessError."""
    try:
        with _told(source, folder):
            yield
    except DataError as problem:
        if not known:
            raise
        raise DataAccessError(f"{platform.node()}: {problem}") from problem


@contextmanager
def _told(source: str, folder: Path) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except ImportError as problem:
        raise DataError(f"{source}: {problem}; install what reads it: pip install 'lesion-search[remote]'") from problem
    except FileNotFoundError as problem:
        raise DataError(
            f"{source}: no packed data set is there ({problem}); give the address of its folder"
        ) from problem
    except Exception as problem:  # each file system has its own errors
        raise DataError(f"{source} cannot be copied to {folder}: {type(problem).__name__}: {problem}") from problem
