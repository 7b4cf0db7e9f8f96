"""Pictures of the images that were judged worst: thumbnails for the page, a contact sheet for a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lesion.augment import resize
from lesion.contact_sheets import contact_sheet
from lesion.data.packed import PackedDataset
from lesion.figures import write_png
from lesion.metrics import decisions
from lesion.pages import SIDE
from search.reporting.judged import Hard
from search.reporting.promoted import Promoted

ACROSS = 6


def hardest_of(promoted: Promoted, test: PackedDataset, count: int) -> list[Hard]:
    """The images of the test part to whose truth a promoted model gave the least; empty where they are others."""
    places = {str(name): place for place, name in enumerate(test.table["image"])}
    given = promoted.probabilities[np.arange(len(promoted.labels)), promoted.labels]
    order = np.argsort(given, kind="stable")[:count]
    decided = decisions(promoted.decisive, promoted.classes)
    if not all(promoted.images[place] in places for place in order):
        return []
    return [
        Hard(
            places[promoted.images[place]],
            promoted.images[place],
            promoted.classes[promoted.labels[place]],
            decided[place],
            float(given[place]),
        )
        for place in order
    ]


def write_sheet(path: Path, data: PackedDataset, hard: Sequence[Hard], title: str) -> Path:
    """Write a contact sheet of hard images: truth → decision, and the probability of the truth."""
    lines = [hard[start : start + ACROSS] for start in range(0, len(hard), ACROSS)]
    images = [[resize(np.asarray(data.images[each.row]), SIDE) for each in line] for line in lines]
    captions = [[f"{each.truth} → {each.decision} {each.probability:.2f}" for each in line] for line in lines]
    labels = [str(1 + ACROSS * number) for number in range(len(lines))]
    return write_png(path, contact_sheet(images, labels, title, captions=captions))
