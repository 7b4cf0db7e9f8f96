"""What Ray tells of workers and takes from us: the time, epochs, deaths, and which worker is to end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray import tune

from search.interrupts import EndOfSession, StopSession
from search.searcher import LedgerSearcher
from search.watchdog import Coroner, Death, Watchdog, kernel_kills


class Hooks(tune.Callback):
    """What Ray tells callbacks and no searcher; `step` is called about ten times a second.

    `tidy` says that Ray outlives the session: its workers must be ended one by one, or they keep their places for ever.
    """

    def __init__(self, step: Callable[[], None], searcher: LedgerSearcher, watchdog: Watchdog, tidy: bool) -> None:
        self.step, self.searcher, self.watchdog, self.tidy = step, searcher, watchdog, tidy
        self.coroner = Coroner(kernel_kills)

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Leave the loop if that was asked for; otherwise show how it goes, and look after the workers."""
        try:
            self.step()
        except StopSession as over:
            if self.tidy:
                raise EndOfSession from over
            raise
        self.coroner.look()
        self.watchdog.look(trials)

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
        """Tell the watchdog of an epoch."""
        self.watchdog.heard(trial.trial_id)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Give another worker what the ledger knows by now."""
        order = trial.config["order"] = self.searcher.died(trial.trial_id, self._death(trial), last=False)
        if order.over:  # the next worker has nothing to do but to say so; if it dies as well, that is the end
            trial.max_failures = trial.num_failures

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Say of which trial Ray has made an end."""
        self.searcher.died(trial.trial_id, self._death(trial), last=True)

    def _death(self, trial: Any) -> Death:
        unheard, silence = self.watchdog.unheard(trial.trial_id), self.watchdog.silence(trial.trial_id)
        return replace(self.coroner.death(_last_words(trial), silence, here=_is_here(trial)), seconds=unheard)


def end_worker(worker: Any) -> None:
    """Kill the process of a worker, whatever it is doing."""
    ray.kill(worker)


def _last_words(trial: Any) -> str:
    """What Ray wrote about the last death of the trial's worker, on one line."""
    try:
        return " ".join(Path(trial.error_file).read_text().rpartition("Failure # ")[2].split())
    except (OSError, TypeError, UnicodeDecodeError):
        return "nothing was written about it"


def _is_here(trial: Any) -> bool:
    """Whether the trial ran on this very machine, as far as is known."""
    alive = [node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    here: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return len(alive) == 1 or (trial.last_result or {}).get("node_ip") == here
