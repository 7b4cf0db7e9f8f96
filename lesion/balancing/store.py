"""Resampling among neighbours is computed once for each data set and its settings, and shared between trials.

Neighbours cost seconds to minutes, and a study asks for the same ones again and again. So what is drawn is a function
of data and settings, not of the trial: the generator is seeded from the key under which the draws are stored. A
balancing that seeks no neighbours is drawn anew for each trial.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path

import filelock
import numpy as np

from lesion.balancing.draws import Draws, Part, balancings
from lesion.errors import DataError, SettingError
from lesion.registry import Value
from lesion.writing import write_atomically

FORMAT = 1

_log = logging.getLogger(__name__)


def seeks_on(settings: Mapping[str, Value]) -> str | None:
    """The vectors among which a balancing with these settings, complete, seeks neighbours; None if it seeks none.

    Raises SettingError where the links of a chain seek on different ones.

    >>> seeks_on({"cap.count": 3352, "smote_tomek.neighbours": 5, "smote_tomek.on": "pixels"})
    'pixels'
    """
    asked = {path: str(value) for path, value in settings.items() if path.rpartition(".")[2] == "on"}
    if len(set(asked.values())) > 1:
        raise SettingError(f"{' and '.join(f'{path} {on}' for path, on in asked.items())}: a chain seeks on one")
    return next(iter(asked.values()), None)


def drawn(part: Part, name: str, settings: Mapping[str, Value], rng: np.random.Generator, folder: Path | None) -> Draws:
    """What the balancing `name` draws from all of `part`; `settings` are complete.

    Draws among neighbours come from `folder`, or are computed and put there; the others are drawn with `rng`. With no
    folder they are computed, the same. Raises SettingError as the balancing does, and DataError where the folder cannot
    be written.
    """
    on = seeks_on(settings)
    if on is None:
        return _build(part, name, settings, rng)
    key = store_key(part, name, settings, on)
    if folder is None:
        return _build(part, name, settings, _seeded(key))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / f".{key[:32]}.lock"):
            return _stored(folder / f"draws-{key[:32]}.npz", part, name, settings, key)
    except OSError as problem:
        raise DataError(f"the draws of {name} cannot be kept in {folder}: {problem}") from problem


def store_key(part: Part, name: str, settings: Mapping[str, Value], on: str) -> str:
    """Sha256 in hex of everything that draws among neighbours depend on."""
    facts = {
        "format": FORMAT,
        "part": part.key,
        "classes": part.classes,
        "labels": hashlib.sha256(part.labels.astype("<i8").tobytes()).hexdigest(),
        "vectors": part.vectors_on(on).key,
        "balancing": name,
        "settings": dict(settings),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _build(part: Part, name: str, settings: Mapping[str, Value], rng: np.random.Generator) -> Draws:
    draws: Draws = balancings[name].build(part, Draws.everything(len(part)), rng, **settings)
    return draws


def _seeded(key: str) -> np.random.Generator:
    return np.random.default_rng(int(key[:16], 16))


def _stored(file: Path, part: Part, name: str, settings: Mapping[str, Value], key: str) -> Draws:
    if file.exists():
        try:
            return _read(file, part)
        except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile) as problem:
            _log.warning("%s is damaged (%s); the draws are made again", file, problem)
    draws = _build(part, name, settings, _seeded(key))
    buffer = io.BytesIO()
    np.savez(buffer, **{name: value for name, value in vars(draws).items() if value is not None})
    write_atomically(file, buffer.getbuffer())
    return draws


def _read(file: Path, part: Part) -> Draws:
    # Every array of the archive carries a checksum, which is compared as it is read.
    with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as arrays:
        draws = Draws(**{name: arrays[name] for name in arrays.files})
    if max(draws.row.max(), draws.partner.max()) >= len(part):
        raise ValueError("rows beyond the training part")
    return draws
