"""What each loss, head, balancing … is worth: its effect on the objective, with everything else averaged out.

>>> from search import component_effects                                  # doctest: +SKIP
>>> for effect in component_effects("isic2017").stages[0].effects:        # doctest: +SKIP
...     print(effect.component, effect.option, effect.effect, effect.verdict)

Two things confound a plain comparison of means. The sampler tries good combinations more often, so an option keeps good
company: all settings are in one additive model (`search.reporting.additive`). The scheduler ends trials at different
epochs: values are compared at one epoch that all trials have reached, and again among those that went further, who
were chosen for doing well. Intervals hold for other trials of this space and for other validation images: the noise
that a bootstrap of the images gives every trial, the same images for all of them, is part of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lesion.registry import Value
from search.reporting.additive import Posterior, posterior
from search.reporting.design import Factor, factors, numbers, taken
from search.reporting.noise import NoiseOf, validation_noise
from search.rows import TrialRow
from search.study import StudyStatus, study_status
from search.workspace import Workspace, existing_workspace

Floats = npt.NDArray[np.float64]

FEWEST = 8
"""Fewer trials than this are not compared: an interval would say more about the model than about them."""
BETTER, WORSE, EQUAL, ABSENT, ALONE = "better", "worse", "not distinguishable", "not tried", "only one tried"


@dataclass(frozen=True)
class Effect:
    """An option against the mean of the component's other options that were tried, in units of the objective.

    `low` and `high` bound the 95 % interval. `best` is the probability of being the component's best option. Without a
    trial, or with nothing to compare with, all four are None.
    """

    component: str
    option: Value
    trials: int
    failed: int
    effect: float | None
    low: float | None
    high: float | None
    best: float | None
    verdict: str


@dataclass(frozen=True)
class Stage:
    """All effects at one point of the trials' lives; `explained` is the share of variance that settings explain.

    `epoch` is None where trials are compared at their end, having completed.
    """

    epoch: int | None
    trials: int
    effects: tuple[Effect, ...]
    explained: float | None

    @property
    def name(self) -> str:
        """In words."""
        return "complete" if self.epoch is None else f"after epoch {self.epoch}"


@dataclass(frozen=True)
class ComponentEffects:
    """What `component_effects` found; the first stage is of all trials. `notes` say what is not as usual."""

    study: str
    objective: str
    direction: str
    stages: tuple[Stage, ...]
    notes: tuple[str, ...]


def component_effects(
    study: str | StudyStatus,
    workspace: Workspace | Path | str | None = None,
    *,
    seed: int = 0,
    progress: Callable[[str], None] = lambda text: None,
) -> ComponentEffects:
    """Effects of a study's components and choices, from the ledger and the trials' validation predictions.

    Raises LedgerError for a study that is not there. Where data or predictions are gone, intervals lack the noise of
    validation, and `notes` say so.
    """
    place = existing_workspace(workspace)
    status = study_status(place, study) if isinstance(study, str) else study
    noise = validation_noise(place, status, seed=seed)
    notes = list(noise.notes)
    stages = []
    for epoch, rows in compared(status.rows):
        progress(f"effects {Stage(epoch, 0, (), None).name}, {len(rows)} trials")
        stages.append(_stage(status, epoch, rows, noise, seed))
        if len(rows) < FEWEST:
            notes.append(f"{stages[-1].name}: {len(rows)} trials are too few to compare options, {FEWEST} are needed")
    if any(row.number in noise.moved and row.epoch != each.epoch for each in stages[:-1] for row in status.rows):
        notes.append(
            "the noise of validation is that of each trial's last epoch, of which predictions are kept, also where "
            "values of an earlier one are compared"
        )
    if frozen := sum(taken(row.settings) != row.settings for row in status.rows):
        notes.append(
            f"{frozen} trials sought neighbours on features: their backbone stayed frozen and nothing was augmented, "
            "which is part of their balancing's effect"
        )
    if not stages:
        notes.append("no trial has reported a value yet")
    return ComponentEffects(
        status.name, status.identity.objective, status.identity.direction, tuple(stages), tuple(notes)
    )


def compared(rows: Sequence[TrialRow]) -> list[tuple[int | None, list[TrialRow]]]:
    """Epochs at which trials are compared and the trials that have a value there: all first, the complete ones last."""
    told = [row for row in rows if row.history and row.state in ("complete", "pruned")]
    if not told:
        return []
    complete = [row for row in told if row.state == "complete"]
    rungs = sorted({row.epoch for row in told if row.state == "pruned"})
    first = min(row.epoch for row in told)
    later = [(epoch, [row for row in told if row.epoch >= epoch]) for epoch in rungs if epoch > first]
    # A rung that few more reached than completed tells the same as the complete ones.
    middle = [(epoch, there) for epoch, there in later if len(there) >= max(FEWEST, 1.2 * len(complete))]
    return [(first, told), *middle, (None, complete)]


def _stage(status: StudyStatus, epoch: int | None, rows: Sequence[TrialRow], noise: NoiseOf, seed: int) -> Stage:
    compared, others = factors(status.identity.semantics), numbers(status.identity.semantics)
    failed = [row.settings for row in status.rows if row.state == "failed"]
    settings = [taken(row.settings) for row in rows]
    if len(rows) < FEWEST:
        untold = [_effect(factor, settings, failed, None, "") for factor in compared]
        return Stage(epoch, len(rows), tuple(effect for each in untold for effect in each), None)
    values = np.array([row.history[row.epoch if epoch is None else epoch] for row in rows])
    batches = [each.columns(settings) for each in compared] + [each.columns(settings) for each in others]
    fitted: Posterior = posterior(values, batches, noise.columns(rows), seed=seed)
    told = zip(compared, fitted.batches, strict=False)
    found = [_effect(factor, settings, failed, drawn, status.identity.direction) for factor, drawn in told]
    return Stage(
        epoch, len(rows), tuple(effect for each in found for effect in each), float(np.median(fitted.explained))
    )


def _effect(
    factor: Factor,
    settings: Sequence[Mapping[str, Value]],
    failed: Sequence[Mapping[str, Value]],
    drawn: Floats | None,
    direction: str,
) -> list[Effect]:
    """The effects of one factor's options; `drawn` (draws, options) are coefficients."""
    counts, failures = factor.count(settings), factor.count(failed)
    tried = [index for index, count in enumerate(counts) if count]
    effects = []
    for index, option in enumerate(factor.options):
        numbers: dict[str, Any] = dict.fromkeys(("effect", "low", "high", "best"))
        # Of options that were tried side by side the trials may yet be too few to compare.
        verdict = ABSENT if not counts[index] else ALONE if len(tried) == 1 else EQUAL
        if drawn is not None and counts[index] and len(tried) > 1:
            numbers, verdict = _contrast(drawn[:, tried], tried.index(index), direction)
        effects.append(Effect(factor.name, option, counts[index], failures[index], **numbers, verdict=verdict))
    return effects


def _contrast(drawn: Floats, index: int, direction: str) -> tuple[dict[str, Any], str]:
    """One option against the mean of the others, from draws of all coefficients of the batch."""
    against = drawn[:, index] - np.delete(drawn, index, axis=1).mean(axis=1)
    low, high = (float(each) for each in np.quantile(against, [0.025, 0.975]))
    sign = 1 if direction == "maximize" else -1
    best = float((np.argmax(sign * drawn, axis=1) == index).mean())
    verdict = EQUAL
    if low > 0 or high < 0:
        verdict = BETTER if sign * low > 0 else WORSE
    return {"effect": float(np.median(against)), "low": low, "high": high, "best": best}, verdict
