"""The settings of trials as numbers that a model can be fitted to: options as 0 and 1, ranges as curves.

A batch is one searched thing: a component (`loss`), a choice (`image_size`), or a range (`optimizer.adamw.lr`), which
exists in the trials of its option only and is 0 in the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lesion.registry import Value

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Factor:
    """A searched component or choice, and its options in the order of the space."""

    name: str
    options: tuple[Value, ...]

    def columns(self, settings: Sequence[Mapping[str, Value]]) -> Floats:
        """One column an option, 1 where a trial has it, (trials, options)."""
        return np.array([[_same(each.get(self.name), option) for option in self.options] for each in settings], float)

    def count(self, settings: Sequence[Mapping[str, Value]]) -> list[int]:
        """How many trials have each option."""
        return [sum(_same(each.get(self.name), option) for each in settings) for option in self.options]


@dataclass(frozen=True)
class Number:
    """A searched range of numbers; `log` where it is searched on a log scale."""

    name: str
    low: float
    high: float
    log: bool = False

    def columns(self, settings: Sequence[Mapping[str, Value]]) -> Floats:
        """A slope and a bend over the range, each centred on the trials that have the number, (trials, 2)."""
        has = np.array([self.name in each for each in settings])
        place = np.array([self._place(each[self.name]) if self.name in each else 0.0 for each in settings])
        columns = np.stack([place, place**2], axis=1)
        if has.any():
            columns -= columns[has].mean(axis=0)
        columns[~has] = 0.0
        return columns

    def _place(self, value: Value) -> float:
        """Where in the range, from -1 to 1."""
        low, high, x = (math.log(each) if self.log else each for each in (self.low, self.high, float(value or 0)))
        return 2 * (x - low) / (high - low) - 1 if high > low else 0.0


def taken(settings: Mapping[str, Value]) -> Mapping[str, Value]:
    """`settings` without those that the training passes over.

    Balancing that seeks neighbours on features leaves the backbone as it is and augments nothing, whatever was proposed
    for that: both belong to the balancing's effect, and to no augmentation's.
    """
    from lesion.errors import SettingError  # noqa: PLC0415 - torch and all models, for the few who compare
    from lesion.settings import resolve  # noqa: PLC0415

    try:
        passed_over = resolve(settings).on_features
    except SettingError:  # of a component that is no longer installed: what was proposed is all that is known
        return settings
    return {name: value for name, value in settings.items() if not (passed_over and _of_images(name))}


def _of_images(name: str) -> bool:
    return name.partition(".")[0] == "augmentation" or name.endswith((".trainable_stages", ".trainable_layers"))


def factors(semantics: Mapping[str, Any]) -> list[Factor]:
    """Searched components, then searched choices, of a space's `semantics`."""
    kinds = [Factor(kind, tuple(options)) for kind, options in semantics["components"].items() if len(options) > 1]
    choices = [
        Factor(name, tuple(domain["choice"])) for name, domain in _domains(semantics).items() if "choice" in domain
    ]
    return kinds + choices


def numbers(semantics: Mapping[str, Any]) -> list[Number]:
    """Searched ranges of a space's `semantics`."""
    found = []
    for name, domain in _domains(semantics).items():
        bounds = domain.get("float") or domain.get("int")
        if bounds:
            found.append(Number(name, float(bounds[0]), float(bounds[1]), bool(domain.get("log"))))
    return found


def _domains(semantics: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Domain of every searched setting by its dotted name."""
    found = {name: domain for name, domain in semantics["general"].items() if isinstance(domain, Mapping)}
    for kind, options in semantics["components"].items():
        for option, own in options.items():
            found |= {f"{kind}.{option}.{name}": domain for name, domain in own.items() if isinstance(domain, Mapping)}
    return found


def _same(a: Value, b: Value) -> bool:
    # True == 1 in Python; in a space file they are not the same.
    return isinstance(a, bool) == isinstance(b, bool) and a == b
