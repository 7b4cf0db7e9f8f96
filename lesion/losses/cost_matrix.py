"""Misclassification costs: an error is dear or cheap by what it mistakes for what.

The costs say how bad an error is, not how rare a class: the loss does not count as correcting imbalance.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from lesion.classes import ClassCounts
from lesion.errors import SettingError, unknown
from lesion.losses.base import Loss, MeanLoss, losses
from lesion.registry import Range

Costs = NDArray[np.float64]


@losses.register
def cost_matrix(
    classes: ClassCounts,
    *,
    missed: Annotated[float, Range(1.0, 100.0)] = 4.0,
    positive: str | None = None,
    file: str | None = None,
) -> Loss:
    """Cross entropy × w[true class, predicted class], the prediction being the largest logit.

    w is `missed` (published: 4, 5 or 6) where a positive class is predicted as one that is not, and 1 elsewhere.
    `positive` names one or more classes, joined by ","; left out, it is the last of two classes. Or `file` is a CSV
    with the whole matrix (see `read_costs`). Raises SettingError.
    """
    if file is not None:
        if positive is not None:
            raise SettingError(f"positive is {positive!r} and file is {file!r}: one of them says the costs, not both")
        return CostMatrix(torch.from_numpy(read_costs(Path(file), classes.names)))
    return CostMatrix(torch.from_numpy(costs_of_misses(classes.names, positive, missed)))


@dataclass(frozen=True, eq=False)
class CostMatrix(MeanLoss):
    """Cross entropy times `costs` (true classes, predicted classes), float64; no gradient passes through the argmax."""

    costs: torch.Tensor

    def terms(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:  # noqa: D102
        costs = self.costs.to(logits)[labels, logits.argmax(dim=1)]  # (N,)
        return costs * F.cross_entropy(logits, labels, reduction="none")


def costs_of_misses(names: Sequence[str], positive: str | None, missed: float) -> Costs:
    """Ones, but `missed` where a positive class (row) is taken for one that is not (column).

    >>> costs_of_misses(["rest", "melanoma"], None, 4.0)
    array([[1., 1.],
           [4., 1.]])
    """
    is_positive = np.isin(names, _positives(names, positive))
    return np.where(is_positive[:, None] & ~is_positive[None, :], missed, 1.0)


def _positives(names: Sequence[str], positive: str | None) -> list[str]:
    if positive is None:
        if len(names) != 2:
            raise SettingError(
                f"positive is not given, and which of {len(names)} classes must not be missed is not plain: "
                f"name one or more, joined by ','; the classes are {', '.join(names)}"
            )
        return [names[-1]]
    chosen = [name.strip() for name in positive.split(",")]
    for name in chosen:
        if name not in names:
            raise SettingError(f"positive is {positive!r}: {unknown('class', name, names)}")
    if len(set(chosen)) == len(names):
        raise SettingError(f"positive is {positive!r}: these are all classes, so none can be missed; leave some out")
    return chosen


def read_costs(file: Path, names: Sequence[str]) -> Costs:
    """Costs (true classes, predicted classes) from a CSV, in the order of `names`.

    The header names the predicted classes, after a first cell that may hold anything; a row is a true class and its
    costs, finite and at least 0. Rows and columns stand in any order. Raises SettingError with every mistake.
    """
    (top, (_, *columns)), *rows = _lines(file, names)
    mistakes = _wrong_names(f"{file}:{top}", "columns", columns, names)
    mistakes += _wrong_names(str(file), "rows", [true for _, (true, *_) in rows], names)
    costs: dict[tuple[str, str], float] = {}
    for line, (true, *cells) in rows:
        if len(cells) != len(columns):
            mistakes.append(f"{file}:{line}: {true} has {len(cells)} costs, the header has {len(columns)} classes")
            continue
        costs |= {(true, predicted): _number(cell) for predicted, cell in zip(columns, cells, strict=True)}
        mistakes += [
            f"{file}:{line}: {true} taken for {predicted} costs {cell!r}, must be a number, at least 0"
            for predicted, cell in zip(columns, cells, strict=True)
            if not 0 <= costs[true, predicted] < math.inf
        ]
    if mistakes:
        raise SettingError("\n".join(mistakes))
    return np.array([[costs[true, predicted] for predicted in names] for true in names])


def _lines(file: Path, names: Sequence[str]) -> list[tuple[int, list[str]]]:
    """Numbers and stripped cells of the lines that are not empty, one at least."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            lines = [(n, [cell.strip() for cell in row]) for n, row in enumerate(csv.reader(text), 1) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise SettingError(f"{file}: cannot be read as a CSV of costs ({problem})") from problem
    if not lines:
        raise SettingError(f"{file}: is empty; its header must name the classes: {', '.join(names)}")
    return lines


def _wrong_names(where: str, what: str, given: Sequence[str], names: Sequence[str]) -> list[str]:
    if sorted(given) == sorted(names):
        return []
    return [f"{where}: the {what} are {', '.join(given) or 'none'}; must be each of {', '.join(names)} once"]


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan
