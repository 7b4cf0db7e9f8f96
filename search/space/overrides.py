"""``--set PATH=VALUE``: a constant or a choice of a space file, overruled from the command line.

    --set image_size=128 --set budget.epochs=3 --set 'loss={focal: {gamma: 2}}'
    --set backbone=mobilenet_v2 --set backbone.mobilenet_v2.weights=FILE

A component given this way is what it would be in a file that extends this one: the options named are the options, and
one that the file has too keeps the settings that are not given. A path with the component's name in it changes that
setting alone. Values are read as in a file, and take part in all that is made of one: checks, hash, identity.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias

from lesion.errors import unknown
from search.space.chains import joined
from search.space.inherit import merge_component
from search.space.space import Budget
from search.space.vocabulary import Vocabulary
from search.space.yaml_tree import Mistakes, Node, Place, read_value

Given: TypeAlias = "Sequence[str] | Mapping[str, Any]"
"""``PATH=VALUE`` texts, or values by path."""

WHOLE = (
    "name", "description", "data", "split", "task", "objective", "budget", "scheduler", "sampler", "resources",
    "seed", "start_with",
    "allow_double_balancing", "balance_once",
)  # fmt: skip
NESTED = (
    *(f"budget.{each.name}" for each in fields(Budget)), "scheduler.asha.grace", "scheduler.asha.reduction",
    "resources.cpu", "resources.gpu",
)  # fmt: skip
BALANCE = ("allow_double_balancing", "balance_once")


@dataclass(frozen=True)
class Override:
    """One value that overrules the file's."""

    path: str
    value: Node
    place: Place

    def __str__(self) -> str:
        return self.place.file


@dataclass(frozen=True)
class Overrides:
    """All of them, in the order given; a later one overrules an earlier one."""

    given: tuple[Override, ...] = ()

    def on(self, name: str) -> list[Override]:
        """Those that decide about the parameter `name`."""
        return [each for each in self.given if name == each.path or name.startswith(f"{each.path}.")]

    def on_balance(self, kinds: Iterable[str]) -> list[Override]:
        """Those that can decide whether imbalance is corrected, and how often."""
        return [each for each in self.given if each.path in BALANCE or each.path.partition(".")[0] in kinds]

    @property
    def texts(self) -> tuple[str, ...]:
        """As they were given."""
        return tuple(str(each).removeprefix("--set ") for each in self.given)

    def __bool__(self) -> bool:
        return bool(self.given)


def read_overrides(given: Given, mistakes: Mistakes) -> Overrides:
    """Parse what was given; a value is YAML: a word, a number, or a mapping or list in braces or brackets."""
    texts = given
    if isinstance(given, Mapping):
        texts = [f"{path}={json.dumps(value, ensure_ascii=False)}" for path, value in given.items()]
    found = []
    for text in texts:
        place = Place(f"--set {text}", 0)
        path, equals, value = text.partition("=")
        if not equals or not path.strip():
            mistakes.add(place, "write --set PATH=VALUE, such as --set image_size=128 or --set loss.focal.gamma=2")
            continue
        found.append(Override(path.strip(), read_value(value, place, mistakes), place))
    return Overrides(tuple(found))


def overruled(root: Node, overrides: Overrides, words: Vocabulary, mistakes: Mistakes) -> Node:
    """A whole file, family included, with the overrides in it."""
    for each in overrides.given:
        root = _overruled(root, each, words, mistakes)
    return root


def left_behind(root: Node, overrides: Overrides, words: Vocabulary) -> tuple[str, ...]:
    """What of the file `root` goes with a component that an override replaces, though the new one could have it too.

    Frozen layers go with the backbone that has them, and nobody sees that in the results.
    """
    notes = []
    for override in overrides.given:
        before = ((root.mapping or {}).get("space", root).mapping or {}).get(override.path)
        if override.path not in words.kinds or before is None or set(_names(before)) & set(_names(override.value)):
            continue
        registry = words.kinds[override.path]
        known = {setting for name in _names(override.value) if name in registry for setting in registry[name].settings}
        given = {name for each in overrides.given for name in [each.path.rpartition(".")[2]]}
        for name, settings in _settings(before).items():
            if gone := [setting for setting in settings if setting in known - given]:
                notes.append(f"{override}: what the file says of {name} goes with it ({', '.join(gone)})")
    return tuple(notes)


