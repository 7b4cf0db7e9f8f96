"""Every image of a source, decoded by all cores into one file of raw pixels, with a journal.

A worker writes the pixels of an image to its place in the file; the parent notes in the journal what was
written, with a checksum of the pixels. A killed run is continued from there: rows whose pixels are still what the
journal says are not decoded again. Workers hold one photo at a time, so memory does not grow with the data set.
"""

from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import signal
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from lesion.data.archives import Member, read
from lesion.data.decode import Geometry, decode
from lesion.errors import DataAccessError, DataError

PIXELS, JOURNAL = "pixels.bin", "journal.jsonl"
_BATCH = 16

T = TypeVar("T")


class Progress(Protocol):
    """How long work tells where it stands; called often, from the process that called the work."""

    def __call__(self, done: int, total: int, what: str) -> None:
        """`done` of `total` steps of the stage `what` are over."""


def silent(done: int, total: int, what: str) -> None:
    """Progress that nobody looks at."""


@dataclass
class Decoded:
    """Outcome by row: sha256 of the file for what was decoded, the reason for what was not."""

    digests: dict[int, str] = field(default_factory=dict)
    broken: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Written:
    """One row a worker is done with: `crc` of its pixels and `digest` of its file, or the `error`."""

    row: int
    crc: int = 0
    digest: str = ""
    error: str = ""


def decode_all(
    members: Sequence[Member], folder: Path, *, size: int, geometry: Geometry, workers: int, progress: Progress = silent
) -> Decoded:
    """Decode `members` into ``folder/pixels.bin``, (N, size, size, 3) uint8, row by row; continue what is there.

    Raises DataError where the disk is full; broken images are returned, not raised.
    """
    pixels, row_bytes = folder / PIXELS, size * size * 3
    outcome = Decoded(digests=_continue(folder, row_bytes, len(members)))
    with disk_full_explained(folder, len(members) * row_bytes):
        _allocate(pixels, len(members) * row_bytes)
        todo = [(row, m) for row, m in enumerate(members) if row not in outcome.digests]
        task = partial(_write_batch, pixels, size, geometry)
        with (folder / JOURNAL).open("a", encoding="utf-8") as journal:
            progress(len(outcome.digests), len(members), "decoding")
            for batch in in_processes(task, _batches(todo), workers):
                for written in batch:
                    if written.error:
                        outcome.broken[written.row] = written.error
                    else:
                        outcome.digests[written.row] = written.digest
                        journal.write(json.dumps([written.row, written.crc, written.digest]) + "\n")
                journal.flush()
                progress(len(outcome.digests) + len(outcome.broken), len(members), "decoding")
    return outcome


def examine_all(members: Sequence[Member], *, workers: int, progress: Progress = silent) -> Decoded:
    """Decode `members` and throw the pixels away: which are broken, and the sha256 of the others."""
    outcome = Decoded()
    for batch in in_processes(_examine_batch, _batches(list(enumerate(members))), workers):
        for seen in batch:
            if seen.error:
                outcome.broken[seen.row] = seen.error
            else:
                outcome.digests[seen.row] = seen.digest
        progress(len(outcome.digests) + len(outcome.broken), len(members), "examining")
    return outcome


def in_processes(task: Callable[[T], list[_Written]], work: Iterable[T], workers: int) -> Iterator[list[_Written]]:
    """Yield ``task(item)`` for each item as it is done, from `workers` fresh processes, or from this one for 1."""
    if workers == 1:
        yield from map(task, work)
        return
    context = multiprocessing.get_context("spawn")  # forking a process that runs torch's threads can hang
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    try:
        futures: list[Future[list[_Written]]] = [pool.submit(task, item) for item in work]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise DataAccessError(
            "a decoding process died: out of memory (try fewer --workers), or the calling script does not guard its "
            "start with: if __name__ == '__main__'. What is decoded is kept"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end with it: a killed parent would leave its workers waiting for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _batches(work: list[tuple[int, Member]]) -> list[list[tuple[int, Member]]]:
    return [work[i : i + _BATCH] for i in range(0, len(work), _BATCH)]


def _write_batch(pixels: Path, size: int, geometry: Geometry, batch: list[tuple[int, Member]]) -> list[_Written]:
    with pixels.open("r+b") as file:
        return [_write(file.fileno(), size, geometry, row, member) for row, member in batch]


def _write(file: int, size: int, geometry: Geometry, row: int, member: Member) -> _Written:
    try:
        data = read(member)
        image = decode(data, size, geometry).tobytes()
    except DataError as error:
        return _Written(row, error=str(error))
    os.pwrite(file, image, row * len(image))
    return _Written(row, zlib.crc32(image), hashlib.sha256(data).hexdigest())


def _examine_batch(batch: list[tuple[int, Member]]) -> list[_Written]:
    return [_examine(row, member) for row, member in batch]


def _examine(row: int, member: Member) -> _Written:
    try:
        data = read(member)
        decode(data, 32, "stretch")
    except DataError as error:
        return _Written(row, error=str(error))
    return _Written(row, digest=hashlib.sha256(data).hexdigest())


def _continue(folder: Path, row_bytes: int, count: int) -> dict[int, str]:
    """Rows of an earlier run that are still as its journal says, with the digest of their file."""
    pixels, journal = folder / PIXELS, folder / JOURNAL
    if not (pixels.exists() and journal.exists()):
        return {}
    kept: dict[int, str] = {}
    lines: list[str] = []
    with pixels.open("rb") as file:
        for line in journal.read_text("utf-8").splitlines():
            try:
                row, crc, digest = json.loads(line)
            except ValueError:  # the line that was being written when the run was killed
                continue
            file.seek(row * row_bytes)
            if row < count and zlib.crc32(file.read(row_bytes)) == crc:
                kept[row] = digest
                lines.append(line + "\n")
    journal.write_text("".join(lines), "utf-8")
    return kept


def _allocate(path: Path, length: int) -> None:
    """Reserve the whole file at once, so that a disk that is too small says so now and not in an hour."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if hasattr(os, "posix_fallocate") and length:
            os.posix_fallocate(descriptor, 0, length)
        os.truncate(descriptor, length)
    finally:
        os.close(descriptor)


@contextmanager
def disk_full_explained(
    folder: Path, needed: int, what: str = "of pixels",
    then: str = "run the same command again, it continues; or prepare a smaller size",
) -> Iterator[None]:  # fmt: skip
    """Turn the disk's ENOSPC into a DataError that says how much is `needed` (bytes), of `what`, and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DataAccessError(
            f"{folder}: the disk is full ({needed / 2**30:.2f} GiB {what} are to be written): "
            f"free some space and {then}"
        ) from error
