"""Contact sheets of a data set: samples of each class, the least sharp images, pairs that are one photo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lesion.augment import resize
from lesion.contact_sheets import contact_sheet, sample_rows
from lesion.data.packed import PackedDataset

SIDE = 112
"""Pixels of an image on a sheet."""

PAIRS = 16
"""Pairs on a sheet."""

ACROSS = 8


def samples(data: PackedDataset, per_class: int, seed: int) -> dict[str, list[int]]:
    """Rows of up to `per_class` images of every class that has any on the training side of the default split."""
    rows = sample_rows(data, per_class, seed)
    found: dict[str, list[int]] = {}
    for row, label in zip(rows, data.labels[rows], strict=True):
        found.setdefault(data.classes[label], []).append(row)
    return found


def samples_figure(data: PackedDataset, shown: Mapping[str, Sequence[int]]) -> Figure:
    """Draw images of every class, a line a class."""
    return contact_sheet(
        [[resize(np.asarray(data.images[row]), SIDE) for row in members] for members in shown.values()],
        list(shown),
        f"{data.name}: samples of each class",
        captions=[[str(data.table["image"].iloc[row]) for row in members] for members in shown.values()],
    )


def by_sharpness(sharpness: NDArray[np.float64], across: int = ACROSS) -> dict[str, list[int]]:
    """Rows of the images that are least sharp, and of as many about the median: up to twice `across` of each."""
    order = np.argsort(sharpness, kind="stable").tolist()
    middle = max(0, len(order) // 2 - across)
    return {"least sharp": order[: 2 * across], "median": order[middle : middle + 2 * across]}


def least_sharp_figure(data: PackedDataset, sharpness: NDArray[np.float64], where: str, across: int = ACROSS) -> Figure:
    """Draw the two rows of images that are least sharp, and two about the median, with their sharpness (N,)."""
    shown = [
        (label if start == 0 else "", rows[start : start + across])
        for label, rows in by_sharpness(sharpness, across).items()
        for start in (0, across)
        if rows[start:]
    ]
    return contact_sheet(
        [[resize(np.asarray(data.images[row]), SIDE) for row in members] for _, members in shown],
        [label for label, _ in shown],
        f"{data.name}: variance of the Laplacian, {where}",
        captions=[
            [f"{data.table['image'].iloc[row]}  {sharpness[row]:.0f}" for row in members] for _, members in shown
        ],
    )


def pairs_figure(data: PackedDataset, pairs: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """Draw the first of `pairs` (`lesion.exploration.duplicates`), a line a pair."""
    shown = pairs[:PAIRS]
    return contact_sheet(
        [[resize(np.asarray(data.images[row]), SIDE) for row in pair["rows"]] for pair in shown],
        [pair_label(pair) for pair in shown],
        f"{data.name}: {title}" + (f", {PAIRS} of {len(pairs)}" if len(pairs) > PAIRS else ""),
        captions=[pair["images"] for pair in shown],
    )


def pair_label(pair: Mapping[str, Any]) -> str:
    """How alike, in which parts, of which classes: a line each.

    >>> pair = {"cosine": 0.9981, "parts": ["train", "train"], "sides": ["train", "validation"],
    ...         "classes": ["nevus", "nevus"], "one_lesion": True}
    >>> print(pair_label(pair))
    0.9981, one lesion
    train | validation
    nevus
    """
    places = pair["parts"] if len(set(pair["parts"])) > 1 else pair["sides"]
    lesion = {True: ", one lesion", False: ", two lesions", None: ""}[pair["one_lesion"]]
    lines = [f"{pair['cosine']:.4f}{lesion}", *(" | ".join(dict.fromkeys(each)) for each in (places, pair["classes"]))]
    return "\n".join(lines)
