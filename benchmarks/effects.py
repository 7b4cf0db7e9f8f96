"""Do the intervals of component effects hold? Searches drawn from known effects, by the real sampler.

    python benchmarks/effects.py --studies 60

Each study has 60 trials over a loss (7 options), a balancing (8), a head (7), an augmentation (4) and two ranges; the
sampler is the ledger's, so that good options are tried more often. Loss and head have effects of 0.010 (standard
deviation), balancing and augmentation none at all; the rest of a value is Student t (4 degrees of freedom) of scale
0.010. With interactions, every pair of loss and balancing adds another 0.005, and an option's effect is its mean over
all of them. `means` compares the mean of an option's trials with the mean of the other options' means, by Welch's
interval, as a reader of a table of trials would.

Recorded on 2026-11-23, 60 studies, 2 cores, Intel Xeon (14 minutes on one of them, beside other work):

truth         by     options  covered  false claims of nothing  effects told  on the wrong side
additive      model     1560    0.954                    0.003         0.165              0.002
additive      means     1560    0.851                    0.163         0.305              0.025
interactions  model     1560    0.944                        –         0.099              0.001
interactions  means     1560    0.836                        –         0.194              0.055
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from math import sqrt
from typing import Any

import numpy as np
import optuna

from search.ledger import derived_seed
from search.proposals import History, Proposal
from search.reporting.additive import posterior
from search.reporting.design import Factor, Number

FACTORS = {"loss": 7, "balancing": 8, "head": 7, "augmentation": 4}
NULL = ("balancing", "augmentation")
EFFECT, PAIR, REST = 0.010, 0.005, 0.010


def truth(rng: np.random.Generator, interact: bool) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Effects of every option, and of every pair of loss and balancing."""
    effects = {
        name: np.zeros(count) if name in NULL else rng.normal(scale=EFFECT, size=count)
        for name, count in FACTORS.items()
    }
    return effects, rng.normal(scale=PAIR if interact else 0.0, size=(FACTORS["loss"], FACTORS["balancing"]))


def searched(
    effects: Mapping[str, np.ndarray], pairs: np.ndarray, trials: int, rng: np.random.Generator, seed: int
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Settings and values of one study."""
    study, history = optuna.create_study(direction="maximize"), History("maximize")
    settings, values = [], []
    for number in range(trials):
        study.sampler = Proposal(derived_seed(seed, "sampler", number), history)
        trial = study.ask()
        chosen: dict[str, Any] = {
            name: trial.suggest_categorical(name, list(range(count))) for name, count in FACTORS.items()
        }
        chosen["lr"] = trial.suggest_float("lr", 1e-4, 3e-3, log=True)
        chosen["decay"] = trial.suggest_float("decay", 1e-3, 1e-1, log=True)
        value = 0.9 + sum(each[chosen[name]] for name, each in effects.items())
        value += pairs[chosen["loss"], chosen["balancing"]] - 0.02 * np.log10(chosen["lr"] / 1e-3) ** 2
        value += REST * rng.standard_t(4)
        study.tell(trial, value)
        settings.append(chosen)
        values.append(value)
    return settings, np.array(values)


def welch(values: np.ndarray, columns: np.ndarray, index: int) -> tuple[float, float]:
    """Interval of the plain comparison; infinite where an option has a single trial."""
    groups = [values[columns[:, option] > 0] for option in range(columns.shape[1]) if columns[:, option].any()]
    own = values[columns[:, index] > 0]
    others = [group for group in groups if group is not own and not np.array_equal(group, own)]
    if len(own) < 2 or not others:
        return -np.inf, np.inf
    difference = own.mean() - np.mean([group.mean() for group in others])
    spread = values.std(ddof=1)
    errors = [group.std(ddof=1) / sqrt(len(group)) if len(group) > 1 else spread for group in others]
    error = sqrt(own.var(ddof=1) / len(own) + np.sum(np.square(errors)) / len(others) ** 2)
    return difference - 1.96 * error, difference + 1.96 * error


def count(studies: int, trials: int, interact: bool) -> dict[str, Counter[str]]:
    """How often each way is right."""
    found: dict[str, Counter[str]] = {"model": Counter(), "means": Counter()}
    for seed in range(studies):
        rng = np.random.default_rng(seed)
        effects, pairs = truth(rng, interact)
        settings, values = searched(effects, pairs, trials, rng, seed)
        factors = [Factor(name, tuple(range(size))) for name, size in FACTORS.items()]
        numbers = [Number("lr", 1e-4, 3e-3, True), Number("decay", 1e-3, 1e-1, True)]
        fit = posterior(values, [each.columns(settings) for each in (*factors, *numbers)], seed=seed)
        averaged = {
            **effects,
            "loss": effects["loss"] + pairs.mean(axis=1),
            "balancing": effects["balancing"] + pairs.mean(axis=0),
        }
        for factor, drawn in zip(factors, fit.batches, strict=False):
            columns = factor.columns(settings)
            tried = np.flatnonzero(columns.any(axis=0))
            for index in tried:
                others = tried[tried != index]
                true = averaged[factor.name][index] - averaged[factor.name][others].mean()
                against = drawn[:, index] - drawn[:, others].mean(axis=1)
                low, high = np.quantile(against, [0.025, 0.975])
                _note(found["model"], low, high, true, factor.name in NULL and not interact)
                _note(found["means"], *welch(values, columns, index), true, factor.name in NULL and not interact)
    return found


def _note(counter: Counter[str], low: float, high: float, true: float, null: bool) -> None:
    told = low > 0 or high < 0
    counter["all"] += 1
    counter["covered"] += low <= true <= high
    counter["null"] += null
    counter["false"] += null and told
    counter["real"] += not null
    counter["told"] += told and not null and (low > 0) == (true > 0)
    counter["wrong side"] += told and not null and (low > 0) != (true > 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=60)
    parser.add_argument("--trials", type=int, default=60)
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print("truth         by     options  covered  false claims of nothing  effects told  on the wrong side")
    for interact in (False, True):
        for way, each in count(args.studies, args.trials, interact).items():
            false = f"{each['false'] / each['null']:.3f}" if each["null"] else "–"
            world = "interactions" if interact else "additive"
            print(
                f"{world:13} {way:6} {each['all']:7} {each['covered'] / each['all']:8.3f}"
                f" {false:>24} {each['told'] / each['real']:13.3f} {each['wrong side'] / each['real']:18.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
