"""How a model does for some people against how it does for all: groups by age, sex and body site.

A group is judged by its balanced accuracy, over the classes that it has enough images of, less that of all images over
the same classes: which diagnoses a group has is not the model's doing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from lesion.metadata import UNKNOWN
from lesion.metrics import (
    Interval,
    Share,
    Variance,
    interval_around,
    mean_share,
    sampled_share,
    share_interval,
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
    own, gap, variance = [], 0.0, 0.0
    for k in judged:
        of_class = labels == k
        inside = _share(of_class & members, right, lesions, samples)
        own.append(inside)
        if counts[k] < of_class.sum():
            # All images of the class have the share of both sides together: the gap to them is a part of that between.
            outside = _share(of_class & ~members, right, lesions, samples)
            part = 1 - float(counts[k] / of_class.sum())
            gap += part * (inside.value - outside.value)
            variance += part**2 * (inside.variance + outside.variance)
    # A variance of shares follows from the shares: no Student's t, and what is coarse in one class evens out.
    between = interval_around(gap / len(own), Variance(variance).over(len(own)))
    return Subgroup(column, name, images, names, share_interval(mean_share(own)), between)


def _share(members: Bools, right: Bools, lesions: npt.NDArray[np.str_], samples: Floats) -> Share:
    """Share of members of one class that are right."""
    weights = samples[:, members]
    with np.errstate(invalid="ignore"):
        sampled = weights @ right[members] / weights.sum(axis=1)
    ids, images = lesions[members], int(members.sum())
    known = len(set(ids[ids != ""])) + int((ids == "").sum())
    return sampled_share(float(right[members].mean()), sampled, known, images)
