"""The official files of the ISIC challenges, fetched from the challenge archive.

A file grows as ``<name>.part`` and is renamed when it is whole, so an interrupted download is continued by the next
one. The archive publishes no checksums. What is checked is what the server says (length, and MD5 where
the ETag is one), the CRC of every zip entry, and on later runs the SHA-256 that the first run wrote beside the file.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import shutil
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from lesion.data.archives import DAMAGED
from lesion.data.decoding import Progress, disk_full_explained, silent
from lesion.errors import DataAccessError, DataError, unknown

ARCHIVE = "https://isic-archive.s3.amazonaws.com/challenges"

FILES: Mapping[str, tuple[str, ...]] = {
    "isic2017": tuple(
        f"2017/ISIC-2017_{part}_{what}"
        for part in ("Training", "Validation", "Test_v2")
        for what in ("Data.zip", "Part3_GroundTruth.csv")
    ),
    "isic2018": (
        "2018/ISIC2018_Task3_Training_Input.zip",
        "2018/ISIC2018_Task3_Training_LesionGroupings.csv",
        "2018/ISIC2018_Task3_Validation_Input.zip",
        "2018/ISIC2018_Task3_Test_Input.zip",
        "2018/ISIC2018_Task3_Training_GroundTruth.zip",
        "2018/ISIC2018_Task3_Validation_GroundTruth.zip",
        "2018/ISIC2018_Task3_Test_GroundTruth.zip",
    ),
}
"""Paths under the archive; the ground truths of 2018 are zips of one CSV, read as they are."""

T = TypeVar("T")

ATTEMPTS = 5
_TIMEOUT = 60.0
_CHUNK = 1 << 20
_PLAIN_MD5 = re.compile(r'"([0-9a-f]{32})"')
_PERMANENT = (400, 401, 403, 404, 410)


@dataclass(frozen=True)
class _Remote:
    """What the server says about a file: length in bytes, and its ETag."""

    url: str
    length: int
    etag: str

    @property
    def md5(self) -> str | None:
        """The ETag where it is an MD5; that of a file uploaded in pieces is none."""
        match = _PLAIN_MD5.fullmatch(self.etag)
        return match[1] if match else None


def download(
    dataset: str,
    folder: Path,
    *,
    base_url: str = ARCHIVE,
    progress: Progress = silent,
    pause: Callable[[float], None] = time.sleep,
) -> list[Path]:
    """Fetch every file of ``isic2017`` or ``isic2018`` into `folder`; what is there and sound is not fetched again.

    A connection that breaks is tried again, after a `pause` in seconds, from where it broke. Raises DataError naming
    the URL and the fix.
    """
    if dataset not in FILES:
        raise DataError(unknown("data set to download", dataset, FILES))
    if urlsplit(base_url).scheme not in ("http", "https"):
        raise DataError(f"{base_url}: must begin with https:// (or http://)")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return [fetch(f"{base_url}/{path}", folder, progress=progress, pause=pause) for path in FILES[dataset]]


def fetch(url: str, folder: Path, *, progress: Progress = silent, pause: Callable[[float], None] = time.sleep) -> Path:
    """Fetch one file into `folder`, unless it is there with the SHA-256 noted beside it.

    A file that somebody put there is taken if it is the server's. One that is not, and a ``.part`` that no download of
    ours began, stay as they are: DataError says to move them away.
    """
    target = folder / url.rsplit("/", 1)[1]
    sidecar = target.with_name(f"{target.name}.sha256")
    part = target.with_name(f"{target.name}.part")
    if not (target.exists() and sidecar.exists()):
        remote = _persistently(lambda: _ask(url), url, pause)
        if target.exists():
            _require_same(target, remote)
            sidecar.write_text(_noted(target, target.name), "ascii")
        else:
            _require_own(part)
            _complete(remote, part, progress, pause)
            sidecar.write_text(_noted(part, target.name), "ascii")
            part.rename(target)
            _note(part).unlink()
    else:
        _verify(target, sidecar)
    progress(target.stat().st_size, target.stat().st_size, target.name)
    return target


def _note(part: Path) -> Path:
    """Where the ETag of the file that `part` is of stands: what marks it as ours."""
    return part.with_name(f"{part.name}.etag")


def _noted(path: Path, name: str) -> str:
    return f"{_hash(path, 'sha256')}  {name}\n"


def _require_same(target: Path, remote: _Remote) -> None:
    """Raise DataError unless a file that was not fetched by us is what the server has; it is left as it is."""
    problem = _problem(target, remote) if target.is_file() else "is a folder"
    if problem:
        raise DataError(
            f"{target} was not downloaded by this command and is another file than {remote.url}: it {problem}. "
            "It was left as it is: move it away and download again"
        )


def _require_own(part: Path) -> None:
    if part.exists() and not (part.is_file() and _note(part).exists()):
        raise DataError(
            f"{part} was not begun by this command (there is no {_note(part).name} beside it), so it is not continued. "
            "It was left as it is: move it away and download again"
        )


def _complete(remote: _Remote, part: Path, progress: Progress, pause: Callable[[float], None]) -> None:
    then = "run the same command again, it continues"
    with disk_full_explained(part.parent, remote.length, f"of {remote.url}", then):
        _require_space(part.parent, part, remote)
        _persistently(lambda: _append(remote, part, progress), remote.url, pause)
    if problem := _problem(part, remote):
        part.unlink()
        _note(part).unlink()
        raise DataAccessError(f"{remote.url}: what arrived {problem}; it was removed, download it again")


def _persistently(action: Callable[[], T], url: str, pause: Callable[[float], None]) -> T:
    """Do `action`, again and again where the network is at fault, 1, 2, 4 … seconds apart."""
    for attempt in range(ATTEMPTS):
        try:
            return action()
        except urllib.error.HTTPError as error:
            with error:
                if error.code in _PERMANENT:
                    raise DataError(
                        f"{url}: the server says {error.code} {error.reason}: {_advice(error.code)}"
                    ) from error
                failure: Exception = error
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            failure = error
        if attempt < ATTEMPTS - 1:
            pause(2.0**attempt)
    raise DataAccessError(
        f"{url}: failed {ATTEMPTS} times ({failure}); run it again, it continues where it stopped"
    ) from failure


def _advice(code: int) -> str:
    return (
        "access is refused"
        if code in (401, 403)
        else "the archive may have moved the file; see challenge.isic-archive.com/data"
    )


def _ask(url: str) -> _Remote:
    with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_TIMEOUT) as answer:
        headers: Message = answer.headers
    length = headers.get("Content-Length", "")
    if not length.isdecimal():
        raise DataAccessError(
            f"{url}: the server does not say how long the file is, so nothing could tell whether it is whole"
        )
    return _Remote(url, int(length), headers.get("ETag", ""))


def _append(remote: _Remote, part: Path, progress: Progress) -> None:
    """Fetch what is missing of `part`; starts over where the server's file is not the one that was begun."""
    note = _note(part)
    if part.exists() and note.read_text("utf-8") != remote.etag:
        part.unlink()
    note.write_text(remote.etag, "utf-8")
    have = part.stat().st_size if part.exists() else 0
    if have > remote.length:
        part.unlink()
        have = 0
    if have < remote.length:
        request = urllib.request.Request(remote.url, headers={"Range": f"bytes={have}-"} if have else {})
        with ExitStack() as stack:
            answer = stack.enter_context(urllib.request.urlopen(request, timeout=_TIMEOUT))
            # A server that does not know ranges sends the whole file with 200.
            file = stack.enter_context(part.open("ab" if answer.status == 206 else "wb"))
            have = file.tell()
            while chunk := answer.read1(_CHUNK):
                have += file.write(chunk)
                progress(have, remote.length, part.name.removesuffix(".part"))
    if have < remote.length:
        raise ConnectionError(f"cut off after {have:,} of {remote.length:,} bytes")


