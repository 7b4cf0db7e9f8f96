"""The doctor's look at the files of a study: checkpoints, predictions, half-written files, notes of locks."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from search.doctor.findings import Finding, readable, size_of
from search.locks import described, is_driven, lock_files
from search.ownership import ledger_name, ledgers_of, note_of
from search.predictions import PREDICTIONS, load_predictions
from search.rows import TrialRow
from search.study import StudyStatus
from search.workspace import Workspace


def of_files(place: Workspace, status: StudyStatus, kept: int | None) -> Iterator[Finding]:
    """Everything below the study's checkpoint folder that is half-written, damaged, of no trial, or missing.

    Checkpoints of the best `kept` complete trials should be there, of all where it is None.
    """
    folder = place.checkpoints(status.name)
    yield from of_half_written(folder)
    rows = {str(row.number): row for row in status.rows if row.state != "waiting"}
    others = {*ledgers_of(place, status.name)} - {ledger_name(place)}
    for each in sorted(folder.iterdir()) if folder.is_dir() else ():
        if each.is_dir() and each.name.isdecimal() and each.name not in rows:
            yield from _of_no_trial(each, note_of(place, status.name) if others else None)
    best = _best(status)[:kept]
    for row in rows.values():
        yield from _of_trial(folder / str(row.number), row, row in best)


def of_half_written(folder: Path, seconds: float = 0.0) -> Iterator[Finding]:
    """Files written beside what they were to replace, when their writer was killed.

    Those alone that are older than so many `seconds`, where a writer may be at work.
    """
    for path in sorted(folder.rglob("*.partial")) if folder.is_dir() else ():
        if seconds and not _is_older(path, seconds):
            continue
        yield Finding(
            "half-written file", str(path), readable(size_of(path)),
            "its writer was killed before it was whole; it only takes room", "delete it", partial(delete, path),
        )  # fmt: skip


def of_locks(place: Workspace, study: str) -> Iterator[Finding]:
    """Notes of who drives a study, left by a driver that was killed."""
    for lock in lock_files(place.lock(study), study, place.ledger_url):
        note = lock.with_suffix(".json")
        if note.exists() and not is_driven(lock):
            yield Finding(
                "stale lock", str(note), f"{study} is noted as driven{described(lock)}, and is not",
                "the note outlived its driver; the lock itself is free", "delete the note", partial(delete, note),
            )  # fmt: skip


def _of_no_trial(folder: Path, of_others: Path | None) -> Iterator[Finding]:
    """Checkpoints in the folder of a trial that has no row; `of_others` is a note of other ledgers of the study."""
    checkpoints = sorted(folder.glob("epoch-*.ckpt"))
    if checkpoints:
        found = f"{len(checkpoints)} checkpoints, {readable(sum(map(size_of, checkpoints)))}; no row has this number"
        yield Finding(
            "checkpoint of no trial", str(folder), found if of_others is None else f"{found}; see {of_others}",
            "an earlier ledger left them; a trial to come would pass over them",
            "delete the checkpoints; predictions stay" if of_others is None
            else "look with the other ledger that has driven the study (LESION_LEDGER); if that is gone, delete them",
            partial(delete, *checkpoints) if of_others is None else None,
        )  # fmt: skip


def _of_trial(folder: Path, row: TrialRow, best: bool) -> Iterator[Finding]:
    checkpoints = sorted(folder.glob("epoch-*.ckpt"))
    damaged = []
    for path in checkpoints:
        try:
            if is_sound(path):
                continue
        except OSError as error:  # whether it is sound is not known, so it stays
            yield Finding(
                "unreadable checkpoint", str(path), f"it cannot be read: {error}",
                "the trial cannot go on, nor be promoted, until the storage gives it", "look at the storage",
            )  # fmt: skip
            continue
        damaged.append(path)
        yield Finding(
            "damaged checkpoint", str(path), f"{readable(size_of(path))}, and its checksum differs",
            "the trial goes on from the one before it, or from its beginning" if row.state == "running"
            else "promotion passes over it for the one before",
            "delete it", partial(delete, path),
        )  # fmt: skip
    if row.state != "complete":
        return
    if best and len(damaged) == len(checkpoints):
        yield Finding(
            "lost checkpoint", str(folder), f"no sound checkpoint of trial {row.number}, one of the best",
            "promotion passes over the trial for the next best", "put the files back from a copy, if there is one",
        )  # fmt: skip
    problem = _predictions(folder / PREDICTIONS, row)
    if problem:
        yield Finding(
            "lost predictions", str(folder / PREDICTIONS), problem,
            "promotion and reports pass over the trial", "put the file back from a copy, if there is one",
        )  # fmt: skip


def is_sound(path: Path) -> bool:
    """Whether a checkpoint holds what its checksum says; without reading it as one. OSError where it cannot be read."""
    from lesion.checkpoints import DIGEST  # noqa: PLC0415 - torch takes seconds

    with path.open("rb") as file:
        told = file.read(DIGEST)
        return len(told) == DIGEST and hashlib.file_digest(file, "sha256").digest() == told


def _predictions(path: Path, row: TrialRow) -> str:
    """What is wrong with the validation predictions of a complete trial; empty where nothing is."""
    try:
        _, epoch, value = load_predictions(path)
    except FileNotFoundError:
        return "is not there"
    except (OSError, ValueError, KeyError) as error:
        return f"cannot be read: {error}"
    if (epoch, value) != (row.epoch, row.value):
        return f"is of value {value:.4g} after epoch {epoch}; the trial ended with {row.value} after {row.epoch}"
    return ""


def _best(status: StudyStatus) -> list[TrialRow]:
    """The complete trials, the best ones first."""
    sign = 1 if status.identity.direction == "maximize" else -1
    complete = [row for row in status.rows if row.state == "complete" and row.value is not None]
    return sorted(complete, key=lambda row: (-sign * float(row.value or 0.0), row.number))


def _is_older(path: Path, seconds: float) -> bool:
    try:
        return time.time() - path.stat().st_mtime > seconds
    except FileNotFoundError:  # its writer has just given it its name
        return False


def delete(*paths: Path) -> None:
    """Delete files, those too that are gone already."""
    for path in paths:
        path.unlink(missing_ok=True)