def _settings(component: Node) -> dict[str, Sequence[str]]:
    """Names of the settings of each option of a component."""
    entries = component.mapping or {}
    if "choice" in entries:
        inner = entries["choice"]
        if inner.items is not None:
            return {name: found for item in inner.items for name, found in _settings(item).items()}
        entries = inner.mapping or {}
    return {name: list(settings.mapping or {}) for name, settings in entries.items()}


def _overruled(root: Node, override: Override, words: Vocabulary, mistakes: Mistakes) -> Node:
    path, value, place = override.path, override.value, override.place
    kind, _, rest = path.partition(".")
    space = (root.mapping or {}).get("space") or Node({}, place)
    if path in WHOLE or path in NESTED:
        return _put(root, path.split("."), value, place)
    if path in words.kinds:
        component, before = joined(kind, value, mistakes), (space.mapping or {}).get(kind)
        if component is None:
            return root
        return root.put("space", space.put(kind, merge_component(component, before) if before else component, place))
    if path in words.general.settings:
        return root.put("space", space.put(path, value, place))
    if kind in words.kinds and rest:
        return root.put("space", _refined(space, kind, rest, override, mistakes))
    known = [*WHOLE, *NESTED, *words.kinds, *words.general.settings]
    mistakes.add(place, unknown("setting of a space file", path, known))
    return root


def _put(node: Node, keys: Sequence[str], value: Node, place: Place) -> Node:
    """`value` at the path `keys`; what is no mapping on the way becomes one."""
    key, *rest = keys
    before = (node.mapping or {}).get(key)
    if rest:
        inner = before if before is not None and before.mapping is not None else Node({}, place)
        value = _put(inner, rest, value, place)
    elif key == "budget" and before is not None and before.mapping is not None and value.mapping is not None:
        value = replace(value, value={**before.mapping, **value.mapping}, keys={**before.keys, **value.keys})
    return node.put(key, value, place)


def _refined(space: Node, kind: str, rest: str, override: Override, mistakes: Mistakes) -> Node:
    """`space` with one setting changed of a component that it names; `rest` is the component's name and the setting."""
    component = (space.mapping or {}).get(kind)
    names = _names(component) if component is not None else []
    # The longest: of two names, one may begin like the other (timm/resnet50, timm/resnet50.a1_in1k).
    name = max((each for each in names if rest.startswith(f"{each}.")), key=len, default=None)
    if component is None or name is None:
        has = f"has no such {kind}, but {', '.join(names)}" if names else f"says nothing of the {kind}"
        fix = f"to have another one, write --set {kind}=NAME before"
        mistakes.add(override.place, f"{override.path} is set, and the space {has}; {fix}")
        return space
    setting = rest.removeprefix(f"{name}.")
    return space.put(kind, _with_setting(component, name, setting, override))


def _names(component: Node) -> list[str]:
    """The options of a component, in any of the forms that they are written in."""
    if isinstance(component.value, str):
        return [component.value]
    entries = component.mapping or {}
    if "choice" not in entries:
        return list(entries)
    inner = entries["choice"]
    return [name for item in inner.items for name in _names(item)] if inner.items is not None else _names(inner)


def _with_setting(component: Node, name: str, setting: str, override: Override) -> Node:
    place = override.place
    if isinstance(component.value, str):
        settings = Node({}, component.place).put(setting, override.value, place)
        return Node({name: settings}, component.place, {name: component.place})
    entries = component.mapping or {}
    if "choice" in entries:
        inner = entries["choice"]
        if inner.items is None:
            return component.put("choice", _with_setting(inner, name, setting, override))
        options = [_with_setting(o, name, setting, override) if name in _names(o) else o for o in inner.items]
        return component.put("choice", inner.holding(tuple(options)))
    before = entries[name] if entries[name].mapping is not None else Node({}, component.key_place(name))
    return component.put(name, before.put(setting, override.value, place))