def _problem(path: Path, remote: _Remote) -> str | None:
    """In what a file differs from what the server says of its own, or which entry of a zip is damaged."""
    if path.stat().st_size != remote.length:
        return f"has {path.stat().st_size:,} bytes, the server says {remote.length:,}"
    if remote.md5 and (found := _hash(path, "md5")) != remote.md5:
        return f"has MD5 {found}, the server says {remote.md5}"
    return _zip_problem(path) if remote.url.endswith(".zip") else None


def _zip_problem(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except DAMAGED as error:
        return f"is no whole zip ({error})"
    return f"is damaged in {damaged}" if damaged else None


def _verify(target: Path, sidecar: Path) -> None:
    noted = sidecar.read_text("ascii").split()[:1]
    found = _hash(target, "sha256")
    if noted != [found]:
        raise DataError(
            f"{target} is not what was downloaded (SHA-256 {found[:12]}…, noted {''.join(noted)[:12]}…): "
            f"remove it and {sidecar.name}, and download again"
        )


def _hash(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def _require_space(folder: Path, part: Path, remote: _Remote) -> None:
    needed = remote.length - (part.stat().st_size if part.exists() else 0)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DataAccessError(
            f"{folder}: {remote.url} needs {needed / 2**30:.2f} GiB more, {free / 2**30:.2f} GiB are free: "
            "free some space"
        )
