"""Who trains and who judges: grouped by lesion and stratified by class, from a seed.

Images of one lesion, of one patient where that is known, of the same bytes or of the same looks make a group, and a
group is never torn: 693 of DermaMNIST's 2005 test images show a lesion that is also in its training part, and
its scores say so.

>>> labels, group = np.array([0, 0, 0, 0, 1, 1, 1, 1]), np.array([0, 0, 1, 2, 3, 4, 5, 5])
>>> side = hold_out(labels, group, 0.5, seed=0, classes=("nevus", "melanoma"))
>>> set(group[side]) & set(group[~side])
set()
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from lesion.errors import DataError

HOLDOUT = 0.2
"""Share of the rows that the split called ``holdout`` validates on."""

FOLDS = 5
"""Folds where none are asked for, or fewer if the rarest class has fewer lesions."""

_FINEST = 20  # a share is cut as some of at most so many folds: 0.15 is 3 of 20

Rows = NDArray[np.int64]


def group_rows(*keys: Iterable[str], pairs: Iterable[tuple[int, int]] = ()) -> Rows:
    """Number the groups of rows that share a non-empty key or are a pair, directly or by way of others.

    >>> group_rows(["a", "a", "b", ""], ["", "x", "x", ""])
    array([0, 0, 0, 1])
    """
    columns = [list(column) for column in keys]
    parent = list(range(len(columns[0])))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    def join(one: int, other: int) -> None:
        a, b = sorted((root(one), root(other)))
        parent[b] = a

    for column in columns:
        first: dict[str, int] = {}
        for row, key in enumerate(column):
            if key:
                join(first.setdefault(key, row), row)
    for one, other in pairs:
        join(one, other)
    return np.unique([root(row) for row in range(len(parent))], return_inverse=True)[1].astype(np.int64)


def lesions_by_class(labels: Rows, group: Rows, classes: Sequence[str]) -> dict[str, int]:
    """Number of groups in which each class occurs."""
    return {name: len(np.unique(group[labels == i])) for i, name in enumerate(classes)}


def hold_out(labels: Rows, group: Rows, share: float, *, seed: int, classes: Sequence[str]) -> NDArray[np.bool_]:
    """Mark about `share` of the rows, whole groups, every class on both sides.

    Raises DataError if a class has fewer than two groups.
    """
    counts = lesions_by_class(labels, group, classes)
    require_lesions(counts, 2, "a part held out")
    part = Fraction(share).limit_denominator(min(_FINEST, *counts.values()))
    part = part if 0 < part < 1 else Fraction(1, min(_FINEST, *counts.values()))
    fold = folds(labels, group, part.denominator, seed=seed, classes=classes)
    side = fold < part.numerator
    for rows in (side, ~side):
        require_lesions(lesions_by_class(labels[rows], group[rows], classes), 1, "each side of a split")
    return side


def folds(labels: Rows, group: Rows, count: int, *, seed: int, classes: Sequence[str]) -> Rows:
    """Fold of each row, 0 to count - 1, each fold with about the same share of every class.

    Raises DataError if a class has fewer groups than there are folds.
    """
    require_lesions(lesions_by_class(labels, group, classes), count, f"{count} folds")
    fold = np.empty(len(labels), dtype=np.int64)
    from sklearn.model_selection import StratifiedGroupKFold  # noqa: PLC0415 - seconds, and a search has its split

    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    for number, (_, rows) in enumerate(splitter.split(labels[:, None], labels, group)):
        fold[rows] = number
    return fold


def require_lesions(counts: dict[str, int], least: int, what: str) -> None:
    """Raise DataError, naming the classes, if one has fewer than `least` lesions."""
    short = {name: count for name, count in counts.items() if count < least}
    if short:
        shown = ", ".join(f"{name} has {count}" for name, count in short.items())
        raise DataError(
            f"{what} needs at least {least} lesions of every class; {shown}: "
            "add images, leave the class out, or ask for fewer folds or no test part (images of one lesion or patient, "
            "and look-alikes, count once)"
        )
