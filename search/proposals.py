"""The sampler of one proposal: Optuna's TPE over what of a study still says something.

TPE weighs the rows of a study again for every proposal, so that its cost grows with them: half a second at 5000 rows.
It looks at the best few against all others, and of the others at old ones the less the older they are (Bergstra et al.
2011; weights as in Optuna). `History` leaves out what counts least: it keeps the `NEWEST` rows that have ended, the
best among all, those that settings made impossible, and everything that runs. A study of fewer rows is seen whole.

TPE's first proposals are drawn at random. Ten of them would miss a given option of seven in one study of five, and what
TPE has never seen it rarely asks for; so each of these takes an option that the fewest rows before it have.

A search that asks what its components are worth, rather than for a model, wants that of all its proposals: TPE soon
stays with what is good, and leaves too few trials of everything else to compare (``sampler: random``).
"""

from __future__ import annotations

import heapq
import math
import sys
import warnings
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers._tpe.sampler import _split_trials, default_gamma
from optuna.trial import FrozenTrial, TrialState

from search.space.space import Sampler

FIRST = 10
"""Rows that TPE wants to have ended before it models them, as in Optuna."""
NEWEST = 400
BEST = 50
"""Rows kept of the best complete ones, and of the pruned ones that went furthest; TPE takes 25 for the good ones."""

_WEIGHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)

Rank = tuple[float, float]


