"""Processor time of one proposal in studies of growing length: Optuna's TPE over all rows, against the rows we keep.

    OMP_NUM_THREADS=1 python benchmarks/proposals.py

The rows are drawn from `spaces/isic2017.yaml` and held in memory, so that the database takes no part. Medians of
`--repeats` proposals by each, in turns. Recorded on two cores of a Xeon, 2026-11-24:

| rows | Optuna's TPE, ms | ours, ms | times faster |
|---|---|---|---|
| 500 | 23 | 15 | 1.5 |
| 1000 | 38 | 16 | 2.3 |
| 2000 | 76 | 17 | 4.4 |
| 5000 | 205 | 22 | 9.2 |
| 10000 | 444 | 30 | 14.6 |
"""

from __future__ import annotations

import argparse
import random
import time
import warnings
from pathlib import Path

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.proposals import History, Proposal
from search.space import Space, load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", type=Path, default=Path("spaces/isic2017.yaml"))
    parser.add_argument("--lengths", type=int, nargs="+", default=[500, 1000, 2000, 5000, 10000])
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    space = load(arguments.space)
    drawn = _drawn(space, max(arguments.lengths))
    print("| rows | Optuna's TPE, ms | ours, ms | times faster |\n|---|---|---|---|")
    for length in arguments.lengths:
        study = optuna.create_study(direction=space.direction)
        study.add_trials(drawn[:length])
        history = History(space.direction)
        whole, kept = [], []
        for repeat in range(arguments.repeats):
            plain = optuna.samplers.TPESampler(multivariate=True, group=True, constant_liar=True, seed=repeat)
            whole.append(_milliseconds(study, space, plain))
            kept.append(_milliseconds(study, space, Proposal(repeat, history)))
        slow, fast = float(np.median(whole)), float(np.median(kept))
        print(f"| {length} | {slow:.0f} | {fast:.0f} | {slow / fast:.1f} |", flush=True)


def _milliseconds(study: optuna.Study, space: Space, sampler: optuna.samplers.BaseSampler) -> float:
    study.sampler = sampler
    start = time.process_time()
    trial = study.ask()
    space.sample(trial)
    spent = time.process_time() - start
    study.tell(trial, state=TrialState.FAIL)
    return 1000 * spent


def _drawn(space: Space, count: int) -> list[FrozenTrial]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    rng = random.Random(0)
    trials = []
    for number in range(count):
        trial = study.ask()
        space.sample(trial)
        epochs = 1 if number % 3 else space.budget.epochs
        history = {epoch: 0.5 + 0.3 * rng.random() for epoch in range(1, epochs + 1)}
        state = TrialState.PRUNED if number % 3 else TrialState.COMPLETE
        trials.append(
            create_trial(
                state=state, value=history[epochs], params=trial.params, distributions=trial.distributions,
                intermediate_values=history,
            )
        )  # fmt: skip
    return trials


if __name__ == "__main__":
    main()
