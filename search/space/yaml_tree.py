"""YAML text → nodes that know where they stand, with nothing executed and nothing unbounded.

The tree is built straight from the parser's events: no tag is ever constructed, scalars follow the YAML 1.2
core schema (``no`` and ``none`` are words, ``1e-5`` is a number), an alias counts with everything it stands for,
and depth, size and repeated keys are checked on the way.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from lesion.registry import Value
from search.errors import Mistake, SpaceError

MAX_BYTES = 256 * 1024
MAX_DEPTH = 24
MAX_NODES = 20_000  # a large space file has some hundred; aliases of aliases reach millions
MAX_DIGITS = 40

_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: Mapping[str, Value] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


@dataclass(frozen=True)
class Place:
    """Where something stands; line and column count from 1."""

    file: str
    line: int
    column: int = 1


@dataclass(frozen=True)
class FileKind:
    """What a file is called where it is none of these, and some of its keys."""

    name: str
    keys: str


SPACE_FILE = FileKind("space file", "data: …, objective: …, budget: …, space: …")


@dataclass(frozen=True)
class Node:
    """A scalar, a list or a mapping of a file; `size` counts it with all it holds, aliases expanded."""

    value: Value | tuple[Node, ...] | Mapping[str, Node]
    place: Place
    keys: Mapping[str, Place] = field(default_factory=dict)
    size: int = 1

    @property
    def mapping(self) -> Mapping[str, Node] | None:
        """The entries, or None when this is no mapping."""
        return self.value if isinstance(self.value, Mapping) else None

    @property
    def items(self) -> tuple[Node, ...] | None:
        """The elements, or None when this is no list."""
        return self.value if isinstance(self.value, tuple) else None

    @property
    def scalar(self) -> Value:
        """The scalar; only to be asked of a node that is no list and no mapping."""
        if isinstance(self.value, tuple | Mapping):
            raise TypeError("this node is no scalar")
        return self.value

    @property
    def is_scalar(self) -> bool:
        """Whether this is a word, number, truth value or nothing."""
        return not isinstance(self.value, tuple | Mapping)

    def key_place(self, key: str) -> Place:
        """Where `key` of this mapping stands."""
        return self.keys.get(key, self.place)

    def put(self, key: str, value: Node, place: Place | None = None) -> Node:
        """The mapping with `value` at `key`; `place` is where a new key stands, if not where it stood."""
        keys = {**self.keys, key: place} if place is not None else self.keys
        return replace(self, value={**(self.mapping or {}), key: value}, keys=keys)

    def holding(self, items: tuple[Node, ...]) -> Node:
        """The list with other elements."""
        return replace(self, value=items)


class Mistakes:
    """The mistakes found so far; reading goes on after each, so that a user sees all of them at once."""

    def __init__(self) -> None:
        self.found: list[Mistake] = []

    def add(self, place: Place, text: str) -> None:
        """Note a mistake."""
        self.found.append(Mistake(place.file, place.line, place.column, text))

    def fail(self, place: Place, text: str) -> SpaceError:
        """The error to raise where reading cannot go on: it tells this mistake and the earlier ones."""
        self.add(place, text)
        return SpaceError(self.found)

    def raise_any(self) -> None:
        """Raise SpaceError if there was any mistake."""
        if self.found:
            raise SpaceError(self.found)


def read(path: Path, mistakes: Mistakes, kind: FileKind = SPACE_FILE) -> Node:
    """The tree of a file of this kind; SpaceError when there is none, other mistakes are added to `mistakes`."""
    whole = Place(str(path), 0)
    text = _text(path, whole, mistakes, kind)
    try:
        root = _Builder(text, whole, mistakes).document()
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(str(path), mark.line + 1, mark.column + 1) if mark else whole
        raise mistakes.fail(place, f"this is no YAML: {error.problem or error.context}") from None
    except YAMLError as error:
        raise mistakes.fail(whole, f"this is no YAML: {' '.join(str(error).split())}") from None
    if root.mapping is None:
        raise mistakes.fail(root.place, f"a {kind.name} is a mapping: {kind.keys}")
    return root


def read_value(text: str, whole: Place, mistakes: Mistakes) -> Node:
    """The tree of a value given outside a file, such as ``{focal: {gamma: 2}}``; all of it stands at `whole`."""
    try:
        return _Builder(text, whole, mistakes, lines=False).document() if text.strip() else Node(None, whole)
    except YAMLError as error:
        what = getattr(error, "problem", None) or getattr(error, "context", None) or " ".join(str(error).split())
        raise mistakes.fail(whole, f"this is no YAML: {what}") from None


def _text(path: Path, whole: Place, mistakes: Mistakes, kind: FileKind) -> str:
    if path.is_dir():
        raise mistakes.fail(whole, f"this is a folder; give a {kind.name} in it")
    if not path.is_file():
        raise mistakes.fail(whole, f"no such file{_nearest_file(path)}")
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise mistakes.fail(Place(str(path), line), "this is no UTF-8 text; save the file as UTF-8") from None
    except OSError as error:
        raise mistakes.fail(whole, f"cannot be read: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise mistakes.fail(whole, f"larger than {MAX_BYTES // 1024} KiB; that is no {kind.name}")
    return text


def _nearest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return ""
    others = [other.name for other in path.parent.glob("*.y*ml")]
    near = difflib.get_close_matches(path.name, others, n=1)
    return f" (did you mean {str(path.parent / near[0])!r}?)" if near else ""


class _Builder:
    """Reads the events of one document once, from first to last.

    `whole` is where the text is from; with `lines`, places tell the line in it.
    """

    def __init__(self, text: str, whole: Place, mistakes: Mistakes, *, lines: bool = True) -> None:
        self.events: Iterator[Any] = YAML(typ="safe", pure=True).parse(text)
        self.whole, self.lines = whole, lines
        self.mistakes = mistakes
        self.anchors: dict[str, Node] = {}

    def document(self) -> Node:
        next(self.events)  # the stream's start
        start = next(self.events)
        if isinstance(start, StreamEndEvent):
            raise self.mistakes.fail(self.spot(1), "the file is empty")
        self._check_version(start)
        root = self.node(next(self.events), 0)
        next(self.events)  # the document's end
        after = next(self.events)
        if isinstance(after, DocumentStartEvent):
            raise self.mistakes.fail(self.place(after), "a second document starts here; a space file is one")
        return root

    def _check_version(self, start: DocumentStartEvent) -> None:
        if start.version is not None and tuple(start.version) != (1, 2):
            raise self.mistakes.fail(self.spot(1), "space files are YAML 1.2; leave the %YAML line out")

    def place(self, event: Any) -> Place:
        return self.spot(event.start_mark.line + 1, event.start_mark.column + 1)

    def spot(self, line: int, column: int = 1) -> Place:
        return Place(self.whole.file, line, column) if self.lines else self.whole

    def node(self, event: Any, depth: int) -> Node:
        place = self.place(event)
        if isinstance(event, AliasEvent):
            if event.anchor not in self.anchors:
                raise self.mistakes.fail(place, f"no anchor '&{event.anchor}' above this alias")
            return self.anchors[event.anchor]
        if depth > MAX_DEPTH:
            raise self.mistakes.fail(place, f"nested more than {MAX_DEPTH} deep; a space needs six levels")
        # Text in single or double quotes has no tag here; a tag is only ever one that was written.
        if event.tag is not None:
            text = f"the tag {event.tag} is refused: a space file holds plain values only"
            raise self.mistakes.fail(place, text)
        node = self._content(event, place, depth)
        if node.size > MAX_NODES:
            raise self.mistakes.fail(place, f"more than {MAX_NODES} values with its aliases written out")
        if event.anchor is not None:
            if event.anchor in self.anchors:
                self.mistakes.add(place, f"the anchor '&{event.anchor}' is given twice")
            self.anchors[event.anchor] = node
        return node

    def _content(self, event: Any, place: Place, depth: int) -> Node:
        if isinstance(event, MappingStartEvent):
            return self._mapping(place, depth)
        if isinstance(event, SequenceStartEvent):
            return self._sequence(place, depth)
        return Node(self._scalar(event, place), place)

    def _sequence(self, place: Place, depth: int) -> Node:
        items: list[Node] = []
        size = 1
        while not isinstance(event := next(self.events), SequenceEndEvent):
            items.append(self.node(event, depth + 1))
            size += items[-1].size
        return Node(tuple(items), place, size=size)

    def _mapping(self, place: Place, depth: int) -> Node:
        entries: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        size = 1
        while not isinstance(event := next(self.events), MappingEndEvent):
            spot = self.place(event)
            key = self.node(event, depth + 1)
            value = self.node(next(self.events), depth + 1)
            if value.value is None:
                # The parser places a missing value where the next key starts.
                value = replace(value, place=spot)
            size += 1 + value.size
            name = key.value
            if not isinstance(name, str):
                self.mistakes.add(spot, "a key must be a word (put quotes around it if it is meant as one)")
            elif name == "<<":
                self.mistakes.add(spot, "merge keys are not YAML 1.2; write the entries out, or use extends:")
            elif name in entries:
                self.mistakes.add(spot, f"{name!r} is given twice; the first is in line {keys[name].line}")
            else:
                entries[name], keys[name] = value, spot
        return Node(entries, place, keys, size)

    def _scalar(self, event: ScalarEvent, place: Place) -> Value:
        text: str = event.value
        if event.style not in (None, ""):
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _INT.fullmatch(text):
            if len(text) > MAX_DIGITS:
                self.mistakes.add(place, f"a number of {len(text)} digits")
                return 0
            return int(text, 0) if text.startswith(("0o", "0x")) else int(text)
        if _FLOAT.fullmatch(text):
            return float(re.sub(r"\.(inf|nan)", r"\1", text.lower()))
        return text
