"""What a gates file sets on validation: temperature, decision weights, operating point. They are stored with the model.

Their order matters. The temperature comes first; decision weights are fitted to calibrated probabilities and change
decisions alone; the operating point is a threshold on calibrated probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from lesion.calibration import balancing_weights, cautious_temperature, tempered
from lesion.errors import DataError
from lesion.rules import Rules, operating_point
from search.gates.judging import looked_for
from search.gates.reading import Gates


def rules_of(
    gates: Gates,
    probabilities: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    classes: Sequence[str],
    say: Callable[[str], None],
) -> Rules:
    """The rules that validation probabilities (N, classes), as the model gives them, and labels (N,) ask for.

    What validation cannot set (a class without images) is left out, and `say` is told.
    """
    temperature = cautious_temperature(probabilities, labels) if gates.calibrate else 1.0
    calibrated = tempered(probabilities, temperature)
    weights = None
    if gates.balance:
        counts = np.bincount(labels, minlength=len(classes))
        if counts.all():
            weights = balancing_weights(calibrated, labels)
        else:
            absent = ", ".join(name for name, count in zip(classes, counts, strict=True) if not count)
            say(f"decisions are not balanced: no validation image of {absent}")
    point = None
    if gates.operating_point is not None:
        wanted = looked_for(gates.operating_point.of, tuple(classes))
        try:
            if wanted:
                point = operating_point(calibrated, labels, classes, wanted, gates.operating_point.sensitivity)
        except DataError as problem:
            say(f"no operating point: {problem}")
    return Rules(temperature, weights, point)


def what_is_set(gates: Gates) -> list[Any]:
    """Plain values that tell two files apart by what they set on validation."""
    point = gates.operating_point
    return [gates.calibrate, gates.balance, None if point is None else asdict(point)]