class History:
    """The rows that a proposal is made from; remembers how good those that have ended were, which does not change."""

    def __init__(self, direction: str) -> None:
        self._sign = -1.0 if direction == "maximize" else 1.0
        self._complete: dict[int, Rank] = {}
        self._pruned: dict[int, Rank] = {}
        self._impossible: list[int] = []
        self._seen: set[int] = set()

    def of(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Those of `trials`, all of a study by number, that say most; in order."""
        ended = [trial for trial in trials if trial.state.is_finished()]
        if len(ended) <= NEWEST:
            return list(trials)
        for trial in ended:
            if trial.number not in self._seen:
                self._note(trial)
        kept = {trial.number for trial in ended[-NEWEST:]}
        for ranks in (self._complete, self._pruned):
            kept.update(heapq.nsmallest(BEST, ranks, key=lambda number: (*ranks[number], number)))
        kept.update(self._impossible[-BEST:])
        return [trial for trial in trials if trial.number in kept or not trial.state.is_finished()]

    def _note(self, trial: FrozenTrial) -> None:
        self._seen.add(trial.number)
        if trial.state == TrialState.COMPLETE and trial.values:
            self._complete[trial.number] = (0.0, self._sign * trial.values[0])
        elif trial.state == TrialState.PRUNED and trial.intermediate_values:
            step = max(trial.intermediate_values)
            value = trial.intermediate_values[step]
            self._pruned[trial.number] = (-float(step), math.inf if math.isnan(value) else self._sign * value)
        elif trial.state == TrialState.PRUNED:  # no value: memory ran out (`search.rows.INFEASIBLE`)
            self._impossible.append(trial.number)


def rarest(choices: Sequence[Any], held: Sequence[Any]) -> list[Any]:
    """Those of `choices` that occur least in `held`.

    >>> rarest(["linear", "dense", "attention"], ["dense"]), rarest(["a", "b"], ["a", "b", "a"])
    (['linear', 'attention'], ['b'])
    """
    counts = Counter(held)
    least = min(counts[choice] for choice in choices)
    return [choice for choice in choices if counts[choice] == least]


class _Seen:
    """A study as the sampler sees it: some of its rows, nowhere to leave notes, everything else as it is.

    TPE's only note is of what it drew for every branch of a space, for drivers beside it. A study has one driver, whose
    running rows have the settings that they took.
    """

    def __init__(self, study: optuna.Study, trials: list[FrozenTrial]) -> None:
        self._whole, self._trials = study, trials
        self._storage = self

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)

    def get_trials(self, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        return [trial for trial in self._trials if states is None or trial.state in states]

    def _get_trials(self, deepcopy: bool = True, states: Any = None, use_cache: bool = False) -> list[FrozenTrial]:
        return self.get_trials(deepcopy, states)


class Proposal(optuna.samplers.TPESampler):
    """TPE for one proposal; it reads the study once, at the first thing it is asked.

    A new one a proposal, seeded with the row's number: what is proposed depends on the ledger alone, so that a study
    goes on after an interruption as it would have without one, and never repeats its first proposals.
    """

    def __init__(self, seed: int, history: History, sampler: Sampler = "tpe") -> None:
        first = FIRST if sampler == "tpe" else sys.maxsize
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            super().__init__(multivariate=True, group=True, constant_liar=True, n_startup_trials=first, seed=seed)
        self._own_seed, self._history, self._sampler = seed, history, sampler
        self._known: list[FrozenTrial] | None = None
        self._view: Any = None
        self._divided: tuple[list[FrozenTrial], list[FrozenTrial]] | None = None

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Groups of parameters that are set together; none where everything is drawn at random."""
        if self._sampler == "random":
            return {}
        return super().infer_relative_search_space(self._seen(study), trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values for them."""
        if self._sampler == "random":
            return {}
        return super().sample_relative(self._seen(study), trial, search_space)

    def _sample(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        # As Optuna's, which divides the rows into good ones and others anew for each group of parameters: a third of
        # a proposal where a space has many branches, for the same rows each time.
        if self._divided is None:
            rows = [row for row in study.get_trials(deepcopy=False, states=_WEIGHED) if row.number != trial.number]
            ended = sum(row.state != TrialState.RUNNING for row in rows)
            self._divided = _split_trials(study, rows, default_gamma(ended))
        good, others = (
            self._build_parzen_estimator(study, search_space, rows, handle_below=rows is self._divided[0])
            for rows in self._divided
        )
        drawn = good.sample(self._rng.rng, self._n_ei_candidates)
        best = self._compare(drawn, self._compute_acquisition_func(drawn, good, others))
        return {name: domain.to_external_repr(best[name]) for name, domain in search_space.items()}

    def _get_params(self, trial: FrozenTrial, study: optuna.Study) -> dict[str, Any]:
        # Optuna's reads the note above anew, of each running row for each group of parameters: 509 ms of processor time
        # a proposal beside 700 running rows of isic2017_full, 83 without. And it holds against a row what that might
        # have been had it taken other branches.
        return trial.params

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A value for a parameter that no group holds yet, drawn by the row's seed and the parameter's name.

        So a proposal that was cut in two, its first parameters stored, is completed as it would have been.
        """
        own = zlib.crc32(f"{self._own_seed}/{param_name}".encode())
        for source in (self._rng, self._random_sampler._rng):
            source.rng.seed(own)
        if isinstance(param_distribution, CategoricalDistribution) and trial.number < self._n_startup_trials:
            # Of rows before this one alone: they have what they will have, whenever this one is completed.
            rows = self._rows(study)[self._first(trial.number, len(param_distribution.choices)) : trial.number]
            held = [row.params[param_name] for row in rows if param_name in row.params]
            param_distribution = CategoricalDistribution(rarest(param_distribution.choices, held))
        return super().sample_independent(self._seen(study), trial, param_name, param_distribution)

    def _first(self, number: int, choices: int) -> int:
        """The first row that a row shall differ from.

        A random search takes every option once in each block of as many rows. Were all rows counted, it would make up
        for what TPE had proposed before, in all components at once, and nobody could tell the favourites apart.
        """
        return 0 if self._sampler == "tpe" else number - number % choices

    def _rows(self, study: optuna.Study) -> list[FrozenTrial]:
        if self._known is None:
            self._known = study.get_trials(deepcopy=False)
        return self._known

    def _seen(self, study: optuna.Study) -> Any:
        if self._view is None:
            self._view = _Seen(study, self._history.of(self._rows(study)))
        return self._view
