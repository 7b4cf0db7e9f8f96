"""Packed data sets in memory, of the classes that a space file is written for: noise, with a hue a class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lesion.data.packed import EXTERNAL, PackedDataset
from search.space import Space
from search.space.paper import ISIC_2017, ISIC_2018

TRAIN, VALIDATION, BEYOND = 8, 2, 2
"""Images of each class; SMOTE's five neighbours need six. The last are external ones, where a space asks for them."""


def data_for(space: Space, size: int = 32) -> PackedDataset:
    """A data set that a trial of `space` can be trained on: every split, every fact of a patient."""
    classes = ISIC_2018 if "2018" in space.data else ISIC_2017
    beyond = BEYOND if EXTERNAL in dict(space.tree.general) else 0
    labels = np.tile(np.arange(len(classes)), TRAIN + VALIDATION + beyond)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 100, (len(labels), size, size, 3), dtype=np.uint8)
    hues = rng.integers(0, 150, (len(classes), 3), dtype=np.uint8)
    images += hues[labels][:, None, None, :]
    place = np.arange(len(labels)) // len(classes)
    external = place >= TRAIN + VALIDATION
    held_out = (place >= TRAIN) & ~external
    table = pd.DataFrame(
        {
            "image": [f"ISIC_{row:07d}" for row in range(len(labels))],
            "label": labels,
            "part": np.select([held_out, external], ["validation", EXTERNAL], "train"),
            "group": np.arange(len(labels)),
            "holdout": held_out,
            "fold": np.where(held_out, 0, 1),
            "age": rng.choice([np.nan, 35.0, 60.0], len(labels)),
            "sex": rng.choice(["male", "female", "unknown"], len(labels)),
            "site": "unknown",
        }
    )
    manifest: dict[str, Any] = {"splits": ["official", "holdout", "fold-0"], "default_split": "holdout"}
    if beyond:
        manifest[EXTERNAL] = [{"source": "drawn elsewhere", "photos": int(external.sum())}]
    return PackedDataset(Path("drawn"), "drawn", classes, size, "stretch", "drawn", table, images, manifest)
