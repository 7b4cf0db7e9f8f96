"""Validation probabilities of a trial after its last epoch, metrics and confusion matrix of each of its epochs.

They are kept beside its checkpoints, and stay when those go.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from lesion.writing import permitted, write_atomically

PREDICTIONS = "predictions.npz"
CONFUSION = "confusion"
"""Where the record of an epoch has its counts, rows of (classes, classes + 1) numbers."""


def save_predictions(
    path: Path,
    probabilities: npt.NDArray[Any],
    record: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]] = (),
    check: Callable[[], object] = permitted,
) -> None:
    """Write validation probabilities (images, classes) with the epoch and value they belong to, atomically.

    `records` are those of all epochs, whose metrics and confusion matrices are written too. `check` raises where this
    process is to write no more: it is called when all is ready, and again before the file gets its name.
    """
    counted = [each for each in records if CONFUSION in each]
    content = io.BytesIO()
    np.savez(
        content,
        probabilities=probabilities,
        epoch=record["epoch"],
        value=record["value"],
        confusions=np.array([each[CONFUSION] for each in counted], np.int32),  # (epochs, classes, classes + 1)
        confusion_epochs=np.array([each["epoch"] for each in counted], np.int32),
        metrics=np.array(json.dumps({each["epoch"]: each["metrics"] for each in records if "metrics" in each})),
    )
    check()
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{path.name}.*.partial"):  # by a worker that was killed; one writes at a time
        left.unlink(missing_ok=True)
    write_atomically(path, content.getbuffer(), check=check)


def load_predictions(path: Path) -> tuple[npt.NDArray[Any], int, float]:
    """Validation probabilities (images, classes), the epoch and the objective's value they belong to.

    Raises OSError where there is no such file, ValueError or KeyError where it is damaged.
    """
    with _opened(path) as stored:
        return stored["probabilities"], int(stored["epoch"]), float(stored["value"])


def load_confusions(path: Path) -> dict[int, npt.NDArray[np.int64]]:
    """Counts (true class, decided class) of the validation part after each epoch, (classes, classes + 1) each.

    The last column counts undecided images. Empty where the file is of a release that did not keep them; raises as
    `load_predictions`.
    """
    with _opened(path) as stored:
        if "confusions" not in stored:
            return {}
        matrices = stored["confusions"].astype(np.int64)
        return dict(zip(stored["confusion_epochs"].tolist(), matrices, strict=True))


def load_metrics(path: Path) -> dict[int, dict[str, float]]:
    """All metrics of each epoch, by its number from 1; empty where the file is of a release that did not keep them.

    Raises as `load_predictions`.
    """
    with _opened(path) as stored:
        told = json.loads(str(stored["metrics"])) if "metrics" in stored else {}
    return {int(epoch): metrics for epoch, metrics in told.items()}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        # Opened here: NumPy leaves a file open that it cannot read.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            yield stored
    except (EOFError, BadZipFile) as error:
        raise ValueError(f"it is cut short or damaged ({error})") from error
