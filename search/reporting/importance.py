"""Which settings mattered: how much of the objective's variation each searched setting accounts for.

Two answers of Optuna, both on the values at the first epoch that all trials reached. PED-ANOVA asks what sets the best
tenth apart from the rest (Watanabe et al. 2023). fANOVA splits the variance of a random forest (Hutter, Hoos &
Leyton-Brown 2014). Both are asked of all trials and again inside each branch: PED-ANOVA over the whole conditional
space, fANOVA, which needs settings that all its trials have, over what is common to them. Unlike effects they have no
intervals: read them as hints.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState, create_trial

from lesion.registry import Value
from search.reporting.design import Factor, Number, factors, numbers
from search.rows import TrialRow
from search.study import StudyStatus

FEWEST = 10
"""Fewer trials than this in a branch, and its importances are not computed."""
BEST, LEAST = 0.1, 5
"""The share of trials that PED-ANOVA calls best, and how many at least: fewer say little (Optuna's advice)."""
PED_ANOVA, FANOVA = METHODS = ("PED-ANOVA", "fANOVA")


@dataclass(frozen=True)
class Importance:
    """Shares by setting, largest first, each from 0 to 1 and together 1.

    `branch` says which trials: "" for all of them, else such as "loss is focal".
    """

    branch: str
    method: str
    trials: int
    shares: Mapping[str, float]


def importances(status: StudyStatus, *, seed: int = 0) -> list[Importance]:
    """Both methods over all trials, then over each branch: the trials that chose one option of a component."""
    rows = [row for row in status.rows if row.history and row.state in ("complete", "pruned")]
    if len(rows) < FEWEST:
        return []
    epoch = min(row.epoch for row in rows)
    found, ranges = factors(status.identity.semantics), numbers(status.identity.semantics)
    direction = status.identity.direction
    everything: list[Factor | Number] = [*found, *ranges]
    shared = [each for each in everything if all(each.name in row.settings for row in rows)]
    told = [
        _told("", PED_ANOVA, rows, everything, epoch, direction, seed),
        _told("", FANOVA, rows, shared, epoch, direction, seed),
    ]
    for kind in (each for each in found if "." not in each.name):
        for option in kind.options:
            inside = [row for row in rows if row.settings.get(kind.name) == option]
            own = [each for each in everything if each.name.startswith(f"{kind.name}.{option}.")]
            if own and len(inside) >= FEWEST:
                branch = f"{kind.name} is {option}"
                told += [
                    _told(branch, PED_ANOVA, inside, everything, epoch, direction, seed),
                    _told(branch, FANOVA, inside, [*shared, *own], epoch, direction, seed),
                ]
    return [each for each in told if each.shares]


def _told(
    branch: str,
    method: str,
    rows: Sequence[TrialRow],
    settings: Sequence[Factor | Number],
    epoch: int,
    direction: str,
    seed: int,
) -> Importance:
    varied = [each for each in settings if len({row.settings.get(each.name) for row in rows} - {None}) > 1]
    if len({row.history[epoch] for row in rows}) < 2 or not varied:
        return Importance(branch, method, len(rows), {})
    study = optuna.create_study(direction=optuna.study.StudyDirection[direction.upper()])
    study.add_trials([_trial(row, varied, epoch) for row in rows])
    evaluator: PedAnovaImportanceEvaluator | FanovaImportanceEvaluator = FanovaImportanceEvaluator(seed=seed)
    if method == PED_ANOVA:
        evaluator = PedAnovaImportanceEvaluator(target_quantile=max(BEST, LEAST / len(rows)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a setting that never varies among the best counts as unimportant, rightly
        shares = get_param_importances(study, evaluator=evaluator, params=[each.name for each in varied])
    return Importance(branch, method, len(rows), dict(sorted(shares.items(), key=lambda item: -item[1])))


def _trial(row: TrialRow, settings: Sequence[Factor | Number], epoch: int) -> optuna.trial.FrozenTrial:
    params: dict[str, Value] = {}
    distributions: dict[str, BaseDistribution] = {}
    for each in settings:
        if each.name not in row.settings:
            continue
        value: Any = row.settings[each.name]
        if isinstance(each, Factor):
            distributions[each.name] = CategoricalDistribution(each.options)
        else:
            value = float(value)
            distributions[each.name] = FloatDistribution(min(each.low, value), max(each.high, value), log=each.log)
        params[each.name] = value
    return create_trial(state=TrialState.COMPLETE, value=row.history[epoch], params=params, distributions=distributions)
