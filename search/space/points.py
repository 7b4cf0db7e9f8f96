"""``start_with``: points that are tried first, checked against the space they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lesion.errors import unknown
from lesion.registry import Value
from search.space.domains import show
from search.space.overrides import Override, Overrides
from search.space.tree import Option, Part, Settings, Tree
from search.space.yaml_tree import Mistakes, Node, Place


def read_points(
    node: Node, tree: Tree, overrides: Overrides, mistakes: Mistakes
) -> tuple[tuple[Settings, ...], tuple[str, ...]]:
    """The points in Optuna's names, and notes of what they lost.

    Fixed settings are checked and left out, what is not given is sampled. What a point says and an override took away
    is no mistake: the point loses it, and a note says so.
    """
    if node.value is None:
        return (), ()
    if node.items is None:
        mistakes.add(node.place, "start_with must be a list of points: [{loss: focal, loss.focal.gamma: 1.5}]")
        return (), ()
    found: list[Settings] = []
    notes: list[str] = []
    for item in node.items:
        if item.mapping is None:
            mistakes.add(item.place, "a point must be a mapping: {loss: focal, loss.focal.gamma: 1.5}")
            continue
        before = len(mistakes.found)
        reader = _Point(item, tree, overrides, mistakes)
        point = reader.read()
        if len(mistakes.found) == before and point in found and not overrides:
            mistakes.add(item.place, "the same point stands in start_with twice")
        why = "nothing of it is searched now" if not point else "it is one of the others now" if point in found else ""
        if overrides and (reader.lost or why):
            notes.append(f"{item.place.file}:{item.place.line}: {reader.told(why)}")
        if not overrides or not why:
            found.append(point)
    return tuple(found), tuple(notes)


class _Point:
    """One point being read; `lost` is what it loses, and to which overrides."""

    def __init__(self, node: Node, tree: Tree, overrides: Overrides, mistakes: Mistakes) -> None:
        self.node, self.tree, self.overrides, self.mistakes = node, tree, overrides, mistakes
        self.entries: Mapping[str, Node] = node.mapping or {}
        self.parts = {part.kind: part for part in tree.parts}
        self.domains = tree.domains()
        self.lost: dict[str, list[Override]] = {}

    def read(self) -> Settings:
        point: Settings = {}
        for name, node in self.entries.items():
            if not node.is_scalar:
                self.mistakes.add(node.place, f"{name} of a point must be one value")
            elif name in self.parts:
                self._component(point, self.parts[name], node)
            elif name in self.domains:
                self._setting(point, name, node)
            else:
                known = unknown("parameter of this space", name, [*self.parts, *self.domains])
                self._refuse(name, self.node.key_place(name), known)
        self._check_balance()
        return {name: value for name, value in point.items() if name not in self.lost}

    def told(self, why: str) -> str:
        """What this point lost, and `why` it is left out where it is, in words."""
        causes = dict.fromkeys(str(cause) for causes in self.lost.values() for cause in causes)
        told = [f"loses {', '.join(self.lost)} to {', '.join(causes)}"] if self.lost else []
        return "this point " + ", and ".join([*told, *([f"is left out: {why}"] if why else [])])

    def _refuse(self, name: str, place: Place, text: str, causes: Sequence[Override] = ()) -> None:
        """A mistake, unless an override made it one."""
        if causes := causes or self.overrides.on(name):
            self.lost[name] = list(causes)
        else:
            self.mistakes.add(place, text)

    def _component(self, point: Settings, part: Part, node: Node) -> None:
        if part.option(node.scalar) is None:
            names = [option.name for option in part.options]
            self._refuse(part.kind, node.place, unknown(f"{part.kind} in this space", show(node.scalar), names))
        elif part.searched:
            point[part.kind] = node.scalar

    def _setting(self, point: Settings, name: str, node: Node) -> None:
        domain = self.domains[name]
        try:
            value = domain.find(node.scalar)
        except ValueError as rule:
            self._refuse(name, node.place, f"{name} is {show(node.scalar)}, in this space it is {rule}")
            return
        if self._is_open(name) and domain.searched:
            point[name] = value

    def _is_open(self, name: str) -> bool:
        """Whether the option that a setting belongs to is the one this point chooses."""
        # By the whole path: names and settings may hold dots, so its beginning does not tell the option.
        owner = next(
            (
                (part, option)
                for part in self.tree.parts
                for option in part.options
                for setting, _ in option.settings
                if name == f"{part.kind}.{option.name}.{setting}"
            ),
            None,
        )
        if owner is None or not owner[0].searched:
            return True
        part, option = owner
        place = self.node.key_place(name)
        chosen = self.entries.get(part.kind)
        if chosen is None:
            self.mistakes.add(place, f"{name} needs {part.kind}: {option.name} in the same point")
        elif chosen.value != option.name and (part.kind in self.lost or part.option(self._value(part.kind))):
            self._refuse(name, place, f"{name} is set, but the {part.kind} of this point is {chosen.value}")
        return chosen is not None and chosen.value == option.name

    def _value(self, kind: str) -> Value:
        node = self.entries[kind]
        return node.scalar if node.is_scalar else None

    def _check_balance(self) -> None:
        """With balance_once, what a point says must survive: no option it names may be closed by another."""
        if not self.tree.balance_once:
            return
        may_correct = ""
        for part in self.tree.parts:
            named = None
            if part.kind in self.entries and part.kind not in self.lost:
                named = part.option(self._value(part.kind))
            if named is not None and named.corrects and may_correct:
                text = f"{part.kind} {named.name} corrects imbalance, and so {may_correct}; balance_once excludes that"
                self._close(part, named, text)
                named = None
            options = [named] if named is not None else list(part.options)
            if any(option.corrects for option in options):
                what = (
                    f"does {part.kind} {named.name}" if named else f"may the {part.kind}, which the point leaves open"
                )
                may_correct = may_correct or what

    def _close(self, part: Part, option: Option, text: str) -> None:
        """Refuse an option with its settings."""
        causes = self.overrides.on_balance([part.kind for part in self.tree.parts])
        self._refuse(part.kind, self.node.key_place(part.kind), text, causes)
        for name in self.entries if causes else ():
            if name.startswith(f"{part.kind}.{option.name}."):
                self.lost[name] = causes
