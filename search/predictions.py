"""Validation probabilities of a trial, kept beside its checkpoints; they stay when those go."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

PREDICTIONS = "predictions.npz"


def save_predictions(path: Path, probabilities: npt.NDArray[Any], record: Mapping[str, Any]) -> None:
    """Write validation probabilities (images, classes) with the epoch and value they belong to, atomically."""
    from lesion.checkpoints import write_atomically  # noqa: PLC0415 - torch takes seconds, and only workers save

    path.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    np.savez(content, probabilities=probabilities, epoch=record["epoch"], value=record["value"])
    for left in path.parent.glob(f".{path.name}.*.partial"):  # by a worker that was killed; one writes at a time
        left.unlink(missing_ok=True)
    write_atomically(path, content.getbuffer())


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
