"""Where images lie: a folder or a zip, listed without unpacking and read one image at a time.

A zip is never extracted. An entry that would leave its folder is refused all the same, because whoever
made such a file meant harm, and somebody will unpack it by hand one day.
"""

from __future__ import annotations

import hashlib
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from lesion.errors import DataError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"})
MAX_BYTES = 1 << 29
"""An image file of more than half a gigabyte is refused unread."""

DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError)
"""What reading a damaged zip raises; bzip2 alone raises a plain OSError."""

_CHUNK = 1 << 20
_OUTSIDE = re.compile(r"^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)")


@dataclass(frozen=True)
class Member:
    """One file of a folder or of a zip; `name` is its path inside, with forward slashes; `size` in bytes."""

    container: Path
    name: str
    size: int

    @property
    def id(self) -> str:
        """File name without folder and suffix, e.g. ``ISIC_0000000``."""
        return PurePosixPath(self.name).stem

    @property
    def is_image(self) -> bool:
        """Whether this is a photo: neither text, nor a superpixel mask, nor what macOS leaves in zips."""
        path = PurePosixPath(self.name)
        hidden = any(p.startswith(".") or p == "__MACOSX" for p in path.parts)
        return path.suffix.lower() in IMAGE_SUFFIXES and not hidden and not path.stem.endswith("_superpixels")

    def __str__(self) -> str:
        return f"{self.container.name}/{self.name}"


def members(container: Path) -> list[Member]:
    """Files of a folder (with its subfolders) or of a zip, sorted by name.

    Raises DataError for what is neither, for a truncated zip and for entries that leave their folder.
    """
    if container.is_dir():
        files = (p for p in container.rglob("*") if p.is_file())
        found = [Member(container, p.relative_to(container).as_posix(), p.stat().st_size) for p in files]
    else:
        entries = [e for e in _zip(container).infolist() if not e.is_dir()]
        outside = [e.filename for e in entries if _OUTSIDE.search(e.filename)]
        if outside:
            raise DataError(
                f"{container}: entries that leave their folder: {len(outside)} ({', '.join(outside[:5])}): "
                "this is no archive to trust; get it from its source again"
            )
        found = [Member(container, e.filename, e.file_size) for e in entries]
    return sorted(found, key=lambda m: m.name)


def images(found: Iterable[Member]) -> list[Member]:
    """The photos among `found`."""
    return [m for m in found if m.is_image]


def read(member: Member) -> bytes:
    """The bytes of one file; DataError says why they cannot be had."""
    if member.size > MAX_BYTES:
        raise DataError(f"has {member.size:,} bytes, more than the limit of {MAX_BYTES:,}")
    try:
        if member.container.is_dir():
            return (member.container / member.name).read_bytes()
        return _zip(member.container).read(member.name)
    except DAMAGED as error:
        raise DataError(f"is damaged inside its zip ({error}); download the zip again") from error
    except (RuntimeError, NotImplementedError) as error:
        raise DataError(f"cannot be unpacked ({error}); unpack the zip yourself and give the folder") from error
    except OSError as error:
        raise DataError(f"cannot be read ({error})") from error


def checksum(container: Path, used: Iterable[Member]) -> str:
    """Sha256 in hex: of a file as it is; of a folder over the names and bytes of the files `used` of it."""
    digest = hashlib.sha256()
    if not container.is_dir():
        with container.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest()
    for member in sorted(used, key=lambda m: m.name):
        content = hashlib.sha256(read(member)).hexdigest()
        digest.update(f"{member.name}\0{content}\n".encode())
    return digest.hexdigest()


def _zip(path: Path) -> zipfile.ZipFile:
    try:
        return _opened(path, path.stat().st_mtime_ns)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file or folder") from error
    except zipfile.BadZipFile as error:
        raise DataError(
            f"{path}: not a whole zip ({error}, {path.stat().st_size:,} bytes): its download was probably cut "
            "short; get it again, 'lesion-search data download' continues where it stopped"
        ) from error


@lru_cache(maxsize=8)
def _opened(path: Path, mtime_ns: int) -> zipfile.ZipFile:
    """One open handle for a zip in a process: reading the directory of 25 000 entries costs half a second."""
    return zipfile.ZipFile(path)
