"""Space file → Space: every key is read, every mistake is noted with its place, and all are told at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TypeVar

from lesion.errors import SettingError, unknown
from lesion.tasks import Spec, Spelled, Task, spelled
from search.space.balance import check_balance
from search.space.components import read_parts
from search.space.domains import Domain
from search.space.inherit import read_family
from search.space.overrides import Given, Overrides, left_behind, overruled, read_overrides
from search.space.places import places
from search.space.points import read_points
from search.space.resources import read_resources
from search.space.space import SAMPLERS, Asha, Budget, Sampler, Space
from search.space.tree import Settings, Tree
from search.space.values import read_domain
from search.space.vocabulary import Vocabulary, of_lesion
from search.space.yaml_tree import Mistakes, Node, Place

KEYS = (
    "name", "description", "extends", "data", "split", "task", "objective", "budget", "scheduler", "sampler",
    "resources", "seed", "space", "start_with", "allow_double_balancing", "balance_once",
)  # fmt: skip
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
T = TypeVar("T")


def load(
    path: Path | str,
    *,
    data: str | None = None,
    classes: Sequence[str] = (),
    overrides: Given = (),
    vocabulary: Vocabulary | None = None,
) -> Space:
    """Read and check a space file; SpaceError lists all its mistakes, each with file, line and the likely fix.

    `data` replaces the file's data set; `overrides` are values by path, or ``PATH=VALUE`` texts, that overrule the
    file's (see `search.space.overrides`). With `classes`, those of the data set, the task and an objective of one class
    (``auc_melanoma``) are checked against them.
    """
    path = Path(path)
    mistakes = Mistakes()
    words = vocabulary or of_lesion()
    root = read_family(path, words, mistakes)
    given = read_overrides(overrides, mistakes)
    lost = left_behind(root, given, words)
    root = overruled(root, given, words, mistakes)
    if data is not None:
        asked = Place(f"--data {data}", 0)
        root = root.put("data", Node(data, asked), asked)
    space = _File(root, path, words, given, mistakes).space(classes)
    mistakes.raise_any()
    return replace(space, notes=(*space.notes, *lost))


class _File:
    """One file being read; a key that is missing or wrong yields a stand-in, and a mistake."""

    def __init__(self, root: Node, path: Path, words: Vocabulary, overrides: Overrides, mistakes: Mistakes) -> None:
        self.root, self.path, self.words, self.overrides, self.mistakes = root, path, words, overrides, mistakes
        self.entries = root.mapping or {}

    def space(self, classes: Sequence[str]) -> Space:
        self._check_keys(self.root, KEYS, "key of a space file")
        allow = self._scalar("allow_double_balancing", bool, "true or false", False)
        task = self._task(classes)
        objective, direction = self._objective(classes if task is None else [str(name) for name, _ in task])
        budget = self._budget()
        tree = self._tree(allow)
        start_with, notes = self._points(tree)
        return Space(
            path=self.path,
            name=self._name(),
            description=self._scalar("description", str, "a text", ""),
            data=self._required("data", str, "the name of a prepared data set, or a path"),
            split=self._split(),
            objective=objective,
            direction=direction,
            budget=budget,
            scheduler=self._scheduler(budget),
            seed=self._seed(),
            tree=tree,
            start_with=start_with,
            allow_double_balancing=allow,
            task=task,
            resources=read_resources(self.entries.get("resources"), self.mistakes),
            overrides=self.overrides.texts,
            notes=notes,
            sampler=self._sampler(),
            places=places(self.root),
        )

    def _check_keys(self, node: Node, known: Sequence[str], what: str) -> None:
        for key in node.mapping or {}:
            if key not in known:
                self.mistakes.add(node.key_place(key), unknown(what, key, known))

    def _scalar(self, key: str, kind: type[T], wanted: str, default: T) -> T:
        node = self.entries.get(key)
        if node is None:
            return default
        if not isinstance(node.value, kind) or (kind is not bool and isinstance(node.value, bool)):
            self.mistakes.add(node.place, f"{key} must be {wanted}")
            return default
        return node.value

    def _required(self, key: str, kind: type[T], wanted: str) -> T:
        if key not in self.entries:
            self.mistakes.add(self._top(), f"{key} is missing: write {key}: {wanted}")
        value = self._scalar(key, kind, wanted, kind())
        if key in self.entries and value == "" and self.entries[key].value == "":
            self.mistakes.add(self.entries[key].place, f"{key} must be {wanted}")
        return value

    def _top(self) -> Place:
        return Place(str(self.path), 1)

    def _name(self) -> str:
        node = self.entries.get("name")
        name = self._scalar("name", str, "a word", self.path.stem)
        if not SAFE_NAME.fullmatch(name) or ".." in name:
            place = node.place if node else self._top()
            fix = "" if node else "; the file's name gives it, so write name: … or rename the file"
            self.mistakes.add(place, f"the study name {name!r} must be up to 64 letters, digits, - _ and .{fix}")
        return name

    def _split(self) -> str | None:
        node = self.entries.get("split")
        if node is None:
            return None
        name = self._scalar("split", str, "the name of a split of the data set", "")
        if isinstance(node.value, str) and not SAFE_NAME.fullmatch(name):
            self.mistakes.add(node.place, f"split {name!r} is no name of a split, such as official or fold-0")
        return name

    def _seed(self) -> int:
        seed = self._scalar("seed", int, "a whole number", 0)
        if not 0 <= seed < 2**32:
            self.mistakes.add(self.entries["seed"].place, f"seed is {seed}, must be from 0 to {2**32 - 1}")
        return seed

    def _task(self, classes: Sequence[str]) -> Spelled | None:
        node = self.entries.get("task")
        if node is None:
            return None
        try:
            spec = _spec(node)
            if classes:
                Task.read(spec, classes)
            return spelled(spec)
        except SettingError as error:
            self.mistakes.add(node.place, str(error))
            return None

    def _points(self, tree: Tree) -> tuple[tuple[Settings, ...], tuple[str, ...]]:
        node = self.entries.get("start_with")
        return read_points(node, tree, self.overrides, self.mistakes) if node else ((), ())

    def _objective(self, classes: Sequence[str]) -> tuple[str, str]:
        name = self._required("objective", str, "a metric on the validation part, such as balanced_accuracy")
        if not name:
            return "", "maximize"
        try:
            return name, self.words.direction(name, classes)
        except SettingError as error:
            self.mistakes.add(self.entries["objective"].place, f"objective: {error}")
            return name, "maximize"

    def _budget(self) -> Budget:
        node = self.entries.get("budget")
        if node is None or node.mapping is None:
            place = node.place if node else self._top()
            what = "must be a mapping" if node else "is missing"
            self.mistakes.add(place, f"budget {what}: write budget: {{trials: 60, epochs: 12, hours: 3}}")
            return Budget(1, 1)
        self._check_keys(node, [each.name for each in fields(Budget)], "part of the budget")
        return Budget(
            self._count(node, "budget", "trials", None),
            self._count(node, "budget", "epochs", None),
            self._amount(node, "hours"),
            self._amount(node, "device_hours"),
            self._amount(node, "patience_minutes") or Budget.patience_minutes,
            self._flag(node.mapping.get("stop_when_flat")),
        )

    def _amount(self, budget: Node, key: str) -> float | None:
        node = (budget.mapping or {}).get(key)
        if node is None or node.value is None:
            return None
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
            without = f"for {Budget.patience_minutes:g}" if key == "patience_minutes" else "for no limit"
            self.mistakes.add(node.place, f"budget.{key} must be a number above 0 (leave it out {without})")
            return None
        return float(value)

    def _flag(self, node: Node | None) -> bool:
        if node is None or isinstance(node.value, bool):
            return node is not None and bool(node.value)
        self.mistakes.add(node.place, "budget.stop_when_flat must be true or false")
        return False

    def _count(self, node: Node, where: str, key: str, default: int | None, least: int = 1) -> int:
        """A whole number of at least `least`; without a default it must be given."""
        found = (node.mapping or {}).get(key)
        if found is None:
            if default is None:
                self.mistakes.add(node.place, f"{where}.{key} is missing: write {where}: {{{key}: 12, …}}")
            return default or least
        value = found.value
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 10**9:
            self.mistakes.add(found.place, f"{where}.{key} must be a whole number of at least {least}")
            return default or least
        return value

    def _scheduler(self, budget: Budget) -> Asha | None:
        node = self.entries.get("scheduler")
        if node is None or node.value in ("none", None):
            return None
        if node.value == "asha":
            return Asha()
        if node.mapping is None or not node.mapping:
            self.mistakes.add(node.place, "scheduler must be none, asha, or {asha: {grace: 2, reduction: 3}}")
            return None
        self._check_keys(node, ("asha",), "scheduler")
        asha = node.mapping.get("asha")
        if asha is None or asha.value is None:
            return Asha()
        if asha.mapping is None:
            self.mistakes.add(asha.place, "asha must be a mapping: {grace: 2, reduction: 3}")
            return None
        self._check_keys(asha, ("grace", "reduction"), "setting of asha")
        grace = self._count(asha, "asha", "grace", 1)
        if grace > budget.epochs:
            place = asha.mapping["grace"].place
            self.mistakes.add(place, f"asha.grace is {grace}, more than the {budget.epochs} epochs of the budget")
        return Asha(grace, self._count(asha, "asha", "reduction", 3, least=2))

    def _sampler(self) -> Sampler:
        name = self._scalar("sampler", str, f"one of {', '.join(SAMPLERS)}", "tpe")
        for known in SAMPLERS:
            if known == name:
                return known
        self.mistakes.add(self.entries["sampler"].place, unknown("sampler", name, SAMPLERS))
        return "tpe"

    def _tree(self, allow: bool) -> Tree:
        once = self._scalar("balance_once", bool, "true or false", False)
        node = self.entries.get("space")
        if node is None or node.mapping is None:
            place = node.place if node else self._top()
            what = "must be a mapping" if node else "is missing"
            self.mistakes.add(place, f"space {what} of components and settings: space: {{backbone: …, loss: …}}")
            return Tree((), (), once)
        before = len(self.mistakes.found)
        tree = Tree(self._general(node), read_parts(node, self.words, self.mistakes), once)
        said = self.root.key_place("balance_once") if once else None
        check_balance(tree, node, allow, said, self.mistakes)
        if len(self.mistakes.found) == before:
            self._try(tree, node)
        return tree

    def _general(self, node: Node) -> tuple[tuple[str, Domain], ...]:
        settings = self.words.general.settings
        found = {}
        for key, value in (node.mapping or {}).items():
            if key in self.words.kinds:
                continue
            if key not in settings:
                known = unknown("component or setting", key, [*self.words.kinds, *settings])
                self.mistakes.add(node.key_place(key), known)
            elif domain := read_domain(value, settings[key], self.mistakes):
                found[key] = domain
        return tuple(sorted(found.items()))

    def _try(self, tree: Tree, node: Node) -> None:
        """What no single key shows: settings that do not go together already in the first branch."""
        try:
            self.words.resolve(tree.example(tree.branch(0)))
        except SettingError as error:
            self.mistakes.add(node.place, f"{tree.branch(0)}: {error}")


def _spec(node: Node) -> Spec:
    """A task as `lesion.tasks` reads it: a word, or names with a word or a list of words each."""
    if isinstance(node.value, str):
        return node.value
    wanted = "one class that is told from the rest, or groups: {benign: rest, malignant: [MEL, BCC]}"
    if node.mapping is None:
        raise SettingError(f"task must be {wanted}")
    groups: dict[str, str | list[str]] = {}
    for name, members in node.mapping.items():
        words = [each.value for each in (members.items if members.items is not None else (members,))]
        if not all(isinstance(word, str) for word in words):
            raise SettingError(f"task: {name} must be a class, a list of classes, or rest; a task is {wanted}")
        groups[name] = str(members.value) if members.items is None else [str(word) for word in words]
    return groups
