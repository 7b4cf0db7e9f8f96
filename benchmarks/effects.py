"""Do the intervals of component effects hold? Searches drawn from known effects, by the real sampler.

    python benchmarks/effects.py --studies 60
    python benchmarks/effects.py --studies 200 --stop

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
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from math import exp, sqrt
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
from optuna.trial import Trial, TrialState

from search.ledger import derived_seed
from search.proposals import History, Proposal
from search.reporting.additive import Posterior, posterior
from search.reporting.design import Factor, Number
from search.reporting.effects import FEWEST, compared
from search.rows import TrialRow
from search.searcher import ReplayedAsha
from search.space.space import Asha
from search.trial import Order

FACTORS = {"loss": 7, "balancing": 8, "head": 7, "augmentation": 4}
NULL = ("balancing", "augmentation")
EFFECT, PAIR, REST = 0.010, 0.005, 0.010
EPOCHS, QUICK, FADING = 9, 0.005, 3.0
"""With --stop: epochs of a trial, deviation of what an option is worth besides at first, epochs in which that fades."""
LASTING = 0.8
"""Share of a trial's luck, as a deviation, that it keeps from epoch to epoch; the rest is drawn at each."""
COMPARED = [Factor(name, tuple(range(size))) for name, size in FACTORS.items()]
NUMBERS = [Number("lr", 1e-4, 3e-3, True), Number("decay", 1e-3, 1e-1, True)]


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
        chosen = proposed(trial)
        value = level(chosen, effects) + pairs[chosen["loss"], chosen["balancing"]] + REST * rng.standard_t(4)
        study.tell(trial, value)
        settings.append(chosen)
        values.append(value)
    return settings, np.array(values)


def proposed(trial: Trial) -> dict[str, Any]:
    """The settings of one trial."""
    chosen: dict[str, Any] = {
        name: trial.suggest_categorical(name, list(range(count))) for name, count in FACTORS.items()
    }
    chosen["lr"] = trial.suggest_float("lr", 1e-4, 3e-3, log=True)
    chosen["decay"] = trial.suggest_float("decay", 1e-3, 1e-1, log=True)
    return chosen


def level(chosen: Mapping[str, Any], effects: Mapping[str, np.ndarray]) -> float:
    """What settings are worth without pairs and luck."""
    worth = sum(float(each[chosen[name]]) for name, each in effects.items())
    return 0.9 + worth - 0.02 * float(np.log10(chosen["lr"] / 1e-3)) ** 2


def at_epoch(effects: Mapping[str, np.ndarray], quick: Mapping[str, np.ndarray], epoch: int) -> dict[str, np.ndarray]:
    """Effects after an epoch: what an option is worth at first fades."""
    return {name: effects[name] + exp(-(epoch - 1) / FADING) * quick[name] for name in effects}


def stopped(
    effects: Mapping[str, np.ndarray], quick: Mapping[str, np.ndarray], trials: int, rng: np.random.Generator, seed: int
) -> list[TrialRow]:
    """One study whose trials the scheduler of a search stops; rows as the ledger has them."""
    study, history = optuna.create_study(direction="maximize"), History("maximize")
    asha, rows, nobody = ReplayedAsha(Asha(), EPOCHS, "maximize", []), [], None
    for number in range(trials):
        study.sampler = Proposal(derived_seed(seed, "sampler", number), history)
        trial = study.ask()
        chosen, luck, values = proposed(trial), rng.standard_t(4), {}
        run: Any = SimpleNamespace(trial_id=str(number), config={"order": Order(number, 0)})
        asha.on_trial_add(nobody, run)
        for epoch in range(1, EPOCHS + 1):
            fresh = sqrt(1 - LASTING**2) * rng.standard_t(4)
            values[epoch] = level(chosen, at_epoch(effects, quick, epoch)) + REST * (LASTING * luck + fresh)
            trial.report(values[epoch], epoch)
            if asha.on_trial_result(nobody, run, {"epoch": epoch, "value": values[epoch]}) == asha.STOP:
                break
        if epoch == EPOCHS:
            study.tell(trial, values[epoch])
        else:
            study.tell(trial, state=TrialState.PRUNED)  # of the value that was reported last
        state = "complete" if epoch == EPOCHS else "pruned"
        rows.append(TrialRow(number, state, values[epoch], epoch, chosen, values, {}))
    return rows


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


