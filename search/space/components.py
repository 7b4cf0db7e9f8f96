"""Nodes → parts: which components a kind may be, with their settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, product

from lesion.errors import SettingError, unknown
from lesion.registry import Value
from search.space.domains import Choice, Domain, order
from search.space.tree import Option, Part
from search.space.values import FORMS, read_domain
from search.space.vocabulary import Schema, Vocabulary
from search.space.yaml_tree import Mistakes, Node, Place

MAX_PROBES = 4096


def read_parts(node: Node, words: Vocabulary, mistakes: Mistakes) -> tuple[Part, ...]:
    """The parts that `space` names, in the order of the registries, so that a file's order means nothing."""
    entries = node.mapping or {}
    parts = (_part(kind, entries[kind], words, mistakes) for kind in words.kinds if kind in entries)
    return tuple(part for part in parts if part.options)


def _part(kind: str, node: Node, words: Vocabulary, mistakes: Mistakes) -> Part:
    options: dict[str, Option] = {}
    for name, place, settings in _named(kind, node, mistakes):
        if name in options:
            mistakes.add(place, f"the choice of {kind} has {name} twice")
            continue
        try:
            component = words.kinds[kind][name]
        except SettingError as problem:
            # The registry knows best: a name may be one of a family, and wrong within it.
            mistakes.add(place, str(problem))
        else:
            options[name] = _option(component, place, settings, words, mistakes)
    return Part(kind, tuple(options[name] for name in sorted(options)))


def _named(kind: str, node: Node, mistakes: Mistakes) -> Iterator[tuple[str, Place, Node | None]]:
    """Name, place and settings of every option that a component's value gives."""
    entries = node.mapping
    if entries is not None and "choice" in entries:
        yield from _choice(kind, node, mistakes)
    elif entries is not None and len(entries) > 1:
        names = ", ".join(entries)
        mistakes.add(node.place, f"{kind} is {names} at once; put them under choice: to search over them")
    else:
        yield from _single(kind, node, mistakes)


def _choice(kind: str, node: Node, mistakes: Mistakes) -> Iterator[tuple[str, Place, Node | None]]:
    entries = node.mapping or {}
    for key in entries:
        if key != "choice":
            mistakes.add(node.key_place(key), f"{key} stands beside choice; an option of {kind} goes below it")
    inner = entries["choice"]
    if inner.mapping is None and inner.items is None:
        mistakes.add(inner.place, f"the choice of {kind} must be a list of names, or names with their settings")
    elif not inner.value:
        mistakes.add(inner.place, f"the choice of {kind} is empty")
    for name, settings in (inner.mapping or {}).items():
        yield name, inner.key_place(name), settings
    for item in inner.items or ():
        yield from _single(kind, item, mistakes)


def _single(kind: str, node: Node, mistakes: Mistakes) -> Iterator[tuple[str, Place, Node | None]]:
    """A name, or a mapping of one name to its settings."""
    entries = node.mapping
    if isinstance(node.value, str):
        yield node.value, node.place, None
    elif entries is not None and len(entries) == 1:
        ((name, settings),) = entries.items()
        if name in FORMS:
            mistakes.add(node.place, f"{kind} is a component, no number; write a name or {{choice: [a, b]}}")
        else:
            yield name, node.key_place(name), settings
    else:
        mistakes.add(
            node.place,
            f"{kind} must be the name of a {kind}, a name with its settings, or {{choice: …}} of them",
        )


def _option(component: Schema, place: Place, node: Node | None, words: Vocabulary, mistakes: Mistakes) -> Option:
    path = f"{component.kind}.{component.name}"
    given = node.mapping if node is not None else {}
    if given is None and node is not None and node.value is not None:
        mistakes.add(node.place, f"{path} must be a mapping of settings, or nothing")
    missing = [s.name for s in component.settings.values() if s.required and s.name not in (given or {})]
    if missing:
        mistakes.add(place, f"{path} needs {', '.join(missing)}")
    settings = _settings(component, path, node, mistakes) if given and node is not None else {}
    ordered = tuple(sorted(settings.items()))
    return Option(component.name, ordered, _may_correct(component, ordered, words))


def _settings(component: Schema, path: str, node: Node, mistakes: Mistakes) -> dict[str, Domain]:
    found = {}
    for key, value in (node.mapping or {}).items():
        if key not in component.settings:
            what = f"setting of {component.kind} {component.name}"
            mistakes.add(node.key_place(key), unknown(what, key, component.settings))
            continue
        setting = replace(component.settings[key], name=f"{path}.{key}")
        if domain := read_domain(value, setting, mistakes):
            found[key] = domain
    return found


def _may_correct(component: Schema, settings: tuple[tuple[str, Domain], ...], words: Vocabulary) -> bool:
    """Whether the component can correct class imbalance: at an end or the middle of a range, or for a choice."""
    if component.neutral:
        return False
    names = [name for name, _ in settings]
    probes = islice(product(*(_probed(domain) for _, domain in settings)), MAX_PROBES)
    given = (dict(zip(names, probe, strict=True)) for probe in probes)
    return any(words.corrects(component.kind, component.name, flat) for flat in given)


def _probed(domain: Domain) -> tuple[Value, ...]:
    return domain.options if isinstance(domain, Choice) else tuple(sorted(set(domain.probes), key=order))
