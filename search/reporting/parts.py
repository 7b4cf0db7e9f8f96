"""What is told of the images of each part of the data that was judged, for the page and for the files alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lesion.data.packed import PackedDataset
from search.reporting.judged import HARDEST, Hard
from search.reporting.pictures import hardest_of
from search.reporting.promoted import Promoted

if TYPE_CHECKING:
    from search.reporting.gather import Reading


@dataclass(frozen=True, eq=False)
class Part:
    """A part and how it was judged: the validation part by the best trial, the test part by a promotion.

    `probabilities` (N, classes) are of images with labels (N,); `decisive` is largest where it was decided. `scores`
    holds value, low and high by name. `hard` are rows of `data`, which is None where the images are gone.
    """

    name: str
    judge: str
    classes: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]
    decisive: npt.NDArray[np.float64]
    scores: Mapping[str, Sequence[float | None]]
    hard: Sequence[Hard]
    data: PackedDataset | None
    promotion: Promoted | None = None


def parts_of(reading: Reading) -> list[Part]:
    """The validation part, where it can be told of, then each opening of the test part."""
    found = [_promoted(reading, each) for each in reading.promotions]
    if reading.best is None or reading.judge is None:
        return found
    row, told = reading.best
    scores = {name: [each.value, each.low, each.high] for name, each in told.intervals.items()}
    validation = Part(
        "validation", f"trial {row.number}", told.classes, told.labels, told.probabilities, told.decisive, scores,
        reading.hard, reading.judge.data,
    )  # fmt: skip
    return [validation, *found]


def _promoted(reading: Reading, each: Promoted) -> Part:
    hard = [] if reading.test is None else hardest_of(each, reading.test, HARDEST)
    return Part(
        f"test {each.key}", f"promotion {each.key}", each.classes, each.labels, each.probabilities, each.decisive,
        each.intervals, hard, reading.test, each,
    )  # fmt: skip
