"""Contact sheets: images side by side, pixel for pixel, with labels; and one of every augmentation policy.

A policy is best judged by eye: what it does to a lesion must leave a lesion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from lesion.augment import Augmenter, Image, augmentations, resize
from lesion.balancing.copies import DETERMINISTIC, shown
from lesion.data.packed import PackedDataset
from lesion.figures import DPI, write_png

GAP = 6
"""White pixels between two images."""

COPIES = "copies"
"""Name of the sheet that shows the four deterministic copies of `lesion.balancing`."""

_LINE = 17  # pixels of a line of text


def contact_sheet(
    rows: Sequence[Sequence[Image]],
    labels: Sequence[str],
    title: str,
    *,
    columns: Sequence[str] = (),
    captions: Sequence[Sequence[str]] = (),
) -> Figure:
    """Draw images (S, S, 3), uint8 RGB, in rows called `labels`, which may have several lines.

    `columns` are written above, `captions` below each image. The figure has the images' own pixels at `figures.DPI`.
    """
    side = rows[0][0].shape[0]
    left = 16 + 8 * max(len(line) for label in labels for line in label.splitlines())
    top = 2 * _LINE + (_LINE if columns else 0)
    across, down = side + GAP, side + GAP + (_LINE if captions else 0)
    width, height = left + across * max(map(len, rows)), top + down * len(rows)
    sheet = np.full((height, max(width, 16 + 9 * len(title)), 3), 255, np.uint8)
    figure = Figure(figsize=(sheet.shape[1] / DPI, height / DPI), dpi=DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.text(8, _LINE, title, fontsize=9, fontweight="bold", va="center")
    for i, name in enumerate(columns):
        axes.text(left + i * across + side / 2, top - _LINE / 2, name, fontsize=7, ha="center", va="center")
    for r, (row, label) in enumerate(zip(rows, labels, strict=True)):
        y = top + r * down
        axes.text(8, y + side / 2, label, fontsize=7, va="center")
        for c, image in enumerate(row):
            x = left + c * across
            sheet[y : y + side, x : x + side] = image
            if captions:
                axes.text(x + side / 2, y + side + _LINE / 2, captions[r][c], fontsize=6, ha="center", va="center")
    axes.imshow(sheet, interpolation="nearest", aspect="auto")
    return figure


def draw_policies(
    data: PackedDataset,
    folder: Path,
    policies: Sequence[str] = (),
    *,
    size: int = 128,
    per_class: int = 2,
    draws: int = 8,
    seed: int = 0,
) -> list[Path]:
    """Write a contact sheet ``<policy>.png`` of each of `policies` into `folder`, which is made.

    Each shows `per_class` images of every class, drawn from the training side of the default split, as they are and
    `draws` times augmented, at `size` pixels and with the policy's default settings. Without `policies`, all
    registered ones are drawn, and ``copies.png``. Raises SettingError for an unknown policy.
    """
    chosen = [name if name == COPIES else augmentations[name].name for name in policies or (*augmentations, COPIES)]
    rows = sample_rows(data, per_class, seed)
    images = [np.asarray(data.images[row]) for row in rows]
    labels = [f"{data.classes[data.labels[row]]}\n{data.table['image'].iloc[row]}" for row in rows]
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in chosen:
        sheet = _copied(images, size) if name == COPIES else _drawn(images, size, name, draws, seed)
        figure = contact_sheet(sheet.rows, labels, f"{name}: {sheet.summary}", columns=sheet.columns)
        paths.append(write_png(folder / f"{name}.png", figure))
    return paths


def sample_rows(data: PackedDataset, per_class: int, seed: int) -> list[int]:
    """Rows of up to `per_class` images of every class, class by class, from the training side of the default split."""
    rng = np.random.default_rng(seed)
    train = data.split().train
    labels = data.labels[train]
    members = [train[labels == k] for k in range(len(data.classes))]
    return [int(row) for rows in members for row in rng.choice(rows, min(per_class, len(rows)), replace=False)]


@dataclass(frozen=True)
class _Sheet:
    summary: str
    columns: list[str]
    rows: list[list[Image]]


def _drawn(images: Sequence[Image], size: int, policy: str, draws: int, seed: int) -> _Sheet:
    """Each image, and what epochs 1, 2, … would show of it."""
    augmenter = Augmenter(augmentations[policy].build(size), seed)
    columns = ["as it is", *(str(epoch + 1) for epoch in range(draws))]
    rows = [
        [resize(image, size), *(augmenter(image, epoch, position) for epoch in range(draws))]
        for position, image in enumerate(images)
    ]
    return _Sheet(augmentations[policy].summary, columns, rows)


def _copied(images: Sequence[Image], size: int) -> _Sheet:
    """Each image and its four deterministic copies."""
    rows = [[resize(shown(image, copy), size) for copy in (0, *DETERMINISTIC)] for image in images]
    summary = "The four deterministic copies that balancing can add."
    return _Sheet(summary, ["as it is", "left-right", "up-down", "90°", "180°"], rows)
