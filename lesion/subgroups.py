"""How a model does for some people against how it does for all: groups by age, sex and body site.

A group is judged by its balanced accuracy, over the classes that it has enough images of, less that of all images over
the same classes: which diagnoses a group has is not the model's doing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
import numpy.typing as npt
import pandas as pd

from lesion.metadata import UNKNOWN
from lesion.metrics import (
    Interval,
    Variance,
    interval_around,
    interval_within,
    lesions_of,
    sampled_variance,
    unseen_variance,
)

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

BANDS = ((0.0, 30.0), (30.0, 50.0), (50.0, 70.0), (70.0, np.inf))
"""Ages in years, from and below."""


@dataclass(frozen=True)
class Subgroup:
    """What a group shows: balanced accuracy over `classes`, and its gap to all images (negative: worse).

    Both have 95 % intervals, and are NaN where no class has enough images; `images` counts the group's.
    """

    column: str
    name: str
    images: int
    classes: tuple[str, ...]
    balanced_accuracy: Interval
    gap: Interval


def groups_of(table: pd.DataFrame, column: str) -> Iterator[tuple[str, Bools]]:
    """The groups of a table by age, sex or site: names and members (N,); what is not known is in none."""
    if column != "age":
        for name in sorted(set(table[column]) - {UNKNOWN, ""}):
            yield str(name), (table[column] == name).to_numpy()
        return
    ages = table["age"].to_numpy(np.float64)
    for low, high in BANDS:
        members = (ages >= low) & (ages < high)
        if members.any():
            yield (f"{low:.0f} and over" if np.isinf(high) else f"{low:.0f}-{high - 1:.0f}"), members


def subgroups(
    table: pd.DataFrame,
    right: Bools,
    labels: npt.NDArray[np.int64],
    classes: Sequence[str],
    columns: Sequence[str],
    samples: Floats,
    *,
    per_class: int = 10,
) -> list[Subgroup]:
    """Every group of `columns` in a table (N rows) whose decisions were `right` (N,) for `labels` (N,).

    `samples` (samples, N) say how often each image is in each bootstrap sample, as `lesion.metrics.resamples` draws
    them by the column `group`, the lesion ids.
    """
    lesions = np.array(table["group"].astype(str).tolist())
    return [
        _subgroup(column, name, members, right, labels, lesions, classes, samples, per_class)
        for column in columns
        for name, members in groups_of(table, column)
    ]


def _subgroup(
    column: str,
    name: str,
    members: Bools,
    right: Bools,
    labels: npt.NDArray[np.int64],
    lesions: npt.NDArray[np.str_],
    classes: Sequence[str],
    samples: Floats,
    per_class: int,
) -> Subgroup:
    counts = np.bincount(labels[members], minlength=len(classes))
    judged = np.flatnonzero(counts >= per_class)
    names = tuple(classes[int(k)] for k in judged)
    images = int(members.sum())
    if not len(judged):
        nothing = Interval(*[float("nan")] * 3)
        return Subgroup(column, name, images, names, nothing, nothing)
    everyone, once = np.ones_like(members), np.ones((1, len(labels)))
    each = _recalls(once, members, right, labels, judged)[:, 0]
    gap = each.mean() - _recalls(once, everyone, right, labels, judged).mean()
    within = _recalls(samples, members, right, labels, judged)
    gaps = within - _recalls(samples, everyone, right, labels, judged)
    # The gap has no Student's t: the variance of a share follows from the share, and what is coarse in one class evens
    # out over several. The group by itself has it of all its classes together: nine melanomas say too little without.
    variance, own = 0.0, []
    for k, of_class, of_group in zip(judged, gaps, within, strict=True):
        inside, outside = members & (labels == k), ~members & (labels == k)
        known = [int(lesions_of(labels[part], classes, lesions[part])[k]) for part in (inside, outside)]
        variance += sampled_variance(of_class, known[0]).value + _unseen(right[inside], right[outside], known)
        drawn = sampled_variance(of_group, known[0])
        own.append(Variance(drawn.value + unseen_variance(float(right[inside].mean()), known[0]), drawn.freedom))
    interval = interval_around(float(gap), Variance(variance / len(judged) ** 2))
    alone = interval_within(float(each.mean()), reduce(add, own).over(len(judged)))
    return Subgroup(column, name, images, names, alone, interval)


def _unseen(inside: Bools, outside: Bools, lesions: Sequence[int]) -> float:
    """Variance of a class's gap where all are right, or wrong, on a side, which bootstrap samples do not show.

    Of the share of those inside the group less the share outside, times the part of the class that is outside.
    """
    if not len(outside):
        return 0.0
    part = len(outside) / (len(inside) + len(outside))
    sides = zip((inside, outside), lesions, strict=True)
    return part**2 * sum(unseen_variance(float(side.mean()), count) for side, count in sides)


def _recalls(
    samples: Floats, members: Bools, right: Bools, labels: npt.NDArray[np.int64], judged: npt.NDArray[np.int64]
) -> Floats:
    """Share of members that are right, of each class of `judged` in each sample: (judged, samples)."""
    each = []
    for k in judged:
        inside = members & (labels == k)
        weights = samples[:, inside]
        with np.errstate(invalid="ignore"):
            each.append((weights @ right[inside]) / weights.sum(axis=1))
    return np.asarray(each, np.float64)
