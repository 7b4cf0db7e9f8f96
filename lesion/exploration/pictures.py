"""Pictures of a data set: classes, samples, sizes, sharpness, grey levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lesion.augment import resize
from lesion.contact_sheets import contact_sheet, sample_rows
from lesion.data.packed import PackedDataset
from lesion.figures import COLOURS, canvas

SIDE = 112
"""Pixels of an image on a sheet."""

SIZES = 12
"""Sizes that have a bar of their own."""


def class_counts_figure(found: Mapping[str, Any], name: str) -> Figure:
    """Draw the images of each class, on both sides of the split counted; the bars are labelled with their count."""
    classes = list(found["train"])
    figure, axes = canvas(7.2, 1.6 + 0.5 * len(classes))
    places = np.arange(len(classes))
    for i, side in enumerate(("train", "validation")):
        values = list(found[side].values())
        bars = axes.barh(places + 0.4 * i - 0.2, values, 0.38, color=COLOURS[i], label=f"{side} ({sum(values):,})")
        axes.bar_label(bars, [f"{value:,}" for value in values], padding=3, fontsize=8)
    axes.set_yticks(places, classes)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set(xlabel="images", title=f"{name}: images of each class, split {found['split']}")
    figure.legend(frameon=False, loc="outside lower center", ncols=2)
    return figure


def samples_figure(data: PackedDataset, per_class: int, seed: int) -> Figure:
    """Draw up to `per_class` images of every class, drawn from the training side of the default split."""
    rows = sample_rows(data, per_class, seed)
    labels = data.labels[rows]
    by_class = [[row for row, label in zip(rows, labels, strict=True) if label == k] for k in range(len(data.classes))]
    shown = [(name, members) for name, members in zip(data.classes, by_class, strict=True) if members]
    return contact_sheet(
        [[resize(np.asarray(data.images[row]), SIDE) for row in members] for _, members in shown],
        [name for name, _ in shown],
        f"{data.name}: samples of each class",
        captions=[[str(data.table["image"].iloc[row]) for row in members] for _, members in shown],
    )


def least_sharp_figure(data: PackedDataset, sharpness: NDArray[np.float64], where: str, across: int = 8) -> Figure:
    """Draw the two rows of images that are least sharp, and two about the median, with their sharpness (N,)."""
    order = np.argsort(sharpness, kind="stable")
    middle = max(0, len(order) // 2 - across)
    rows = [order[:across], order[across : 2 * across], order[middle:][:across], order[middle + across :][:across]]
    labels = ["least sharp", "", "median", ""]
    shown = [(label, members) for label, members in zip(labels, rows, strict=True) if len(members)]
    return contact_sheet(
        [[resize(np.asarray(data.images[row]), SIDE) for row in members] for _, members in shown],
        [label for label, _ in shown],
        f"{data.name}: variance of the Laplacian, {where}",
        captions=[
            [f"{data.table['image'].iloc[row]}  {sharpness[row]:.0f}" for row in members] for _, members in shown
        ],
    )


def sharpness_figure(
    sharpness: NDArray[np.float64], labels: NDArray[np.int64], classes: Sequence[str], below: float, where: str
) -> Figure:
    """Draw which share of each class has a sharpness (N,) up to a value; images under `below` are called blurred."""
    figure, axes = canvas(7.2, 4.2)
    for k, name in enumerate(classes):
        own = np.maximum(sharpness[labels == k], 0.1)  # a picture of one grey has 0, which no logarithmic axis shows
        if len(own):
            label = f"{name}  {(own < below).sum():,} of {len(own):,}"
            axes.ecdf(own, color=COLOURS[k % len(COLOURS)], linewidth=1.6, label=label)
    axes.axvline(below, color="black", linewidth=1, linestyle="--")
    axes.set_xscale("log")
    axes.set(xlabel=f"variance of the Laplacian, {where}", ylabel="share of the class up to there")
    axes.set_title(f"{(sharpness < below).sum():,} of {len(sharpness):,} images below {below:g}")
    axes.legend(frameon=False, title=f"below {below:g}", fontsize=8, loc="lower right")
    return figure


def sizes_figure(sizes: Sequence[Mapping[str, Any]], name: str) -> Figure:
    """Draw the most frequent sizes of the photos, and how many have another one."""
    shown, rest = sizes[:SIZES], sizes[SIZES:]
    labels = [f"{size['width']} × {size['height']}" for size in shown] + [f"{len(rest)} other sizes"] * bool(rest)
    values = [size["images"] for size in shown] + [sum(size["images"] for size in rest)] * bool(rest)
    figure, axes = canvas(7.2, 1.3 + 0.3 * len(labels))
    bars = axes.barh(range(len(labels)), values, 0.7, color=COLOURS[0])
    axes.bar_label(bars, [f"{value:,}" for value in values], padding=3, fontsize=8)
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set(xlabel="photos", title=f"{name}: width × height of the photos, in pixels")
    return figure


def grey_levels_figure(levels: NDArray[np.int64], classes: Sequence[str], name: str) -> Figure:
    """Draw the grey levels (classes, 256) of the pixels of each class."""
    figure, axes = canvas(7.2, 4.2)
    for k, (label, histogram) in enumerate(zip(classes, levels, strict=True)):
        if histogram.any():
            axes.plot(histogram / histogram.sum(), color=COLOURS[k % len(COLOURS)], linewidth=1.6, label=label)
    axes.set(xlabel="grey level", ylabel="share of the pixels", xlim=(0, 255), ylim=(0, None))
    axes.set_title(f"{name}: grey levels of each class")
    axes.legend(frameon=False)
    return figure
