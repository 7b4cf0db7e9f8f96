"""What a gate says of one number, and what several say together, in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lesion.metrics import Interval
from search.gates.reading import By

Outcome = Literal["passed", "failed", "not judged"]
ENDS: Mapping[By, str] = {"value": "", "low": " at the low end", "high": " at the high end"}
"""What is judged of an interval, in words."""


@dataclass(frozen=True)
class Verdict:
    """What one gate says: `interval` is of the number it judges, `rule` what it must be, `why` it is not passed."""

    gate: str
    outcome: Outcome
    interval: Interval | None
    rule: str
    why: str = ""

    @property
    def in_words(self) -> str:
        """The verdict in one line."""
        found = "" if self.interval is None or math.isnan(self.interval.value) else f" {self.interval}"
        return f"{self.outcome}:{found} must be {self.rule}{'; ' + self.why if self.why else ''}"

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON and for tags."""
        score = None if self.interval is None else [self.interval.value, self.interval.low, self.interval.high]
        return {"gate": self.gate, "outcome": self.outcome, "score": score, "rule": self.rule, "why": self.why}


def passed(verdicts: Iterable[Verdict]) -> bool:
    """Whether nothing failed."""
    return not gates_of(verdicts, "failed")


def gates_of(verdicts: Iterable[Verdict], outcome: Outcome) -> list[str]:
    """The gates with this outcome."""
    return [verdict.gate for verdict in verdicts if verdict.outcome == outcome]


def named(names: Sequence[str], most: int | None = None) -> str:
    """The names, or the first `most` of them and how many others there are.

    >>> named(["a", "b", "c", "d"], 2)
    'a, b and 2 others'
    """
    others = 0 if most is None else len(names) - most
    if others <= 0:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {others} other{'' if others == 1 else 's'}"


def summed_up(verdicts: Sequence[Verdict], most: int | None = None) -> str:
    """What the gates say together, and which of them said nothing; at most `most` are named of each kind.

    >>> found = [Verdict("ece", "passed", None, ""), Verdict("champion", "not judged", None, "")]
    >>> summed_up(found)
    'passed, 1 not judged: champion'
    >>> summed_up([Verdict("sex female", "failed", None, ""), *found])
    'stopped by sex female, 1 not judged: champion'
    """
    if not verdicts:
        return "none asked"
    stopped, silent = gates_of(verdicts, "failed"), gates_of(verdicts, "not judged")
    told = f"stopped by {named(stopped, most)}" if stopped else "passed"
    return told + (f", {len(silent)} not judged: {named(silent, most)}" if silent else "")


def bounded(name: str, score: Interval, bound: float, by: By, *, least: bool = True) -> Verdict:
    """A score against a bound, the least that it must be or the most; an end of the interval where the gate says so."""
    number = {"value": score.value, "low": score.low, "high": score.high}[by]
    rule = f"{'≥' if least else '≤'} {bound:z.3f}{ENDS[by]}"
    if math.isnan(number):
        return Verdict(name, "failed", score, rule, "it is not defined on these images, so it cannot be shown")
    good = number >= bound if least else number <= bound
    if good:
        return Verdict(name, "passed", score, rule)
    which = "" if by == "value" else f", the {by} end of its interval,"
    return Verdict(name, "failed", score, rule, f"{number:z.3f}{which} is {'below' if least else 'above'} {bound:z.3f}")
