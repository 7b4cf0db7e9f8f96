"""A packed data set in memory whose classes are told apart by their colour, and a training that is over in a second."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lesion.data.packed import EXTERNAL, PackedDataset
from lesion.group import ALONE
from lesion.training import Training

CLASSES = ("melanoma", "seborrheic_keratosis", "nevus")
SETTINGS = {
    "image_size": 24,
    "batch_size": 4,
    "backbone": "shufflenet_v2_x0_5",
    "optimizer.adamw.lr": 1e-3,
    "weight_average": 0.9,
    "precision": "float32",
}


def small_data(train=(6, 3, 3), validation=(2, 2, 2), size=24, seed=0):
    """Noise with one bright channel a class; the last images of each class are held out for validation."""
    counts = np.add(train, validation)
    labels = np.repeat(np.arange(3), counts)
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 100, (len(labels), size, size, 3), dtype=np.uint8)
    images[np.arange(len(labels)), :, :, labels] += 120
    held_out = np.concatenate([np.arange(n) >= n - v for n, v in zip(counts, validation, strict=True)])
    table = pd.DataFrame({"image": [f"ISIC_{i:07d}" for i in range(len(labels))], "label": labels, "holdout": held_out})
    table = table.assign(age=rng.choice([35.0, 60.0, np.nan], len(labels)), sex="female", site="unknown")
    manifest = {"splits": ["holdout"], "default_split": "holdout"}
    return PackedDataset(Path("drawn"), "drawn", CLASSES, size, "stretch", f"drawn-{seed}", table, images, manifest)


def with_external(data, external=(4, 4, 8), seed=1):
    """`data` and so many external images of each class, two of a lesion, behind the others."""
    labels, count = np.repeat(np.arange(3), external), len(data)
    images = np.random.default_rng(seed).integers(0, 100, (len(labels), data.size, data.size, 3), dtype=np.uint8)
    images[np.arange(len(labels)), :, :, labels] += 120
    lesion = count + np.arange(len(labels)) // 2
    more = {"image": [f"b{i}" for i in range(len(labels))], "label": labels, "holdout": False, "part": EXTERNAL}
    theirs = pd.DataFrame(more).assign(age=50.0, sex="male", site="back", group=lesion)
    table = pd.concat([data.table.assign(part="train", group=np.arange(count)), theirs], ignore_index=True)
    told = {EXTERNAL: [{"source": "elsewhere", "photos": len(labels)}]}
    return replace(data, table=table, images=np.concatenate([data.images, images]), manifest={**data.manifest, **told})


def small_training(data=None, *, epochs=3, seed=0, workers=0, cache=None, group=ALONE, **settings):
    """A training whose settings `loss__focal__gamma=1.0` are those of `SETTINGS`, changed."""
    changed = SETTINGS | {name.replace("__", "."): value for name, value in settings.items()}
    changed = {name: value for name, value in changed.items() if value is not None}
    device = torch.device("cpu")
    data = data or small_data()
    return Training(changed, data, epochs=epochs, seed=seed, device=device, workers=workers, cache=cache, group=group)