def fitted(values: np.ndarray, settings: Sequence[Mapping[str, Any]], seed: int) -> Posterior:
    """What the report fits."""
    return posterior(values, [each.columns(settings) for each in (*COMPARED, *NUMBERS)], seed=seed)


def count(studies: int, trials: int, interact: bool) -> dict[str, Counter[str]]:
    """How often each way is right."""
    found: dict[str, Counter[str]] = {"model": Counter(), "means": Counter()}
    for seed in range(studies):
        rng = np.random.default_rng(seed)
        effects, pairs = truth(rng, interact)
        settings, values = searched(effects, pairs, trials, rng, seed)
        averaged = {
            **effects,
            "loss": effects["loss"] + pairs.mean(axis=1),
            "balancing": effects["balancing"] + pairs.mean(axis=0),
        }
        _judge(found, values, settings, averaged, seed, nothing=() if interact else NULL)
    return found


def count_stopped(studies: int, trials: int) -> dict[str, dict[str, Counter[str]]]:
    """The same by stage of a report, for searches whose trials are stopped; a stage of too few trials is left out."""
    stages: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: {"model": Counter(), "means": Counter()})
    for seed in range(studies):
        rng = np.random.default_rng(seed)
        effects, _ = truth(rng, interact=False)
        quick = {
            name: np.zeros(size) if name in NULL else rng.normal(scale=QUICK, size=size)
            for name, size in FACTORS.items()
        }
        for epoch, rows in compared(stopped(effects, quick, trials, rng, seed)):
            if len(rows) < FEWEST:
                continue
            at = EPOCHS if epoch is None else epoch
            stage = stages["complete" if epoch is None else f"epoch {epoch}"]
            stage["model"]["trials"] += len(rows)
            values = np.array([row.history[at] for row in rows])
            settings = [row.settings for row in rows]
            _judge(stage, values, settings, at_epoch(effects, quick, at), seed, nothing=NULL)
    return stages


def _judge(
    found: Mapping[str, Counter[str]],
    values: np.ndarray,
    settings: Sequence[Mapping[str, Any]],
    effects: Mapping[str, np.ndarray],
    seed: int,
    nothing: Sequence[str],
) -> None:
    """Note for each option that was tried whether the intervals hold what it is worth against the others."""
    found["model"]["stages"] += 1
    for factor, drawn in zip(COMPARED, fitted(values, settings, seed).batches, strict=False):
        columns = factor.columns(settings)
        tried = np.flatnonzero(columns.any(axis=0))
        for index in tried if len(tried) > 1 else ():
            others = tried[tried != index]
            true = effects[factor.name][index] - effects[factor.name][others].mean()
            against = drawn[:, index] - drawn[:, others].mean(axis=1)
            low, high = np.quantile(against, [0.025, 0.975])
            _note(found["model"], low, high, true, factor.name in nothing)
            _note(found["means"], *welch(values, columns, index), true, factor.name in nothing)


def _note(counter: Counter[str], low: float, high: float, true: float, null: bool) -> None:
    told = low > 0 or high < 0
    counter["all"] += 1
    counter["covered"] += low <= true <= high
    counter["null"] += null
    counter["false"] += null and told
    counter["real"] += not null
    counter["told"] += told and not null and (low > 0) == (true > 0)
    counter["wrong side"] += told and not null and (low > 0) != (true > 0)


def lines(world: str, found: Mapping[str, Counter[str]]) -> Iterator[str]:
    """A line of the table for each way."""
    for way, each in found.items():
        false = f"{each['false'] / each['null']:.3f}" if each["null"] else "–"
        yield (
            f"{world:13} {way:6} {each['all']:7} {each['covered'] / each['all']:8.3f}"
            f" {false:>24} {each['told'] / each['real']:13.3f} {each['wrong side'] / each['real']:18.3f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=60)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--stop", action="store_true", help="stop trials as a search does, and judge each stage")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    first = "after" if args.stop else "truth"
    print(f"{first:13} by     options  covered  false claims of nothing  effects told  on the wrong side", flush=True)
    if args.stop:
        for stage, found in count_stopped(args.studies, args.trials).items():
            print(*lines(stage, found), sep="\n")
            told = found["model"]
            print(
                f"  {told['stages']} of {args.studies} studies, {told['trials'] / told['stages']:.0f} trials on average"
            )
        return
    for interact in (False, True):
        world = "interactions" if interact else "additive"
        print(*lines(world, count(args.studies, args.trials, interact)), sep="\n", flush=True)


if __name__ == "__main__":
    main()
