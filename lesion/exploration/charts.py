"""Charts of a data set: classes, people, groups, sizes, sharpness, colours. As wide as a phone's screen.

Numbers are written at the bars; an axis is logarithmic where its bars differ fifty-fold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from lesion.exploration.measures import by_side
from lesion.figures import COLOURS, bare, canvas
from lesion.metadata import UNKNOWN

WIDTH = 4.8
"""Inches."""

SIZES = 12
"""Sizes that have a bar of their own."""

FOLD = 50
"""Bars that differ so much stand on a logarithmic axis: on a linear one the short ones cannot be seen."""

PLAIN = "#7F7F7F"
CHANNELS = {"R": "#D55E00", "G": "#009E73", "B": "#0072B2"}


def class_counts_figure(found: Mapping[str, Any], name: str, test: Mapping[str, int] | None = None) -> Figure:
    """Draw the images of each class, on the sides of the default split and, where they are known, of the test part."""
    counts = by_side(found) | ({} if test is None else {"test": dict(test)})
    sides = {f"{side} ({sum(each.values()):,})": list(each.values()) for side, each in counts.items()}
    return grouped_bars(list(found["train"]), sides, "images", f"{name}: images of each class, split {found['split']}")


def groups_figure(found: Mapping[str, Any], what: str, name: str) -> Figure:
    """Draw how many groups have one image, two, three …, of each part."""
    sizes = sorted({int(size) for part in found["parts"].values() for size in part})
    rows = [f"{size} image" + "s" * (size > 1) for size in sizes]
    series = {
        f"{part} ({sum(counted.values()):,})": [counted.get(str(size), 0) for size in sizes]
        for part, counted in found["parts"].items()
    }
    return grouped_bars(rows, series, what, f"{name}: {what} by their number of images")


def grouped_bars(rows: Sequence[str], series: Mapping[str, Sequence[int]], what: str, title: str) -> Figure:
    """Draw a group of bars for each of `rows`, a colour for each of `series`; the counts are written."""
    thick = 0.17
    figure, axes = canvas(WIDTH, 1.25 + (thick * len(series) + 0.13) * len(rows))
    step = thick / (thick * len(series) + 0.13)
    places = np.arange(len(rows))
    for i, (name, values) in enumerate(series.items()):
        offset = (i - (len(series) - 1) / 2) * step
        bars = axes.barh(places + offset, values, 0.92 * step, color=COLOURS[i], label=name)
        axes.bar_label(bars, [f"{value:,}" for value in values], padding=3, fontsize=8)
    _by_count(axes, what, [value for values in series.values() for value in values])
    axes.set_yticks(places, rows, fontsize=9)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    figure.suptitle(title, fontsize=10)
    if len(series) > 1:
        figure.legend(frameon=False, loc="outside lower center", ncols=len(series), fontsize=9)
    return figure


def values_figure(found: Mapping[str, Any], what: str, name: str) -> Figure:
    """Draw the images by a value such as the decade of the age, a panel for each class; "unknown" is grey."""
    values, classes = found["values"], found["classes"]
    figure = Figure(figsize=(WIDTH, 0.9 + 0.85 * len(classes)), layout=ConstrainedLayoutEngine(h_pad=0.03))
    panels = figure.subplots(len(classes), 1, sharex=True, squeeze=False)[:, 0]
    places = np.arange(len(values))
    for k, (axes, (label, counted)) in enumerate(zip(panels, classes.items(), strict=True)):
        colours = [PLAIN if value == UNKNOWN else COLOURS[k % len(COLOURS)] for value in values]
        bare(axes)
        axes.grid(visible=False)
        axes.bar_label(axes.bar(places, counted, 0.8, color=colours), [f"{n:,}" for n in counted], fontsize=7)
        axes.margins(y=0.3)
        axes.set_title(f"{label} ({sum(counted):,})", loc="left", fontsize=8, pad=2)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
    panels[-1].set_xticks(places, values, rotation=45, ha="right", rotation_mode="anchor", fontsize=8)
    figure.suptitle(f"{name}: {what} by class, images", fontsize=10)
    return figure


def sharpness_figure(
    sharpness: NDArray[np.float64], labels: NDArray[np.int64], classes: Sequence[str], below: float, where: str
) -> Figure:
    """Draw which share of each class has a sharpness (N,) up to a value; images under `below` are called blurred."""
    figure, axes = canvas(WIDTH, 3.3 + 0.1 * len(classes))
    for k, name in enumerate(classes):
        own = np.maximum(sharpness[labels == k], 0.1)  # a picture of one grey has 0, which no logarithmic axis shows
        if len(own):
            label = f"{name}  {(own < below).sum():,} of {len(own):,}"
            axes.ecdf(own, color=COLOURS[k % len(COLOURS)], linewidth=1.6, label=label)
    axes.axvline(below, color="black", linewidth=1, linestyle="--")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.tick_params(labelsize=8)
    axes.set_xlabel(f"variance of the Laplacian, {where}", fontsize=8)
    axes.set_ylabel("share of the class up to there", fontsize=8)
    figure.suptitle(f"{(sharpness < below).sum():,} of {len(sharpness):,} images below {below:g}", fontsize=10)
    figure.legend(
        frameon=False, title=f"below {below:g}", fontsize=8, title_fontsize=8, loc="outside lower center", ncols=2
    )
    return figure


def sizes_figure(sizes: Sequence[Mapping[str, Any]], name: str) -> Figure:
    """Draw the most frequent sizes of the photos, and how many have another one."""
    shown, rest = sizes[:SIZES], sizes[SIZES:]
    labels = [f"{size['width']} × {size['height']}" for size in shown] + [f"{len(rest)} other sizes"] * bool(rest)
    values = [size["images"] for size in shown] + [sum(size["images"] for size in rest)] * bool(rest)
    return grouped_bars(labels, {"photos": values}, "photos", f"{name}: width × height of the photos, in pixels")


def grey_levels_figure(levels: NDArray[np.int64], classes: Sequence[str], name: str) -> Figure:
    """Draw the grey levels (classes, 256) of the pixels of each class."""
    figure, axes = canvas(WIDTH, 2.9 + 0.1 * len(classes))
    for k, (label, histogram) in enumerate(zip(classes, levels, strict=True)):
        if histogram.any():
            axes.plot(histogram / histogram.sum(), color=COLOURS[k % len(COLOURS)], linewidth=1.6, label=label)
    axes.set(xlim=(0, 255), ylim=(0, None))
    axes.tick_params(labelsize=8)
    axes.set_xlabel("grey level", fontsize=8)
    axes.set_ylabel("share of the pixels", fontsize=8)
    figure.suptitle(f"{name}: grey levels of each class", fontsize=10)
    figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=2 if len(classes) < 4 else 4)
    return figure


def colours_figure(found: Mapping[str, Any], name: str) -> Figure:
    """Draw mean and standard deviation of red, green and blue, of each class and of all images."""
    rows = {label: each for label, each in {**found["classes"], "all": found["all"]}.items() if each["mean"]}
    figure, axes = canvas(WIDTH, 1.2 + 0.42 * len(rows))
    for channel, (letter, colour) in enumerate(CHANNELS.items()):
        means = [each["mean"][channel] for each in rows.values()]
        spreads = [each["deviation"][channel] for each in rows.values()]
        places = np.arange(len(rows)) + 0.24 * (channel - 1)
        axes.errorbar(
            means, places, xerr=spreads, fmt="o", color=colour, markersize=4, linewidth=1.4, capsize=2, label=letter
        )
    axes.set_yticks(range(len(rows)), list(rows), fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, 255)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlabel("mean of the pixels, ± standard deviation", fontsize=8)
    figure.suptitle(f"{name}: red, green and blue of each class", fontsize=10)
    figure.legend(frameon=False, loc="outside lower center", ncols=3, fontsize=9)
    return figure


def _by_count(axes: Axes, what: str, counted: Sequence[int]) -> None:
    """A linear axis of counts, or a logarithmic one where they differ too much for it."""
    several = [count for count in counted if count > 0]
    axes.margins(x=0.16)
    if several and max(several) >= FOLD * min(several):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        # The lowest bar is seen, too, be it a single image; and there is room for the number at the highest.
        axes.set_xlim(0.7 * 10 ** np.floor(np.log10(min(several))), max(several) * 4)
        what += " (logarithmic)"
    axes.set_xlabel(what, fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
