"""Which settings mattered, as far as methods without intervals can say.

Two answers of Optuna, both on the values at the first epoch that all trials reached. PED-ANOVA asks by how much the
best tenth was drawn otherwise than all (Watanabe et al. 2023). fANOVA splits the variance of a random forest (Hutter,
Hoos & Leyton-Brown 2014). Both are asked of all trials and again inside each branch: PED-ANOVA over the whole
conditional space, fANOVA, which needs settings that all its trials have, over what is common to them.

PED-ANOVA finds a difference in noise, too, the larger the fewer of the best have a setting: of forty real trials whose
values were shuffled, settings of three trials came first in 32 of 60 draws, and without those, settings of ten in 51.
So a setting that only some trials have is left out where fewer than `LEAST` of the best are to be expected among them;
its own branch tells it.

`chance` says what shuffled values reach: the share that a setting would have if it differed by as much as in 95 % of
draws, and the others by what they do. A share lies above it exactly where the setting differs by more, so of settings
that do nothing one in twenty does: of 200 drawn studies of 40 trials and eight settings (four of five trials had the
two conditional ones) 4.2 % did, any in 29 % of studies, and the one that came first in 22.5 %. To divide each draw by
its own sum instead would ask for a share of a whole that one strong setting makes small for all others: of nothing
5.5 % came through (first ones in 33 %), and beside a learning rate that decides the image size was told in none of 60
studies of 120 trials, not in 65 %.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
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
SHUFFLES, FEWEST_SHUFFLES, SHUFFLED, QUANTILE = 100, 40, 20_000, 0.95
"""Draws of shuffled values, and the quantile of what they give a setting that is told as `chance`.

A draw of a thousand trials takes twentieths of a second, for each branch: beyond `SHUFFLED` shuffled trials in all
there are fewer draws, and never fewer than `FEWEST_SHUFFLES`, of which the quantile is still the third largest.
"""
BEST, LEAST = 0.1, 5
"""The share of trials that PED-ANOVA calls best, and how many at least: fewer say little (Optuna's advice)."""
HELD = round(LEAST / BEST)
"""A setting that fewer trials have is left out, unless all have it."""
PED_ANOVA, FANOVA = METHODS = ("PED-ANOVA", "fANOVA")


@dataclass(frozen=True)
class Importance:
    """Shares by setting, largest first, each from 0 to 1 and together 1.

    `branch` says which trials: "" for all of them, else such as "loss is focal". `chance` has, by setting, from 0 to 1,
    the share that it would have with what 95 % of draws stay below when values are shuffled among the trials, the other
    settings as they are; empty for fANOVA.
    """

    branch: str
    method: str
    trials: int
    shares: Mapping[str, float]
    chance: Mapping[str, float] = field(default_factory=dict)


def importances(
    status: StudyStatus, *, seed: int = 0, say: Callable[[str], None] = lambda text: None
) -> list[Importance]:
    """Both methods over all trials, then over each branch: the trials that chose one option of a component."""
    rows = [row for row in status.rows if row.history and row.state in ("complete", "pruned")]
    if len(rows) < FEWEST:
        return []
    epoch = min(row.epoch for row in rows)
    found, ranges = factors(status.identity.semantics), numbers(status.identity.semantics)
    direction = status.identity.direction
    everything: list[Factor | Number] = [*found, *ranges]
    shared = [each for each in everything if all(each.name in row.settings for row in rows)]
    say(f"importances, {len(rows)} trials")
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
                say(f"importances where {branch}, {len(inside)} trials")
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
    varied = [each for each in settings if _tells(each.name, rows)]
    values = np.array([row.history[epoch] for row in rows])
    if len(set(values.tolist())) < 2 or not varied:
        return Importance(branch, method, len(rows), {})
    study = optuna.create_study(direction=optuna.study.StudyDirection[direction.upper()])
    study.add_trials([_trial(row, varied, epoch) for row in rows])
    names = [each.name for each in varied]
    if method == FANOVA:
        found = _asked(study, FanovaImportanceEvaluator(seed=seed), names)
        return Importance(branch, method, len(rows), _of(sum(found.values()), found))
    evaluator = PedAnovaImportanceEvaluator(target_quantile=max(BEST, LEAST / len(rows)))
    found = _asked(study, evaluator, names)
    rng, costs = np.random.default_rng(seed), values if direction == "minimize" else -values
    drawn = [_asked(study, evaluator, names, rng.permutation(costs)) for _ in range(shuffles(len(rows)))]
    reached = {name: float(np.quantile([each[name] for each in drawn], QUANTILE)) for name in found}
    return Importance(branch, method, len(rows), _of(sum(found.values()), found), _beside(found, reached))


def shuffles(trials: int) -> int:
    """Draws of shuffled values of so many trials.

    >>> shuffles(40), shuffles(300), shuffles(5000)
    (100, 66, 40)
    """
    return max(FEWEST_SHUFFLES, min(SHUFFLES, SHUFFLED // trials))


def _tells(name: str, rows: Sequence[TrialRow]) -> bool:
    """Whether enough trials have a setting, and not all the same."""
    found = [row.settings[name] for row in rows if name in row.settings]
    return len(found) >= min(HELD, len(rows)) and len(set(found)) > 1


def _asked(
    study: optuna.Study,
    evaluator: PedAnovaImportanceEvaluator | FanovaImportanceEvaluator,
    names: list[str],
    costs: npt.NDArray[np.float64] | None = None,
) -> dict[str, float]:
    """What a method gives `names`; `costs` (trials,), of which less is better, stand for the trials' values."""
    told = None if costs is None else lambda trial: float(costs[trial.number])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a setting that never varies among the best counts as unimportant, rightly
        return get_param_importances(study, evaluator=evaluator, params=names, target=told, normalize=False)


def _of(whole: float, found: Mapping[str, float]) -> dict[str, float]:
    """Parts of the whole, largest first; none where there is nothing to share."""
    shares = {name: float(value) / whole for name, value in found.items()} if whole > 0 else {}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _beside(found: Mapping[str, float], reached: Mapping[str, float]) -> dict[str, float]:
    """The share of each setting if it alone had what shuffled values have `reached`, largest first.

    >>> _beside({"lr": 3.0, "dropout": 1.0}, {"lr": 1.0, "dropout": 9.0})
    {'dropout': 0.75, 'lr': 0.5}
    """
    chance = {}
    for name, value in reached.items():
        whole = value + sum(other for each, other in found.items() if each != name)
        chance[name] = value / whole if whole > 0 else 0.0
    return dict(sorted(chance.items(), key=lambda item: -item[1]))


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
