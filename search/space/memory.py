"""What the installed `lesion` said before, so that a space file is checked without torch, whose import takes seconds.

A file is checked again and again while it is written. Kept are the schemas of components and what was found sound: a
mistake is found afresh each time, by `lesion` itself. What is kept holds for one state of the installed packages and of
the files that settings name, and for no other.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import NoneType
from typing import Any, Self

import lesion
from lesion.errors import LesionError
from lesion.registry import REQUIRED, Range, Setting, Value
from lesion.writing import write_atomically
from search.space.paper import decisive, named_files, stamp
from search.space.vocabulary import Schema, Vocabulary, of_lesion

PACKAGES = ("torch", "torchvision", "timm", "albumentations", "imbalanced-learn", "scikit-learn", "numpy")
"""Packages of others that have a say in what a component is and whether a model can be built."""
FACTS = 50_000
"""Most that is kept; the oldest are forgotten first."""
TYPES: Mapping[str, type] = {each.__name__: each for each in (bool, int, float, str, NoneType)}


class Memory:
    """Facts by question, kept in `file` from one process to the next; those of another `state` are not taken up.

    A file that cannot be read holds nothing, and where none can be written nothing is kept: what is asked again is
    answered all the same.
    """

    def __init__(self, file: Path | None = None, state: str = "") -> None:
        self.file, self.state = file, state
        self._facts = _read(file, state) if file is not None else {}
        self._changed = False

    def ask(self, question: Sequence[Any], answer: Callable[[], Any]) -> Any:
        """What was answered to `question` before, or what `answer()` says now; both are what JSON can spell.

        What `answer` raises is passed on, and asked again the next time.
        """
        key = hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()[:24]
        if key not in self._facts:
            self._facts[key] = answer()
            self._changed = True
        return self._facts[key]

    def require(self, question: Sequence[Any], check: Callable[[], object]) -> None:
        """Call `check` unless it went through before."""

        def checked() -> bool:
            check()
            return True

        self.ask(question, checked)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.save()

    def save(self) -> None:
        """Keep what is new; nothing where the folder takes no file."""
        if self.file is None or not self._changed:
            return
        latest = dict(list(self._facts.items())[-FACTS:])
        with suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.file, json.dumps({"state": self.state, "facts": latest}).encode())
            self._changed = False


def memory_of_user() -> Memory:
    """The memory in the user's cache folder (``$XDG_CACHE_HOME``, else ``~/.cache``), a file for each installation."""
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # nobody's home
        return Memory()
    home = Path(lesion.__file__).parent
    place = hashlib.sha256(str(home).encode()).hexdigest()[:12]
    return Memory(base / "lesion-search" / f"checks-{place}.json", state_of([home, Path(__file__).parents[1]]))


def state_of(folders: Iterable[Path]) -> str:
    """A hash of all that an answer hangs on: our own files in `folders`, Python, and the packages of others."""
    # Not what Python compiles, which other processes may be writing.
    every = [file for folder in folders for file in sorted(folder.rglob("*")) if "__pycache__" not in file.parts]
    files = [file for file in every if file.suffix]
    parts = [sys.version, *map(_release, PACKAGES), *map(str, files), *map(stamp, files)]
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()


def remembering(memory: Memory, ask: Callable[[], Vocabulary] = of_lesion) -> Vocabulary:
    """The vocabulary that `ask` gives, asked only for what `memory` does not know."""
    words = _Asked(ask)

    def direction(objective: str, classes: Sequence[str]) -> str:
        question = ("direction", objective, list(classes))
        return str(memory.ask(question, lambda: words.real.direction(objective, classes)))

    def corrects(kind: str, name: str, settings: Mapping[str, Value]) -> bool:
        question = ("corrects", kind, name, dict(settings))
        return bool(memory.ask(question, lambda: words.real.corrects(kind, name, settings)))

    def resolve(settings: Mapping[str, Value]) -> None:
        # Each float was checked against its bounds when the file was read; which go together is a matter of the rest.
        chosen = {path: "a float" if isinstance(value, float) else value for path, value in settings.items()}
        question = ("resolve", chosen)
        memory.require(question, lambda: words.real.resolve(settings))

    def build(settings: Mapping[str, Value], classes: Sequence[str]) -> None:
        question = ("build", *decisive(settings), named_files(settings), list(classes))
        memory.require(question, lambda: words.real.build(settings, classes))

    def share(settings: Mapping[str, Value], gpus: int) -> None:
        question = ("share", settings.get("batch_size"), gpus)
        memory.require(question, lambda: words.real.share(settings, gpus))

    names = memory.ask(["kinds"], lambda: [list(words.real.kinds), sorted(words.real.chained)])
    kinds = {kind: _Components(kind, memory, words) for kind in names[0]}
    general = Remembered("training", "general", memory, lambda: words.real.general)
    return Vocabulary(kinds, general, direction, corrects, resolve, build, frozenset(names[1]), share)


class _Asked:
    """The real vocabulary, which is made when it is needed first."""

    def __init__(self, ask: Callable[[], Vocabulary]) -> None:
        self._ask = ask

    @cached_property
    def real(self) -> Vocabulary:
        return self._ask()


@dataclass(frozen=True)
class Remembered:
    """A component whose settings are known without its code."""

    kind: str
    name: str
    memory: Memory
    real: Callable[[], Schema]

    @cached_property
    def neutral(self) -> bool:
        """As of `lesion.registry.Component`."""
        return bool(self.memory.ask(("neutral", self.kind, self.name), lambda: self.real().neutral))

    @cached_property
    def settings(self) -> Mapping[str, Setting]:
        """As of `lesion.registry.Component`."""
        question = ("settings", self.kind, self.name)
        spelled = self.memory.ask(question, lambda: [_spelled(each) for each in self.real().settings.values()])
        return {setting.name: setting for setting in map(_setting, spelled)}


class _Components(Mapping[str, Schema]):
    """The components of one kind; which there are is asked only for a name that was never found."""

    def __init__(self, kind: str, memory: Memory, words: _Asked) -> None:
        self._kind, self._memory, self._words = kind, memory, words

    def __getitem__(self, name: str) -> Schema:
        def real() -> Schema:
            return self._words.real.kinds[self._kind][name]

        found = self._memory.ask(("component", self._kind, name), lambda: real().name)
        return Remembered(self._kind, found, self._memory, real)

    def __contains__(self, name: object) -> bool:
        try:
            return isinstance(name, str) and self[name] is not None
        except LesionError:
            return False

    def __iter__(self) -> Iterator[str]:
        return iter(self._words.real.kinds[self._kind])

    def __len__(self) -> int:
        return len(self._words.real.kinds[self._kind])


def _read(file: Path, state: str) -> dict[str, Any]:
    try:
        kept = json.loads(file.read_bytes())
        return dict(kept["facts"]) if kept["state"] == state else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _release(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _spelled(setting: Setting) -> dict[str, Any]:
    default = {} if setting.required else {"default": setting.default}
    bounds = None if setting.range is None else [setting.range.low, setting.range.high]
    types = [each.__name__ for each in setting.types]
    return {"name": setting.name, "types": types, "range": bounds, "choices": list(setting.choices), **default}


def _setting(spelled: Mapping[str, Any]) -> Setting:
    types = tuple(TYPES[name] for name in spelled["types"])
    setting = Setting(spelled["name"], types, spelled.get("default", REQUIRED), choices=tuple(spelled["choices"]))
    return setting if spelled["range"] is None else replace(setting, range=Range(*spelled["range"]))
