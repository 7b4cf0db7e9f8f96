"""Validation probabilities of a trial, kept beside its checkpoints; they stay when those go."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

PREDICTIONS = "predictions.npz"


def save_predictions(path: Path, probabilities: npt.NDArray[Any], record: Mapping[str, Any]) -> None:
    """Write validation probabilities (images, classes) with the epoch and value they belong to, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            np.savez(file, probabilities=probabilities, epoch=record["epoch"], value=record["value"])
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)  # what a full disk has taken of it


def load_predictions(path: Path) -> tuple[npt.NDArray[Any], int, float]:
    """Validation probabilities (images, classes), the epoch and the objective's value they belong to.

    Raises OSError where there is no such file, ValueError or KeyError where it is damaged.
    """
    try:
        # Opened here: NumPy leaves a file open that it cannot read.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return stored["probabilities"], int(stored["epoch"]), float(stored["value"])
    except (EOFError, BadZipFile) as error:
        raise ValueError(f"it is cut short or damaged ({error})") from error
