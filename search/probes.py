"""Footprints of what a space may train: each measured once, and kept in the workspace.

A probe is a process of its own (`lesion.footprint`) on the node whose device it is about. There is one for each
backbone, image size, batch size and precision of a space; where these are many, one for each backbone and precision at
the largest of both sizes, which bounds all others.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import NamedTuple

from lesion.errors import unknown
from lesion.footprint import Footprint
from lesion.registry import Value
from lesion.writing import write_atomically
from search.errors import ClusterError
from search.preflight import values_of
from search.space import Space

MANY = 12
"""Probes of one space at most, before backbones are probed at their largest only."""
PATIENCE = 600
"""Seconds for one probe."""
POLL = 0.2
"""Seconds between two looks at whether the session is to end meanwhile."""
SIZES = ("image_size", "batch_size")
REVISION = 2
"""Counts changes of how the same settings are trained, and so of what they hold: files of an older one say nothing."""


class Key(NamedTuple):
    """What decides a footprint: `size` in pixels a side, `batch` in images, `precision` as in a space file."""

    backbone: str
    size: int
    batch: int
    precision: str = "auto"


Measure = Callable[[Key], Footprint]


def keys_of(space: Space) -> list[Key]:
    """What is to be probed for `space`."""
    sizes, batches = (_counts(space, name) for name in SIZES)
    precisions = sorted(map(str, _values(space, "precision")))
    backbones = next(([o.name for o in part.options] for part in space.tree.parts if part.kind == "backbone"), [])
    backbones = backbones or [str(_default("backbone"))]
    every = [Key(*each) for each in product(backbones, sizes, batches, precisions)]
    largest = product(backbones, [max(sizes)], [max(batches)], precisions)
    return every if len(every) <= MANY else [Key(*each) for each in largest]


def key_of(settings: Mapping[str, Value]) -> Key:
    """The key of a trial's flat settings."""
    backbone, size, batch, precision = (settings.get(n, _default(n)) for n in ("backbone", *SIZES, "precision"))
    return Key(str(backbone), int(size or 0), int(batch or 0), str(precision))


class Probes:
    """Footprints by key, out of the files in `folder`, or measured by `measure` and put there.

    `device` is the name of the GPU, or "cpu": what was measured on one says nothing of another. `otherwise` stands in
    for this session where `measure` raises ClusterError; without it that is raised.
    """

    def __init__(self, folder: Path, device: str, measure: Measure, otherwise: Footprint | None = None) -> None:
        self._folder, self._device, self._measure, self._otherwise = folder, device, measure, otherwise
        self._known: dict[Key, Footprint] = {}

    def probe(self, keys: Sequence[Key], tell: Callable[[str], object] = lambda text: None) -> list[Footprint]:
        """The footprints of `keys`; `tell` hears of each that has to be measured."""
        for key in keys:
            file = self._file(key)
            if (found := _read(file)) is None:
                tell(f"measuring {named(key)}, on {self._device}")
                found = self._measured(key, tell)
            self._known[key] = found
        return [self._known[key] for key in keys]

    def _measured(self, key: Key, tell: Callable[[str], object]) -> Footprint:
        try:
            found = self._measure(key)
        except ClusterError as error:
            if self._otherwise is None:
                raise
            tell(f"{error}; until it can, each of its trials gets a whole GPU")
            return self._otherwise
        _write(self._file(key), found)
        return found

    def of(self, settings: Mapping[str, Value]) -> Footprint:
        """The footprint of a trial: of its own key, or of the smallest probed one that bounds it."""
        key = key_of(settings)
        bounds = [
            each
            for each in self._known
            if (each.backbone, each.precision) == (key.backbone, key.precision)
            and each.size >= key.size
            and each.batch >= key.batch
        ]
        if not bounds:
            raise ClusterError(unknown("footprint", str(key), map(str, self._known)))
        return self._known[min(bounds, key=lambda each: each.size**2 * each.batch)]

    def _file(self, key: Key) -> Path:
        facts = json.dumps([REVISION, *key, self._device, version("torch"), version("torchvision")])
        return self._folder / f"{hashlib.sha256(facts.encode()).hexdigest()[:24]}.json"


def measured(key: Key, device: str = "cpu", threads: int = 1, pause: Callable[[], object] = lambda: None) -> Footprint:
    """Measure on this machine, in a process of its own; ClusterError says what it said.

    `pause` is called meanwhile; the process ends with what it raises.
    """
    sizes = {"image_size": key.size, "batch_size": key.batch}
    settings = {"backbone": key.backbone, **sizes, "precision": key.precision}
    asked = json.dumps({"settings": settings, "classes": 8, "device": device, "threads": threads})
    command = [sys.executable, "-m", "lesion.footprint"]
    # Beside this very package, wherever it was imported from.
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    pipe = subprocess.PIPE
    environment = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment) as process:
        try:
            said, complained = _heard(process, asked, pause)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        last = f"it ended with {process.returncode}; is there memory for one trial?"
        lines = complained.strip().splitlines() or [last]
        raise ClusterError(f"{named(key)}, cannot be measured: {lines[-1]}")
    return Footprint(**json.loads(said.splitlines()[-1]))


def _heard(process: subprocess.Popen[str], asked: str, pause: Callable[[], object]) -> tuple[str, str]:
    """What `process` prints and complains of, `asked` this."""
    deadline, question = time.monotonic() + PATIENCE, asked or None
    while True:
        try:
            return process.communicate(question, timeout=POLL)
        except subprocess.TimeoutExpired:
            question = None  # it has been put
            pause()
            if time.monotonic() > deadline:
                raise ClusterError(f"no footprint was measured within {PATIENCE} s: {asked}") from None


def named(key: Key) -> str:
    """A key in words."""
    precision = "" if key.precision == "auto" else f" in {key.precision}"
    return f"{key.backbone} at {key.size} pixels, {key.batch} a batch{precision}"


def _counts(space: Space, name: str) -> list[int]:
    return sorted({math.ceil(value) for value in _values(space, name) if isinstance(value, int | float)})


def _values(space: Space, name: str) -> tuple[Value, ...]:
    domain = next((domain for general, domain in space.tree.general if general == name), None)
    return values_of(domain) if domain is not None else (_default(name),)


def _default(name: str) -> Value:
    from lesion.settings import DEFAULTS, GENERAL  # noqa: PLC0415 - torch takes seconds

    return DEFAULTS[name] if name in DEFAULTS else GENERAL.settings[name].default


def _read(file: Path) -> Footprint | None:
    """What stands in `file`; None where nothing readable does, which is then measured again."""
    try:
        return Footprint(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _write(file: Path, found: Footprint) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps(vars(found)).encode())
