"""A study of two dozen trials as a search would have left it, made without training: what tests of reports read.

Trials learn towards a level that their settings give: `focal` is worth 0.06 of probability, `downsample` takes 0.06,
the head does nothing. One in three goes on after each of the epochs 1 and 2; two fail.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.trial import TrialState

from lesion.data import packed
from lesion.data.packed import PackedDataset
from lesion.metrics import summary
from search.ledger import open_ledger
from search.predictions import PREDICTIONS, save_predictions
from search.space import load
from search.study import identity_of
from search.workspace import Workspace, open_workspace

CLASSES = ("melanoma", "seborrheic_keratosis", "nevus")
EPOCHS = 4
SPACE = """
data: photos
objective: mean_auc
budget: {trials: 24, epochs: 4}
scheduler: {asha: {grace: 1, reduction: 3}}
space:
  image_size: {choice: [32, 64]}
  head: {choice: {linear: {dropout: {float: [0.0, 0.5]}}, dense: }}
  loss: {choice: {cross_entropy: , focal: {gamma: {float: [0.5, 3.0]}}}}
  balancing: {choice: {none: , downsample: {ratio: {float: [1.0, 4.0]}}}}
  optimizer: {adamw: {lr: {float: [1.0e-4, 1.0e-2], log: true}}}
"""
WORTH = {"focal": 0.6, "downsample": -0.6}


def photos(place: Workspace, images: int = 240, seed: int = 0) -> PackedDataset:
    """A packed set of drawn patches, the second half to validate; every fifth lesion has two photos there."""
    rng = np.random.default_rng(seed)
    folder = place.data / "photos"
    folder.mkdir(parents=True, exist_ok=True)
    pixels = rng.integers(0, 255, (images, 16, 16, 3)).astype(np.uint8)
    group = np.arange(images)
    group[images // 2 + 1 :: 5] = group[images // 2 : -1 : 5][: len(group[images // 2 + 1 :: 5])]
    labels = rng.integers(0, 3, images)
    labels = labels[np.searchsorted(np.arange(images), group)]
    table = pd.DataFrame({
        "image": [f"ISIC_{n:07d}" for n in range(images)], "label": labels.astype(np.int64), "lesion": "",
        "patient": "", "part": "train", "age": np.nan, "sex": "unknown", "site": "unknown", "group": group,
        "digest": "", "holdout": np.arange(images) >= images // 2, "fold": group % 5,
    })  # fmt: skip
    np.save(folder / packed.IMAGES, pixels)
    table.to_parquet(folder / packed.TABLE)
    manifest = {
        "format": packed.FORMAT, "name": "photos", "classes": list(CLASSES), "size": 16, "geometry": "stretch",
        "images": images, "splits": ["holdout"], "default_split": "holdout",
        "content_hash": packed.content_hash(pixels, table, list(CLASSES), "stretch"),
    }  # fmt: skip
    (folder / packed.MANIFEST).write_text(json.dumps(manifest))
    return PackedDataset.open(folder)


def reported(folder: Path, trials: int = 27, name: str = "photos") -> Workspace:
    """A workspace with the data and the study `name`."""
    place = open_workspace(folder / "workspace")
    data = PackedDataset.open(place.data / "photos") if (place.data / "photos").exists() else photos(place)
    path = folder / f"{name}.yaml"
    path.write_text(SPACE)
    space = load(path)
    ledger = open_ledger(place.ledger_url, name, identity_of(space, data), seed=len(name))
    proposed = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=len(name) + 1))
    for _ in range(trials):
        trial = proposed.ask()
        settings = space.sample(trial)
        lived = _lived(trial.number, settings, place, data, name)
        # In one piece: half a thousand writes to a database take longer than what is tested.
        ledger.study.add_trial(
            optuna.trial.create_trial(params=trial.params, distributions=trial.distributions, **lived)
        )
    return place


def _lived(number: int, settings: Any, place: Workspace, data: PackedDataset, name: str) -> dict[str, Any]:
    """State, value, history and attributes of one trial at its end."""
    told = {"settings": settings, "seed": number, "attempt": 1}
    if number in (5, 9):
        failure = {5: "non-finite", 9: "out-of-memory"}[number]
        told |= {"failure": failure, "message": f"it was {failure}", "seconds": 2.0, "device_seconds": 4.0}
        return {"state": TrialState.FAIL, "user_attrs": told}
    rng = np.random.default_rng([number, len(name)])
    rows = data.split(None).validation
    labels = data.labels[rows]
    level = 1.0 + WORTH.get(str(settings["loss"]), 0.0) + WORTH.get(str(settings["balancing"]), 0.0)
    last = EPOCHS if number % 3 == 0 else 1 + number % 2
    own = rng.normal(size=(len(rows), 3))
    history = {}
    for epoch in range(1, last + 1):
        logits = own + level * (1 - 0.5**epoch) * np.eye(3)[labels]
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        metrics = summary(probabilities, labels, data.classes)
        history[epoch] = metrics["mean_auc"]
    record = {"epoch": last, "value": metrics["mean_auc"]}
    save_predictions(place.trial(name, number) / PREDICTIONS, probabilities, record)
    told |= {"metrics": metrics, "seconds": 30.0 * last, "device_seconds": 60.0 * last, "examples": 120 * last}
    state = TrialState.COMPLETE if last == EPOCHS else TrialState.PRUNED
    return {"state": state, "value": metrics["mean_auc"], "user_attrs": told, "intermediate_values": history}
