"""Class names and how many images each has: what a loss needs to know of the training part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """Images of each class in the training part: `drawn` after balancing, `original` before; both (classes,)."""

    names: tuple[str, ...]
    drawn: NDArray[np.int64]
    original: NDArray[np.int64]
