"""Where each setting of a space file stands, for mistakes that show only when the file has been read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from search.space.yaml_tree import Node, Place

_WRAPPERS = ("choice",)
"""Keys that stand between a kind and its options, and are no part of a setting's name."""


def places(root: Node) -> dict[str, str]:
    """``file:line`` of every key, by the name of its setting: ``split``, ``backbone.resnet18.weights``."""
    found = {key: _shown(root.key_place(key)) for key in root.mapping or {}}
    space = (root.mapping or {}).get("space")
    return found if space is None else found | dict(_inside(space, ""))


def nearest(known: Mapping[str, str], name: str) -> str:
    """Where `name` stands, or what it is part of; "" where neither is in the file."""
    while name:
        if name in known:
            return known[name]
        name = name.rpartition(".")[0]
    return ""


def _inside(node: Node, prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in (node.mapping or {}).items():
        name = prefix if key in _WRAPPERS else f"{prefix}.{key}" if prefix else key
        if name != prefix:
            yield name, _shown(node.key_place(key))
        yield from _inside(value, name)


def _shown(place: Place) -> str:
    return f"{place.file}:{place.line}" if place.line else place.file
