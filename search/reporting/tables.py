"""What a report tells, as tables: Markdown for pages that people write, rows for CSV files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from search.reporting.effects import ComponentEffects, Effect, Stage
from search.space.domains import show

EFFECT_COLUMNS = ("component", "option", "trials", "failed", "effect", "95 % interval", "best", "verdict")

PER_CLASS = ("auc", "ap", "sensitivity", "specificity")
"""Scores of a class that a report tells."""


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as Markdown spells it.

    >>> print(markdown(("loss", "effect"), [("focal", "+0.01")]))
    | loss | effect |
    |---|---|
    | focal | +0.01 |
    """
    lines = [f"| {' | '.join(row)} |" for row in (columns, *rows)]
    return "\n".join([lines[0], f"|{'---|' * len(columns)}", *lines[1:]])


def effects_markdown(found: ComponentEffects) -> str:
    """A heading and a table for each stage that was compared, then the notes."""
    parts = [
        f"Effects on {found.objective} ({found.direction}): an option against the mean of the component's others, all "
        "else averaged out."
    ]
    for stage in found.stages:
        if stage.explained is not None:
            parts.append(
                f"**{found.study}, {stage.name}: {stage.trials} trials, settings explain {stage.explained:.0%} of the "
                "variance**"
            )
            parts.append(markdown(EFFECT_COLUMNS, map(effect_cells, ordered(stage, found.direction))))
    return "\n\n".join([*parts, *(f"Note: {note}." for note in found.notes)])


def per_class(
    scores: Mapping[str, Sequence[float | None]], classes: Sequence[str]
) -> list[tuple[str, list[Sequence[float | None]]]]:
    """AUC, average precision, sensitivity and specificity of each class, as [value, low, high]."""
    undefined: Sequence[float | None] = (None, None, None)
    return [(name, [scores.get(f"{column}_{name}", undefined) for column in PER_CLASS]) for name in classes]


def ordered(stage: Stage, direction: str) -> list[Effect]:
    """Effects by component, in the order of the space, each from best to worst."""
    sign = 1 if direction == "maximize" else -1
    components = list(dict.fromkeys(effect.component for effect in stage.effects))

    def key(effect: Effect) -> tuple[int, bool, float]:
        return components.index(effect.component), effect.effect is None, -sign * (effect.effect or 0.0)

    return sorted(stage.effects, key=key)


def effect_cells(effect: Effect) -> tuple[str, ...]:
    """One row of `EFFECT_COLUMNS`."""
    told, interval, best = "–", "–", "–"
    if effect.effect is not None and effect.low is not None and effect.high is not None:
        told, interval = f"{effect.effect:+z.4f}", f"{effect.low:+z.4f} to {effect.high:+z.4f}"
        best = f"{effect.best:.0%}"
    counts = (str(effect.trials), str(effect.failed) if effect.failed else "")
    return effect.component, show(effect.option), *counts, told, interval, best, effect.verdict
