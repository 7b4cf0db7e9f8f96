"""Which bounds a gate may have: those that some model misses and some model reaches.

>>> why_not("ece", "at_most", 15.0)
'at_most is 15, must be a number from 0 to 1, where ece lies'
>>> why_not("log_loss", "at_least", 0.1)
'log_loss is better the smaller it is, and at_least asks for a large one: say at_most'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from lesion.metrics.catalogue import METRICS, PER_CLASS, Metric, split_name

Kind = Literal["at_least", "at_most", "above_chance"]
_BETTER: Mapping[str, tuple[str, Kind, str]] = {
    "maximize": ("larger", "at_least", "small"),
    "minimize": ("smaller", "at_most", "large"),
}
_GUESSED = ("balanced_accuracy", "accuracy")
"""What guessing each class alike often gets right one time in so many as there are classes."""


def why_not(name: str, kind: Kind, bound: float) -> str:
    """Why `bound` is none for the metric `name`, and what to say instead; "" where it is one.

    How many classes there are is not known here: `search.gates.naming` refuses more above chance than they leave.
    """
    metric = METRICS[name] if name in METRICS else PER_CLASS[split_name(name)[0]]
    if kind == "above_chance":
        return _above_chance(name, metric, bound)
    better, wanted, other = _BETTER[metric.direction]
    if kind != wanted:
        return f"{name} is better the {better} it is, and {kind} asks for a {other} one: say {wanted}"
    return _outside(kind, bound, metric.low, metric.high, f"where {name} lies")


def chance(name: str, classes: Sequence[str]) -> float:
    """What guessing reaches in a metric that may be bounded `above_chance`: one half of an AUC, of any classes."""
    return 1 / len(classes) if name in _GUESSED else 0.5


def _above_chance(name: str, metric: Metric, bound: float) -> str:
    if name in _GUESSED:
        return _outside("above_chance", bound, 0.0, 1.0, f"how far {name} may lie above guessing")
    if name.endswith("_auc") or name.startswith("auc_"):
        return _outside("above_chance", bound, 0.0, 0.5, f"how far {name} may lie above guessing, which reaches 0.5")
    return (
        f"above_chance is for {', '.join(_GUESSED)} and AUCs, what guessing reaches in {name} depends on how: "
        f"say {_BETTER[metric.direction][1]}"
    )


def _outside(kind: str, bound: float, low: float, high: float, why: str) -> str:
    if low <= bound <= high:
        return ""
    return f"{kind} is {bound:g}, must be a number from {low:g} to {high:g}, {why}"
