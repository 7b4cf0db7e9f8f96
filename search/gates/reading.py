"""A gates file → `Gates`, strictly: what is not known is refused, every mistake told with its line.

A part that a file leaves out is not judged; the file that comes with the package is `DEFAULT` and shows all of them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Literal, TypeVar, cast, get_args

from lesion.errors import unknown
from lesion.metrics import METRICS
from lesion.metrics.catalogue import PER_CLASS
from search.gates.bounds import Kind, why_not
from search.space.yaml_tree import FileKind, Mistakes, Node, Place, read

DEFAULT = Path(str(files("search.gates") / "default.yaml"))

GATES_FILE = FileKind("gates file", "metrics: …, sensitivity: …, subgroups: …, champion: …")

By = Literal["value", "low", "high"]
Column = Literal["age", "sex", "site"]
AUTO = "auto"
REQUIRED, MAY_BE_REQUIRED = "required", ("sensitivity", "subgroups", "champion")
"""The key, and the gates that may find that they cannot judge."""


@dataclass(frozen=True)
class MetricGate:
    """A bound on a score of `lesion.metrics.report`; `above_chance` counts from what guessing reaches."""

    metric: str
    kind: Kind
    bound: float
    by: By


@dataclass(frozen=True)
class SensitivityGate:
    """The least sensitivity for the classes `of` (None: melanoma) at a specificity.

    `required`, here and in other gates: what cannot be judged fails.
    """

    of: tuple[str, ...] | None
    specificity: float
    at_least: float
    by: By
    required: bool = False


@dataclass(frozen=True)
class SubgroupGate:
    """How far the balanced accuracy within a group of people may lie below that of all images, and what it must reach.

    An `at_least` of 0 asks for nothing.
    """

    columns: tuple[Column, ...]
    images: int
    per_class: int
    below_all: float
    by: By
    required: bool = False
    at_least: float = 0.0


@dataclass(frozen=True)
class ChampionGate:
    """In which scores, and by how much, a model may be worse than the champion; by which number of the difference."""

    metrics: tuple[str, ...]
    margin: float
    required: bool = False
    by: By = "value"


@dataclass(frozen=True)
class Point:
    """The operating point to set on validation: classes `of` (None: melanoma) at a sensitivity."""

    of: tuple[str, ...] | None
    sensitivity: float


@dataclass(frozen=True)
class Gates:
    """A gates file; parts that it does not have are None or empty. `digest` is the hash of its text.

    `places` tells by part and name where a class or a score stands: whether it is known shows only with the data.
    """

    file: str
    digest: str
    operating_point: Point | None = None
    calibrate: bool = False
    balance: bool = False
    metrics: tuple[MetricGate, ...] = ()
    sensitivity: SensitivityGate | None = None
    subgroups: SubgroupGate | None = None
    champion: ChampionGate | None = None
    places: Mapping[tuple[str, str], Place] = field(default_factory=dict, compare=False, repr=False)


def read_gates(path: Path | str | None = None) -> Gates:
    """The gates of a file, or the ones that come with the package; SpaceError lists every mistake with its line."""
    file = Path(path) if path is not None else DEFAULT
    mistakes, places = Mistakes(), dict[tuple[str, str], Place]()
    whole = _Part(read(file, mistakes, GATES_FILE), mistakes, places)
    gates = Gates(
        file=str(path) if path is not None else "default",
        digest=hashlib.sha256(file.read_bytes()).hexdigest(),
        operating_point=whole.part("operating_point", _point),
        calibrate=whole.word("calibration", ("temperature", "none"), "none") == "temperature",
        balance=whole.word("decisions", ("balanced", "largest"), "largest") == "balanced",
        metrics=whole.part("metrics", _metrics) or (),
        sensitivity=whole.part("sensitivity", _sensitivity),
        subgroups=whole.part("subgroups", _subgroups),
        champion=whole.part("champion", _champion),
        places=places,
    )
    whole.refuse_others()
    mistakes.raise_any()
    return gates


Read = TypeVar("Read")


class _Part:
    """A mapping of the file that is asked for its keys; those that nobody asked for are mistakes."""

    def __init__(
        self, node: Node, mistakes: Mistakes, places: dict[tuple[str, str], Place], name: str = "the file"
    ) -> None:
        self.node, self.mistakes, self.places, self.name = node, mistakes, places, name
        self._asked: list[str] = []

    def child(self, key: str) -> Node | None:
        self._asked.append(key)
        return (self.node.mapping or {}).get(key)

    def part(self, key: str, build: Callable[[_Part], Read]) -> Read | None:
        node = self.child(key)
        if node is None or (node.is_scalar and node.scalar is None):
            return None
        if node.mapping is None:
            self.mistakes.add(node.place, f"{key} must be a mapping, is {_shown(node)}")
            return None
        inner = _Part(node, self.mistakes, self.places, key)
        built = build(inner)
        inner.refuse_others()
        return built

    def number(self, key: str, low: float = 0.0, high: float = 1.0, default: float | None = None) -> float:
        node = self.child(key)
        if node is None and default is not None:
            return default
        value = node.scalar if node is not None and node.is_scalar else None
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            given = "is missing" if node is None else f"is {_shown(node)}"
            place = self.node.place if node is None else node.place
            within = f" from {low:g} to {high:g}" if math.isfinite(high - low) else ""
            self.mistakes.add(place, f"{key} {given}, must be a number{within}")
            return low
        return float(value)

    def flag(self, key: str) -> bool:
        node = self.child(key)
        if node is None:
            return False
        value = node.scalar if node.is_scalar else None
        if not isinstance(value, bool):
            self.mistakes.add(node.place, f"{key} is {_shown(node)}, must be true or false")
            return False
        return value

    def count(self, key: str, default: int) -> int:
        return int(self.number(key, 1, 10**9, default))

    def word(self, key: str, known: Sequence[str], default: str) -> str:
        node = self.child(key)
        if node is None:
            return default
        value = node.scalar if node.is_scalar else None
        # `none` is a word in YAML 1.2, an empty value is not.
        if not isinstance(value, str) or value not in known:
            self.mistakes.add(node.place, f"{key} is {_shown(node)}, must be {' or '.join(known)}")
            return default
        return value

    def words(self, key: str) -> tuple[tuple[str, Node], ...]:
        """A word, or a list of words, each with its place."""
        node = self.child(key)
        if node is None:
            return ()
        items = node.items if node.items is not None else (node,)
        found = []
        for item in items:
            if item.is_scalar and isinstance(item.scalar, str):
                found.append((item.scalar, item))
            else:
                self.mistakes.add(item.place, f"{key} holds {_shown(item)}, must be a word or a list of words")
        return tuple(found)

    def some(self, key: str, what: str) -> tuple[tuple[str, Node], ...]:
        """As `words`, but without any the gate would judge nothing and say nothing."""
        found = self.words(key)
        node = self.child(key)
        if node is None or node.items == ():
            place = self.node.place if node is None else node.place
            self.mistakes.add(place, f"{key} {'is missing' if node is None else 'is empty'}, must be {what}")
        return found

    def classes(self) -> tuple[str, ...] | None:
        """`of`: class names, or None for auto."""
        found = self.words("of")
        for word, node in found:
            self.keep(word, node.place)
        names = tuple(word for word, _ in found)
        return None if names in ((), (AUTO,)) else names

    def keep(self, name: str, place: Place) -> None:
        """Keep where a name of this part stands."""
        self.places[self.name, name] = place

    def by(self) -> By:
        return cast(By, self.word("by", get_args(By), "value"))

    def refuse_others(self) -> None:
        for key in self.node.mapping or {}:
            if key not in self._asked:
                self.mistakes.add(self.node.key_place(key), unknown("key", key, self._asked))


def _point(part: _Part) -> Point:
    return Point(part.classes(), part.number("sensitivity", 0.01, 1.0))


def _metrics(part: _Part) -> tuple[MetricGate, ...]:
    found = []
    for name in part.node.mapping or {}:
        if not _is_metric(name):
            part.child(name)
            known = [*METRICS, *(f"{metric}_CLASS" for metric in PER_CLASS)]
            part.mistakes.add(part.node.key_place(name), unknown("metric", name, known))
        elif gate := part.part(name, lambda inner, name=name: _metric(name, inner)):  # type: ignore[misc]
            found.append(gate)
            part.keep(name, part.node.key_place(name))
    return tuple(found)


def _metric(name: str, part: _Part) -> MetricGate:
    given = [kind for kind in get_args(Kind) if kind in (part.node.mapping or {})]
    if len(given) != 1:
        part.mistakes.add(part.node.place, f"{name} needs one of {', '.join(get_args(Kind))}")
    if REQUIRED in (part.node.mapping or {}):
        part.child(REQUIRED)
        why = f"{REQUIRED} is for {', '.join(MAY_BE_REQUIRED)}: a score that is not defined fails without it"
        part.mistakes.add(part.node.key_place(REQUIRED), why)
    known = len(part.mistakes.found)
    bounds = {kind: part.number(kind, -math.inf, math.inf, 0.0) for kind in get_args(Kind)}
    numbers = len(part.mistakes.found) == known
    kind = cast(Kind, given[0] if given else "at_least")
    if given and numbers and (why := why_not(name, kind, bounds[kind])):
        part.mistakes.add(part.node.mapping[kind].place if part.node.mapping else part.node.place, why)
    return MetricGate(name, kind, bounds[kind], part.by())


def _is_metric(name: str) -> bool:
    return name in METRICS or any(name.startswith(f"{metric}_") for metric in PER_CLASS)


def _sensitivity(part: _Part) -> SensitivityGate:
    return SensitivityGate(
        part.classes(), part.number("specificity"), part.number("at_least"), part.by(), part.flag(REQUIRED)
    )


def _subgroups(part: _Part) -> SubgroupGate:
    columns = []
    for word, node in part.some("columns", f"some of {', '.join(get_args(Column))}"):
        if word in get_args(Column):
            columns.append(cast(Column, word))
        else:
            part.mistakes.add(node.place, unknown("column", word, get_args(Column)))
    images, per_class = part.count("images", 30), part.count("per_class", 10)
    return SubgroupGate(
        tuple(columns), images, per_class, part.number("below_all"), part.by(), part.flag(REQUIRED),
        part.number("at_least", default=0.0),
    )  # fmt: skip


def _champion(part: _Part) -> ChampionGate:
    names = []
    for word, node in part.some("metrics", "a score or a list of scores"):
        if _is_metric(word):
            names.append(word)
            part.keep(word, node.place)
        else:
            part.mistakes.add(node.place, unknown("metric", word, METRICS))
    return ChampionGate(tuple(names), part.number("margin", default=0.0), part.flag(REQUIRED), part.by())


def _shown(node: Node) -> str:
    if node.mapping is not None:
        return "a mapping"
    return "a list" if node.items is not None else repr(node.scalar)
