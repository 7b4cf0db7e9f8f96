"""How far the values of trials would move on other validation images: the same bootstrap of images for all trials.

Two trials are judged by the same images, so much of that movement is common to them and does not blur their
difference. The columns kept here have it both ways: noise @ noise.T is the covariance of the trials' values.

Predictions are kept of a trial's last epoch alone, so that is where the movement is taken from, also where values of an
earlier epoch are compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from lesion.errors import LesionError
from lesion.metrics import resamples, sampled_summary
from search.errors import SearchError
from search.predictions import PREDICTIONS, load_predictions
from search.reopened import data_of, through_task
from search.rows import TrialRow
from search.study import StudyStatus
from search.workspace import Workspace

SAMPLES, RANK = 200, 20
"""Bootstrap samples, and how many directions of common movement are kept of them; the rest is each trial's own."""


@dataclass(frozen=True, eq=False)
class NoiseOf:
    """Movement (samples,) of each trial's value under resampling of the images, by trial number."""

    moved: Mapping[int, npt.NDArray[np.float64]]
    notes: tuple[str, ...] = ()

    def columns(self, rows: Sequence[TrialRow]) -> npt.NDArray[np.float64] | None:
        """Random effects (rows, up to RANK) of unit variance; None where nothing is known."""
        if not any(row.number in self.moved for row in rows):
            return None
        still = np.zeros(SAMPLES)
        moved = np.stack([self.moved.get(row.number, still) for row in rows]) / np.sqrt(SAMPLES)
        directions, sizes, _ = np.linalg.svd(moved, full_matrices=False)
        columns: npt.NDArray[np.float64] = (directions * sizes)[:, :RANK]
        return columns


def validation_noise(place: Workspace, status: StudyStatus, *, seed: int) -> NoiseOf:
    """The movement of every trial that has predictions of its last epoch; `notes` say what is missing."""
    try:
        data = through_task(status.identity, data_of(place, status.name, status.identity))
        inside = data.split(status.identity.split).validation
    except (LesionError, SearchError) as problem:
        return NoiseOf({}, (f"intervals lack the noise of validation: {problem}",))
    labels = data.labels[inside]
    groups = data.table["group"].iloc[inside].astype(str).tolist()
    counts = resamples(labels, groups=groups, samples=SAMPLES, seed=seed)
    moved: dict[int, npt.NDArray[np.float64]] = {}
    missing = []
    for row in status.rows:
        if row.state not in ("complete", "pruned"):
            continue
        try:
            probabilities, epoch, _ = load_predictions(place.trial(status.name, row.number) / PREDICTIONS)
        except (OSError, ValueError, KeyError, BadZipFile):
            missing.append(row.number)
            continue
        if epoch != row.epoch or probabilities.shape != (len(labels), len(data.classes)):
            missing.append(row.number)
            continue
        sampled = sampled_summary(probabilities, labels, data.classes, counts)[status.identity.objective]
        moved[row.number] = np.nan_to_num(sampled - np.nanmean(sampled))
    notes = (f"no validation predictions of {_listed(missing)}: taken as without noise",) if missing else ()
    return NoiseOf(moved, notes)


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:10])) + (" …" if len(numbers) > 10 else "")
    return f"trial {shown}" if len(numbers) == 1 else f"{len(numbers)} trials ({shown})"
