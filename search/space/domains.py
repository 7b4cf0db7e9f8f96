"""What one setting may be: a fixed value, a choice, or a range of floats or ints.

Each domain says how Optuna draws from it, which values stand for it when a branch is tried out (low, middle,
high), and how it is spelled in JSON, the same for two files that mean the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, TypeAlias

from lesion.registry import Value

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

Json: TypeAlias = "Value | list[Json] | dict[str, Json]"


@dataclass(frozen=True)
class Fixed:
    """One value: nothing to search."""

    value: Value
    searched = False

    def suggest(self, trial: BaseTrial, name: str) -> Value:
        """The value; the trial is not asked."""
        return self.value

    def find(self, value: Value) -> Value:
        """The member equal to `value`; ValueError when there is none."""
        if not _equal(self.value, value):
            raise ValueError(f"fixed to {show(self.value)}")
        return self.value

    @property
    def probes(self) -> tuple[Value, ...]:
        """Low, middle and high."""
        return (self.value, self.value, self.value)

    def spelled(self) -> Json:
        """JSON form."""
        return self.value

    def __str__(self) -> str:
        return show(self.value)


@dataclass(frozen=True)
class Choice:
    """Two or more values, in canonical order: Optuna refuses the same values in another order."""

    options: tuple[Value, ...]
    searched = True

    def suggest(self, trial: BaseTrial, name: str) -> Value:
        """Draw one."""
        drawn: Value = trial.suggest_categorical(name, self.options)
        return drawn

    def find(self, value: Value) -> Value:
        """The member equal to `value`; ValueError when there is none."""
        for option in self.options:
            if _equal(option, value):
                return option
        raise ValueError(f"one of {', '.join(map(show, self.options))}")

    @property
    def probes(self) -> tuple[Value, ...]:
        """First, middle and last."""
        return (self.options[0], self.options[len(self.options) // 2], self.options[-1])

    def spelled(self) -> Json:
        """JSON form."""
        return {"choice": list(self.options)}

    def __str__(self) -> str:
        return "one of " + ", ".join(map(show, self.options))


@dataclass(frozen=True)
class FloatRange:
    """Floats from `low` to `high`, both included, evenly, on a log scale, or in steps."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    searched = True

    def suggest(self, trial: BaseTrial, name: str) -> Value:
        """Draw one."""
        return float(trial.suggest_float(name, self.low, self.high, log=self.log, step=self.step))

    def find(self, value: Value) -> Value:
        """`value` as a float; ValueError when it is no member."""
        if not _is_number(value) or not self.low <= float(value) <= self.high:  # type: ignore[arg-type]
            raise ValueError(str(self))
        member = float(value)  # type: ignore[arg-type]
        if self.step is not None and not on_grid(self.low, member, self.step):
            raise ValueError(str(self))
        return member

    @property
    def probes(self) -> tuple[Value, ...]:
        """Low, middle (geometric on a log scale) and high."""
        middle = math.sqrt(self.low) * math.sqrt(self.high) if self.log else (self.low + self.high) / 2
        if self.step is not None:
            middle = self.low + self.step * math.floor((middle - self.low) / self.step)
        return (self.low, min(max(middle, self.low), self.high), self.high)

    def spelled(self) -> Json:
        """JSON form."""
        return _spelled("float", self.low, self.high, self.log, self.step)

    def __str__(self) -> str:
        return _described("a float", self.low, self.high, self.log, self.step)


@dataclass(frozen=True)
class IntRange:
    """Whole numbers from `low` to `high`, both included, evenly, on a log scale, or in steps."""

    low: int
    high: int
    log: bool = False
    step: int = 1
    searched = True

    def suggest(self, trial: BaseTrial, name: str) -> Value:
        """Draw one."""
        return int(trial.suggest_int(name, self.low, self.high, log=self.log, step=self.step))

    def find(self, value: Value) -> Value:
        """`value`; ValueError when it is no member."""
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not self.low <= value <= self.high or (value - self.low) % self.step:  # type: ignore
            raise ValueError(str(self))
        return value

    @property
    def probes(self) -> tuple[Value, ...]:
        """Low, middle (geometric on a log scale) and high."""
        middle = math.isqrt(self.low * self.high) if self.log else (self.low + self.high) // 2
        return (self.low, middle - (middle - self.low) % self.step, self.high)

    def spelled(self) -> Json:
        """JSON form."""
        return _spelled("int", self.low, self.high, self.log, None if self.step == 1 else self.step)

    def __str__(self) -> str:
        return _described("an int", self.low, self.high, self.log, None if self.step == 1 else self.step)


Domain: TypeAlias = Fixed | Choice | FloatRange | IntRange


def show(value: Value) -> str:
    """A value as a space file spells it.

    >>> show(None), show(True), show("none"), show(1e-05)
    ('null', 'true', 'none', '1e-05')
    """
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def order(value: Value) -> tuple[str, float, str]:
    """Sort key that puts numbers in order and keeps types apart."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return ("number", float(value), "")
    return (type(value).__name__, 0.0, str(value))


def on_grid(low: float, value: float, step: float) -> bool:
    """Whether `value` is `low` plus a whole number of steps, judged on the decimals as they are written.

    >>> on_grid(0.1, 0.7, 0.2), on_grid(0.0, 1.0, 0.3)
    (True, False)
    """
    return (Decimal(str(value)) - Decimal(str(low))) % Decimal(str(step)) == 0


def _equal(a: Value, b: Value) -> bool:
    # True == 1 in Python; in a space file they are not the same.
    return isinstance(a, bool) == isinstance(b, bool) and a == b


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _spelled(kind: str, low: float, high: float, log: bool, step: float | None) -> Json:
    spelled: dict[str, Json] = {kind: [low, high]}
    if log:
        spelled["log"] = True
    if step is not None:
        spelled["step"] = step
    return spelled


def _described(kind: str, low: float, high: float, log: bool, step: float | None) -> str:
    scale = " on a log scale" if log else ""
    steps = f" in steps of {step:g}" if step is not None else ""
    return f"{kind} from {low:g} to {high:g}{scale}{steps}"
