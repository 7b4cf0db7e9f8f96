"""Recorded learning curves: what trials with their settings reached after each epoch, and how long an epoch took.

A simulated trial gets the curve of the recorded one that is most like it. Settings are compared one by one, those of
the components taken alone: numbers by their distance in the range searched (on its scale), everything else as equal or
not. Curves can be written to a file and read on another machine.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesion.registry import Value
from search.errors import SimulationError
from search.rows import TrialRow
from search.space import Space, load

FORMAT = 1
FEWEST = 5
"""Recorded trials without which there is nothing to compare."""


@dataclass(frozen=True)
class Curve:
    """Flat settings of a trial, the objective after each epoch, seconds of an epoch; `whole`: it ran to its end."""

    settings: Mapping[str, Value]
    values: tuple[float, ...]
    seconds: float
    whole: bool = True


class Recorded:
    """Curves to look up by settings; `epochs` is how far a trial may go."""

    def __init__(self, curves: Sequence[Curve], epochs: int) -> None:
        usable = [curve for curve in curves if curve.values]
        if len(usable) < FEWEST:
            raise SimulationError(f"{len(usable)} recorded curves are too few to simulate with: {FEWEST} at least")
        self.curves, self.epochs = usable, epochs
        self._scales = _scales(usable)
        self._table = np.stack([self._encoded(curve.settings) for curve in usable])

    def curve(self, settings: Mapping[str, Value]) -> Curve:
        """That of the nearest recorded trial, continued to `epochs` where it was stopped before."""
        apart = np.nan_to_num(np.abs(self._table - self._encoded(settings)), nan=1.0)
        # A setting that neither has says nothing; one that only one of them has is a difference.
        apart[:, np.isnan(self._encoded(settings)) & np.isnan(self._table).all(axis=0)] = 0.0
        apart[np.isnan(self._table) & np.isnan(self._encoded(settings))] = 0.0
        near = self.curves[int(np.argmin(np.minimum(apart, 1.0).sum(axis=1)))]
        values = near.values[: self.epochs]
        # Pruned ones go on flat: nobody knows better, and it is the cautious guess.
        return Curve(near.settings, values + values[-1:] * (self.epochs - len(values)), near.seconds, near.whole)

    def _encoded(self, settings: Mapping[str, Value]) -> NDArray[np.float64]:
        return np.array([scale(settings.get(name)) for name, scale in self._scales.items()])


@dataclass(frozen=True)
class _Number:
    low: float
    high: float
    log: bool

    def __call__(self, value: Value) -> float:
        if value is None or isinstance(value, str):
            return math.nan
        place, low, high = (math.log(max(v, 1e-300)) if self.log else v for v in (float(value), self.low, self.high))
        return (place - low) / (high - low)


@dataclass(frozen=True)
class _Word:
    """Equal or not: each word is 10 away from the next, which a distance cuts to 1."""

    words: tuple[Value, ...]

    def __call__(self, value: Value) -> float:
        return 10.0 * self.words.index(value) if value in self.words else math.nan


def _scales(curves: Sequence[Curve]) -> dict[str, _Number | _Word]:
    """For every setting in which the curves differ, how its values become numbers."""
    found: dict[str, _Number | _Word] = {}
    for name in sorted({name for curve in curves for name in curve.settings}):
        values = list({curve.settings[name]: None for curve in curves if name in curve.settings})
        numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        if len(values) == len(numbers) and len(numbers) > 1:
            low, high = min(numbers), max(numbers)
            found[name] = _Number(low, high, low > 0 and high / low >= 30)
        elif len(values) > 1 or any(name not in curve.settings for curve in curves):
            found[name] = _Word(tuple(values))
    return found


def curves_of_study(rows: Iterable[TrialRow]) -> list[Curve]:
    """The curves of the trials that ended with a value."""
    return [
        Curve(dict(row.settings), tuple(row.history.values()), row.seconds / max(1, row.epoch), row.state == "complete")
        for row in rows
        if row.state in ("complete", "pruned") and row.history
    ]


def space_of_study(semantics: Mapping[str, Any], objective: str, trials: int) -> Space:
    """The space that a study searched, read again from what its ledger keeps."""
    components = {
        kind: {"choice": {name: dict(settings) for name, settings in options.items()}}
        for kind, options in semantics["components"].items()
    }
    file = {
        "data": "recorded",
        "objective": objective,
        "budget": {"trials": trials, "epochs": semantics["epochs"]},
        "space": {**semantics["general"], **components},
        "allow_double_balancing": not semantics.get("balance_once", False),
        "balance_once": bool(semantics.get("balance_once", False)),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recorded.yaml"
        path.write_text(json.dumps(file))  # JSON is YAML
        return load(path)


def write_curves(path: Path, curves: Sequence[Curve]) -> None:
    """Write curves to a JSON file."""
    held = [{**vars(curve), "settings": dict(curve.settings), "values": list(curve.values)} for curve in curves]
    path.write_text(json.dumps({"format": FORMAT, "curves": held}, indent=1) + "\n")


def read_curves(path: Path) -> list[Curve]:
    """Curves out of a file of `write_curves`; SimulationError says what is wrong with it."""
    try:
        held = json.loads(path.read_text())
        if held["format"] != FORMAT:
            raise SimulationError(f"{path}: format {held['format']}, this version reads format {FORMAT}")
        return [
            Curve(
                dict(each["settings"]), tuple(map(float, each["values"])), float(each["seconds"]), bool(each["whole"])
            )
            for each in held["curves"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise SimulationError(f"{path} is no file of curves ({type(error).__name__}: {error})") from error
