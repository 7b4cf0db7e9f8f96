"""Checkpoints of a training: written beside and renamed, with a checksum, the last two kept.

A file is `epoch-<n>.ckpt`: 32 bytes SHA-256, then a torch archive, which is read with `weights_only`, so that
a file from somebody else cannot run code. A damaged file is passed over for the one before it. One that the storage
does not give just now, or for which there is no memory, is not: it may be as sound as ever.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch

from lesion.devices import is_out_of_memory
from lesion.errors import CheckpointAccessError, CheckpointError
from lesion.writing import permitted, write_atomically

DIGEST = hashlib.sha256().digest_size
KEPT = 2


def save(state: dict[str, Any], folder: Path, check: Callable[[], object] = permitted) -> Path:
    """Write the state of a training, which has an `epoch`, and forget all but it and the one before.

    One process at a time writes to a folder; what a killed one left half-written goes too. `check` raises where that is
    not this one any more: it is called before the file gets its name, and before others go, for making the state takes
    seconds. Raises OSError when the disk is full; what stood there before stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getbuffer()
    path = folder / f"epoch-{state['epoch']:04d}.ckpt"
    write_atomically(path, hashlib.sha256(content).digest(), content, check=check)
    check()
    # Later epochs than this one are damaged or of another course, or training would not have come here again.
    kept = [each for each in saved(folder) if each <= path][-KEPT:]
    for old in {*saved(folder), *folder.glob(".epoch-*.partial")}.difference(kept):
        old.unlink(missing_ok=True)
    return path


def load(path: Path) -> dict[str, Any]:
    """The state in a checkpoint; CheckpointError when it is missing or damaged.

    CheckpointAccessError when the storage does not give it; where memory runs out, that error comes as it is.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as problem:
        raise CheckpointError(f"{path} cannot be read: {problem}") from problem
    except OSError as problem:
        raise CheckpointAccessError(
            f"{path} cannot be read: {problem}. It stays as it is; look at the storage, and run the same command again"
        ) from problem
    if hashlib.sha256(content[DIGEST:]).digest() != content[:DIGEST]:
        raise CheckpointError(f"{path} is damaged: its checksum differs")
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(content[DIGEST:]), map_location="cpu", weights_only=True)
    except Exception as problem:  # as written, so it is no checkpoint of ours: torch has a dozen ways to say so
        if is_out_of_memory(problem):
            raise
        raise CheckpointError(f"{path} is not a checkpoint: {type(problem).__name__} when it was read") from problem
    return state


def load_latest(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """The newest sound state in a folder, or None, and what was passed over to find it.

    Raises CheckpointAccessError where the storage does not give one of them.
    """
    passed_over: list[str] = []
    for path in reversed(saved(folder)):
        try:
            return load(path), passed_over
        except CheckpointError as problem:
            passed_over.append(str(problem))
    return None, passed_over


def saved(folder: Path) -> list[Path]:
    """The checkpoints of a folder, oldest first; CheckpointAccessError where the storage does not list it."""
    try:
        # Not by `glob`, which takes a folder that cannot be listed for an empty one.
        found = [path for path in folder.iterdir() if fnmatch(path.name, "epoch-*.ckpt")]
    except FileNotFoundError:
        return []
    except OSError as problem:
        raise CheckpointAccessError(f"{folder} cannot be listed: {problem}; look at the storage") from problem
    return sorted(found)
