"""Packed data sets in memory, of the classes that a space file is written for: noise, with a hue a class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from lesion.data.packed import PackedDataset
from search.space import Space
from search.space.paper import ISIC_2017, ISIC_2018

TRAIN, VALIDATION = 8, 2
"""Images of each class; SMOTE's five neighbours need six."""


def data_for(space: Space, size: int = 32) -> PackedDataset:
    """A data set that a trial of `space` can be trained on: every split, every fact of a patient."""
    classes = ISIC_2018 if "2018" in space.data else ISIC_2017
    labels = np.tile(np.arange(len(classes)), TRAIN + VALIDATION)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 100, (len(labels), size, size, 3), dtype=np.uint8)
    hues = rng.integers(0, 150, (len(classes), 3), dtype=np.uint8)
    images += hues[labels][:, None, None, :]
    held_out = np.arange(len(labels)) >= TRAIN * len(classes)
    table = pd.DataFrame(
        {
            "image": [f"ISIC_{row:07d}" for row in range(len(labels))],
            "label": labels,
            "part": np.where(held_out, "validation", "train"),
            "holdout": held_out,
            "fold": np.where(held_out, 0, 1),
            "age": rng.choice([np.nan, 35.0, 60.0], len(labels)),
            "sex": rng.choice(["male", "female", "unknown"], len(labels)),
            "site": "unknown",
        }
    )
    manifest = {"splits": ["official", "holdout", "fold-0"], "default_split": "holdout"}
    return PackedDataset(Path("drawn"), "drawn", classes, size, "stretch", "drawn", table, images, manifest)
