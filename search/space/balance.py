"""Class imbalance is corrected once: by weights, or by resampling, not by both (docs/decisions/0002)."""

from __future__ import annotations

from itertools import combinations

from search.space.tree import Option, Part, Tree
from search.space.yaml_tree import Mistakes, Node, Place


def check_balance(tree: Tree, node: Node, allow: bool, once: Place | None, mistakes: Mistakes) -> None:
    """Note a mistake where some trial of the space would correct imbalance twice.

    `node` is the file's `space`; `once` is where the file says ``balance_once: true``.
    """
    if once is not None and allow:
        mistakes.add(once, "balance_once and allow_double_balancing exclude each other; keep one of them")
    elif once is not None:
        _check_once(tree, node, mistakes)
    elif not allow:
        _check_never(tree, node, mistakes)


def _check_never(tree: Tree, node: Node, mistakes: Mistakes) -> None:
    for first, second in combinations(tree.parts, 2):
        one, other = _correcting(first), _correcting(second)
        if not one or not other:
            continue
        mistakes.add(
            node.key_place(second.kind),
            f"imbalance would be corrected twice, by {first.kind} {_names(one)} and by {second.kind} "
            f"{_names(other)}: take one of the two out, or "
            f"write 'balance_once: true' to search both but never together, or "
            f"'allow_double_balancing: true' if it is meant",
        )


def _check_once(tree: Tree, node: Node, mistakes: Mistakes) -> None:
    """After one correction a later part must be left with exactly one option, or all of its options.

    With two left of three, one parameter would be asked for with two different choices, which Optuna refuses.
    """
    before = ""
    for part in tree.parts:
        one = _correcting(part)
        left = [option for option in part.options if not option.corrects]
        if before and one and len(left) != 1:
            found = _names(left) if left else "none"
            mistakes.add(
                node.key_place(part.kind),
                f"balance_once: beside {before}, exactly one {part.kind} that corrects nothing must be left "
                f"(usually none), and here it is: {found}",
            )
        if one:
            before = f"{part.kind} {_names(one)}"


def _correcting(part: Part) -> list[Option]:
    return [option for option in part.options if option.corrects]


def _names(options: list[Option]) -> str:
    return " or ".join(option.name for option in options)
