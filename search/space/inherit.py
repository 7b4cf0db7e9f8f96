"""``extends``: a file takes over what it does not say itself from another one.

`budget` and `space` are merged key by key, everything else is replaced. Within a component, the child's options
are the options; one that the parent has too keeps the parent's settings where the child gives none:

    parent  optimizer: {choice: {adamw: {lr: 1e-3, weight_decay: 0.1}, sgd: {lr: 0.01}}}
    child   optimizer: {adamw: {lr: 3e-4}}
    merged  optimizer: {adamw: {lr: 3e-4, weight_decay: 0.1}}

A setting is replaced whole, so a range never mixes with a choice. Nodes keep the place where they were written,
so a mistake is told in the file it stands in. Name and description are a file's own.
"""

from __future__ import annotations

import os.path
from collections.abc import Container, Mapping
from dataclasses import replace
from pathlib import Path

from search.errors import SpaceError
from search.space.chains import written_out
from search.space.vocabulary import Vocabulary
from search.space.yaml_tree import Mistakes, Node, Place, read

MAX_ANCESTORS = 16
OWN = ("name", "description", "extends")
MERGED = ("budget", "space")


def read_family(path: Path, words: Vocabulary, mistakes: Mistakes) -> Node:
    """The tree of a file with what it inherits, lists of steps written out."""
    return _read(path, words, mistakes, ())


def family(path: Path) -> list[Path]:
    """The files that the sound space file at `path` is made of: itself, and what it extends, in that order."""
    found = [path]
    while (parent := (read(found[-1], Mistakes()).mapping or {}).get("extends")) is not None:
        found.append(_beside(found[-1], str(parent.value)))
    return found


def _beside(path: Path, parent: str) -> Path:
    return Path(os.path.normpath(path.parent / parent))


def _read(path: Path, words: Vocabulary, mistakes: Mistakes, children: tuple[Path, ...]) -> Node:
    root = written_out(read(path, mistakes), words.chained, mistakes)
    parent = (root.mapping or {}).get("extends")
    if parent is None:
        return root
    place = parent.place
    if not isinstance(parent.value, str) or not parent.value:
        mistakes.add(place, "extends is the path of one other space file, from the folder of this one")
        return root
    target = _beside(path, parent.value)
    line = (*children, path)
    _check_line(target, line, place, mistakes)
    return merge(root, _inherited(target, words, mistakes, line, place), words.kinds)


def _check_line(target: Path, line: tuple[Path, ...], place: Place, mistakes: Mistakes) -> None:
    if target.resolve() in [member.resolve() for member in line]:
        circle = " → ".join(str(member) for member in (*line, target))
        raise mistakes.fail(place, f"extends goes round in a circle: {circle}")
    if len(line) > MAX_ANCESTORS:
        raise mistakes.fail(place, f"more than {MAX_ANCESTORS} files that extend one another")


def _inherited(target: Path, words: Vocabulary, mistakes: Mistakes, line: tuple[Path, ...], place: Place) -> Node:
    if not target.is_file():
        mistakes.add(place, f"extends {str(target)!r}, which is no file; the path starts at this file's folder")
        raise SpaceError(mistakes.found)
    return _read(target, words, mistakes, line)


def merge(child: Node, parent: Node, kinds: Container[str]) -> Node:
    """`child` with what it does not say taken from `parent`; both are whole files."""
    inherited = {key: node for key, node in _entries(parent).items() if key not in OWN}
    merged = _overlay(child, replace(parent, value=inherited))
    both = [key for key in MERGED if key in _entries(child) and key in inherited]
    for key in both:
        mine, theirs = _entries(child)[key], inherited[key]
        if mine.mapping is not None and theirs.mapping is not None:
            node = _merge_space(mine, theirs, kinds) if key == "space" else _overlay(mine, theirs)
            merged = merged.put(key, node)
    return merged


def _merge_space(child: Node, parent: Node, kinds: Container[str]) -> Node:
    merged = _overlay(child, parent)
    for kind in _entries(child):
        if kind in kinds and kind in _entries(parent):
            merged = merged.put(kind, merge_component(_entries(child)[kind], _entries(parent)[kind]))
    return merged


def merge_component(child: Node, parent: Node) -> Node:
    """The value of a component: the options of `child`, with the settings of `parent` where it gives none."""
    theirs = _options(parent)
    if isinstance(child.value, str):
        return _option(child, theirs)
    entries = child.mapping
    if entries is None:
        return child
    inner = entries.get("choice")
    if inner is None:
        return _with_options(child, theirs)
    if inner.items is not None:
        # A listed option is a name, or a mapping of one name to its settings.
        items = tuple(merge_component(item, parent) for item in inner.items)
        return child.put("choice", inner.holding(items))
    return child.put("choice", _with_options(inner, theirs))


def _option(name: Node, theirs: Mapping[str, Node]) -> Node:
    """An option given by its bare name: a mapping to the parent's settings where it has some."""
    word = str(name.value)
    if word not in theirs:
        return name
    return Node({word: theirs[word]}, name.place, {word: name.place}, name.size + theirs[word].size)


def _with_options(options: Node, theirs: Mapping[str, Node]) -> Node:
    for name, settings in _entries(options).items():
        if name not in theirs:
            continue
        if settings.value is None:
            options = options.put(name, theirs[name])
        elif settings.mapping is not None:
            options = options.put(name, _overlay(settings, theirs[name]))
    return options


def _options(component: Node) -> dict[str, Node]:
    """The options of a component that have settings, by name."""
    found = _entries(component)
    inner = found.get("choice")
    if inner is not None:
        found = _entries(inner)
        for item in inner.items or ():
            found |= _entries(item)
    return {name: settings for name, settings in found.items() if settings.mapping is not None}


def _entries(node: Node) -> dict[str, Node]:
    return dict(node.mapping or {})


def _overlay(child: Node, parent: Node) -> Node:
    keys = {**parent.keys, **child.keys}
    return replace(child, value={**_entries(parent), **_entries(child)}, keys=keys)
