"""``start_with``: points that are tried first, checked against the space they belong to."""

from __future__ import annotations

from collections.abc import Mapping

from lesion.errors import unknown
from lesion.registry import Value
from search.space.domains import show
from search.space.tree import Part, Settings, Tree
from search.space.yaml_tree import Mistakes, Node


def read_points(node: Node, tree: Tree, mistakes: Mistakes) -> tuple[Settings, ...]:
    """The points in Optuna's names; fixed settings are checked and left out, what is not given is sampled."""
    if node.value is None:
        return ()
    if node.items is None:
        mistakes.add(node.place, "start_with must be a list of points: [{loss: focal, loss.focal.gamma: 1.5}]")
        return ()
    found: list[Settings] = []
    for item in node.items:
        if item.mapping is None:
            mistakes.add(item.place, "a point must be a mapping: {loss: focal, loss.focal.gamma: 1.5}")
            continue
        before = len(mistakes.found)
        point = _Point(item, tree, mistakes).read()
        if len(mistakes.found) == before and point in found:
            mistakes.add(item.place, "the same point stands in start_with twice")
        found.append(point)
    return tuple(found)


class _Point:
    """One point being read."""

    def __init__(self, node: Node, tree: Tree, mistakes: Mistakes) -> None:
        self.node, self.tree, self.mistakes = node, tree, mistakes
        self.entries: Mapping[str, Node] = node.mapping or {}
        self.parts = {part.kind: part for part in tree.parts}
        self.domains = tree.domains()

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
                self.mistakes.add(self.node.key_place(name), known)
        self._check_balance()
        return point

    def _component(self, point: Settings, part: Part, node: Node) -> None:
        if part.option(node.scalar) is None:
            names = [option.name for option in part.options]
            self.mistakes.add(node.place, unknown(f"{part.kind} in this space", show(node.scalar), names))
        elif part.searched:
            point[part.kind] = node.scalar

    def _setting(self, point: Settings, name: str, node: Node) -> None:
        domain = self.domains[name]
        try:
            value = domain.find(node.scalar)
        except ValueError as rule:
            self.mistakes.add(node.place, f"{name} is {show(node.scalar)}, in this space it is {rule}")
            return
        if self._is_open(name) and domain.searched:
            point[name] = value

    def _is_open(self, name: str) -> bool:
        """Whether the option that a setting belongs to is the one this point chooses."""
        owner = next(
            ((p, o) for p in self.tree.parts for o in p.options if name.startswith(f"{p.kind}.{o.name}.")),
            None,
        )
        if owner is None or not owner[0].searched:
            return True
        part, option = owner
        place = self.node.key_place(name)
        chosen = self.entries.get(part.kind)
        if chosen is None:
            self.mistakes.add(place, f"{name} needs {part.kind}: {option.name} in the same point")
        elif chosen.value != option.name and part.option(self._value(part.kind)) is not None:
            self.mistakes.add(place, f"{name} is set, but the {part.kind} of this point is {chosen.value}")
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
            named = part.option(self._value(part.kind)) if part.kind in self.entries else None
            if named is not None and named.corrects and may_correct:
                self.mistakes.add(
                    self.node.key_place(part.kind),
                    f"{part.kind} {named.name} corrects imbalance, and so {may_correct}; balance_once excludes that",
                )
            options = [named] if named is not None else list(part.options)
            if any(option.corrects for option in options):
                what = (
                    f"does {part.kind} {named.name}" if named else f"may the {part.kind}, which the point leaves open"
                )
                may_correct = may_correct or what
