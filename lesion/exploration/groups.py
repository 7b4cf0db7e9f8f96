"""Several photos of one lesion or patient, and what a split keeps together: how many have 1, 2, 3 … images."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesion.data.packed import PackedDataset
from lesion.exploration.measures import divisions

Chosen = NDArray[np.bool_]


def count_groups(data: PackedDataset) -> dict[str, dict[str, Any]]:
    """Of `lesion` and `patient` (as far as the source names them) and `together`, by images that each has.

    `together` are the images that a split made here keeps on one side: of one lesion or patient, or that look alike.
    """
    table = data.table
    named = {"lesion": "lesion", "patient": "patient", "together": "group"}
    return {what: _sizes(data, table[column].astype(str).to_numpy()) for what, column in named.items()}


def _sizes(data: PackedDataset, ids: NDArray[Any]) -> dict[str, Any]:
    known = ids != ""
    classes = {name: data.labels == k for k, name in enumerate(data.classes)}
    labels: dict[str, set[int]] = {}
    sides: dict[str, set[bool]] = {}
    validates = np.isin(np.arange(len(data)), data.split().validation)
    for name, label, side in zip(ids[known], data.labels[known], validates[known], strict=True):
        labels.setdefault(name, set()).add(int(label))
        sides.setdefault(name, set()).add(bool(side))
    return {
        "images": int(known.sum()),
        "groups": len(labels),
        "by_images": _by_images(ids[known]),
        "parts": {name: _by_images(ids[known & chosen]) for name, chosen in divisions(data).items()},
        "classes": {name: _by_images(ids[known & chosen]) for name, chosen in classes.items()},
        "of_several_classes": sum(len(found) > 1 for found in labels.values()),
        "on_both_sides": sum(len(found) > 1 for found in sides.values()),
    }


def _by_images(ids: NDArray[Any]) -> dict[str, int]:
    """How many ids stand once, twice, …: {"1": …, "2": …}."""
    found = Counter(Counter(ids.tolist()).values())
    return {str(images): found[images] for images in sorted(found)}
