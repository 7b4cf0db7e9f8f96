"""Chains: balancings one after the other, written as a list of steps wherever a component's name may stand.

    balancing: [copies: {of: minority}, cap: {count: 3352}, smote_tomek]

    balancing:
      choice:
        - none
        - - copies: {of: minority}
          - cap: {count: {choice: [1113, 3352]}}

A list is rewritten to what it means before anything else is read: the component ``copies+cap`` with the settings
``copies.of`` and ``cap.count``, which is also how it is written where a name is a key, and called in ``start_with``.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

from search.space.yaml_tree import Mistakes, Node

JOINT = "+"


def written_out(root: Node, chained: Container[str], mistakes: Mistakes) -> Node:
    """A whole file with the lists of steps of the kinds in `chained` rewritten."""
    space = (root.mapping or {}).get("space")
    if space is None or space.mapping is None:
        return root
    found = {kind: joined(kind, node, mistakes) if kind in chained else node for kind, node in space.mapping.items()}
    sound = {kind: node for kind, node in found.items() if node is not None}
    return root.put("space", replace(space, value=sound))


def joined(kind: str, node: Node, mistakes: Mistakes) -> Node | None:
    """The value of a component, with each list of steps as one name with its settings; None where none is sound."""
    if node.items is not None:
        return _chain(kind, node, mistakes)
    choice = (node.mapping or {}).get("choice")
    if choice is None or not choice.items:
        return node
    options = [_chain(kind, item, mistakes) if item.items is not None else item for item in choice.items]
    sound = tuple(option for option in options if option is not None)
    return node.put("choice", choice.holding(sound)) if sound else None


def _chain(kind: str, chain: Node, mistakes: Mistakes) -> Node | None:
    """A mapping of one name to its settings, or None after noting a mistake."""
    steps = [_step(kind, item, mistakes) for item in chain.items or ()]
    if not steps:
        mistakes.add(chain.place, f"the chain of {kind} is empty; a list here is steps, alternatives go under choice:")
    named = [step for step in steps if step is not None]
    if not named or len(named) < len(steps):
        return None
    settings = Node({}, chain.place)
    for name, step in named:
        prefix = f"{name}." if len(named) > 1 else ""
        for setting, value in (step.mapping or {}).items():
            settings = settings.put(f"{prefix}{setting}", value, step.key_place(setting))
    return Node({}, chain.place).put(JOINT.join(name for name, _ in named), settings, chain.place)


def _step(kind: str, item: Node, mistakes: Mistakes) -> tuple[str, Node] | None:
    """Name and settings of one step, or None after noting a mistake."""
    if isinstance(item.value, str):
        return item.value, Node(None, item.place)
    entries = item.mapping or {}
    if len(entries) != 1 or "choice" in entries:
        text = f"a step of a chain of {kind} must be a name, or a name with its settings; choice: goes around the chain"
        mistakes.add(item.place, text)
        return None
    ((name, settings),) = entries.items()
    if settings.value is not None and settings.mapping is None:
        mistakes.add(settings.place, f"{kind} {name} in a chain must be a mapping of settings, or nothing")
        return None
    return name, settings
