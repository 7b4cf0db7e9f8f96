"""A driver that dies at random: the real ledger, searcher and scheduler, with Ray and its workers played.

Ray is a loop that calls them as Ray's does; a worker saves an epoch before it reports it, and dies or hangs at some. A
driver may die before and after each single write; a server may fail a write, or do it and lose its answer; a worker may
lose its checkpoints, and Ray may give a trial up, which then goes on as another of Ray's.
"""

import random
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError

from search import ledger as ledgers
from search.database import ServerAwayError, Storage, open_storage
from search.identity import Identity
from search.ledger import Ledger, open_ledger
from search.proposals import Sampler
from search.rows import HUNG, LOST, NON_FINITE, TrialRow
from search.searcher import LedgerSearcher, Told, scheduler_for
from search.seats import Alike
from search.space import Asha
from search.study import StudyStatus
from search.trial import Job, Order
from search.watchdog import Death

TRIALS, EPOCHS, ASHA = 9, 5, Asha(grace=1, reduction=2)
IDENTITY = Identity("tiny", "d1", "holdout", "s1", "mean_auc", "maximize", {"objective": "mean_auc", "epochs": EPOCHS})
START = [{"loss": "focal", "lr": 0.5, "loss.focal.gamma": 1.0}, {"loss": "cross_entropy", "lr": 0.25}]
WRITES = (
    "create_new_study", "set_study_user_attr", "create_new_trial", "set_trial_param", "set_trial_user_attr",
    "set_trial_system_attr", "set_trial_intermediate_value", "set_trial_state_values", "_commit",
)  # fmt: skip
"""Everything by which a driver changes the database."""
PARTS = 0.1
"""Of the chance of a fault, that at a write which is a part of a transaction: whichever it is, nothing is written."""


class Killed(BaseException):
    """What a kill -9 looks like to a driver: nothing on its way may answer it."""


class AwayError(Exception):
    """What a database's driver raises when its server is gone."""


class Faults:
    """Strikes before or after writes, each time with a small chance; `struck` counts where."""

    def __init__(self, rng: random.Random, kills: float, losses: float) -> None:
        self.rng, self.kills, self.losses = rng, kills, losses
        self.struck: Counter[str] = Counter()

    @property
    def killed(self) -> int:
        """How often the driver died."""
        return sum(count for where, count in self.struck.items() if where.startswith("killed"))

    def kill(self, where: str, share: float = 1.0) -> None:
        if self.rng.random() < self.kills * share:
            self.struck[f"killed {where}"] += 1
            raise Killed

    def gives_up(self) -> bool:
        """Whether Ray makes an end of a trial, as where a worker died as it was handed over."""
        given_up = self.rng.random() < self.kills / 2
        self.struck["given up"] += given_up
        return given_up

    def strike(self, where: str, share: float) -> None:
        self.kill(where, share)
        if self.rng.random() < self.losses * share:
            self.struck[f"away {where}"] += 1
            raise OperationalError("", {}, AwayError("the server is gone"))


def make_dangerous(storage: Storage, faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have `faults` strike before and after every write."""

    def dangerous(name: str) -> Any:
        write, share = getattr(storage, name), PARTS if name.startswith("set_trial") else 1.0

        def call(*arguments: Any, **options: Any) -> Any:
            faults.strike(f"before {name}", share)
            result = write(*arguments, **options)
            faults.strike(f"after {name}", share)
            return result

        return call

    for name in WRITES:
        monkeypatch.setattr(storage, name, dangerous(name))


class Space:
    def sample(self, trial: Any) -> dict[str, Any]:
        loss = trial.suggest_categorical("loss", ["cross_entropy", "focal"])
        settings = {"loss": loss, "lr": trial.suggest_float("lr", 0.0, 1.0)}
        if loss == "focal":
            settings["loss.focal.gamma"] = trial.suggest_float("loss.focal.gamma", 0.5, 3.0)
        return settings


def value_of(settings: Any, seed: int, epoch: int) -> float:
    """What a trial is worth after an epoch: a pure function of its settings and seed."""
    return float((1 - abs(settings["lr"] - 0.6)) * (1 - 0.5**epoch) + (seed % 97) * 1e-4 * ((seed >> epoch) % 3))


GRIEF = {2: (LOST, 1), 3: (HUNG, 1), 5: (HUNG, 10**6)}
"""Trials that lose workers before their first epoch: how, and how many."""
BY_NUMBER: Mapping[str, Any] = {"sampler": "random", "asha": None}
"""How a search is made in which the order does not matter."""
MENDED = dict.fromkeys((4, 6, 8), (HUNG, 2))
"""Some that are failed for it, or not: where the driver dies over the failure, the third worker gets along."""


@dataclass
class Disk:
    """What outlives a driver and its workers: epochs saved by each trial, and workers that it lost to its grief.

    The driver dies over each first epoch of a `deadly` trial; `flights` are the rows that ran at each of its deaths.
    """

    grief: Mapping[int, tuple[str, int]]
    deadly: Collection[int] = ()
    flights: list[set[int]] = field(default_factory=list)
    begun: Mapping[int, int] = field(default_factory=dict)
    saved: dict[int, int] = field(default_factory=dict)
    lost: Counter[int] = field(default_factory=Counter)

    def death(self, number: int) -> Death | None:
        """Of what the trial's worker dies now; None if it lives."""
        how, times = self.grief.get(number, (LOST, 0))
        if self.saved.get(number, 0) or self.lost[number] >= times:
            return None
        self.lost[number] += 1
        return Death(how, "silence")

    def driver_died(self) -> None:
        """Note which rows a worker has begun since the driver's last death, and that have not ended."""
        storage = ledgers.open_storage("the one that is shared")
        rows = [row for study in storage.get_all_studies() for row in storage.get_all_trials(study._study_id)]
        begun = {row.number: row.user_attrs.get("attempt", 0) for row in rows if row.state == TrialState.RUNNING}
        self.flights.append({number for number, attempt in begun.items() if attempt > self.begun.get(number, 0)})
        self.begun = begun


class Worker:
    """Saves an epoch before it reports it; `disk` is what survives it."""

    def __init__(self, order: Order, disk: Disk) -> None:
        self.order, self.disk = order, disk
        self.reported = min(order.reported, disk.saved.get(order.number, 0))

    def step(self) -> dict[str, Any]:
        if self.order.over:
            return {"number": self.order.number, "epoch": self.order.reported, "over": True, "done": True}
        epoch = self.reported = self.reported + 1
        told = {"number": self.order.number, "epoch": epoch, "seconds": 1.0, "device_seconds": 1.0, "examples": epoch}
        if self.order.settings["lr"] > 0.97 and epoch == 2:
            return {**told, "epoch": 1, "failure": NON_FINITE, "message": "the loss is nan", "done": True}
        self.disk.saved[self.order.number] = max(epoch, self.disk.saved.get(self.order.number, 0))
        value = value_of(self.order.settings, self.order.seed, epoch)
        # Every other trial with a large gamma stops by itself.
        over = epoch == EPOCHS or (epoch == 3 and self.order.settings.get("loss.focal.gamma", 0) > 2.5)
        return {**told, "value": value, "metrics/mean_auc": value, "over": over, "done": over}


def session(
    faults: Faults, disk: Disk, workers: int, sampler: Sampler = "tpe", asha: Asha | None = ASHA
) -> tuple[Ledger, Any]:
    """One session as Ray would drive it; the ledger and the scheduler at its end."""
    ledger = open_ledger("sqlite://", "tiny", IDENTITY, 7)
    ledger.sampler = sampler
    adopted = ledger.reconcile()
    ledger.enqueue(START)
    told: list[Told] = []
    job = Job("tiny", "key", Path(), None, "mean_auc", EPOCHS, Path("checkpoints"), lambda *arguments: None)
    scheduler: Any = scheduler_for(asha, EPOCHS, "maximize", ledger.rows())
    searcher = LedgerSearcher(
        ledger, Space(), job, Alike(workers, 1, 0.0), target=TRIALS, adopted=adopted, tell=told.append
    )
    running: list[Any] = []
    for trial_id in map(str, range(10**6)):
        if asha:
            require_rungs(ledger, scheduler)
        while len(running) < workers and isinstance(config := searcher.suggest(f"{trial_id}.{len(running)}"), dict):
            trial = SimpleNamespace(trial_id=f"{trial_id}.{len(running)}", config=config)
            scheduler.on_trial_add(None, trial)
            running.append((trial, Worker(config["order"], disk)))
        if searcher.problem is not None:
            raise searcher.problem
        if not running:
            return ledger, scheduler
        trial, worker = place = faults.rng.choice(running)
        if not worker.order.over and (death := disk.death(worker.order.number)):
            # As Ray's loop does: the trial is put into the scheduler anew, and its next worker gets a new order.
            scheduler.on_trial_error(None, trial)
            scheduler.on_trial_add(None, trial)
            trial.config["order"] = searcher.died(trial.trial_id, death, last=False)
            if searcher.problem is not None:
                raise searcher.problem
            running[running.index(place)] = (trial, Worker(trial.config["order"], disk))
            continue
        if not worker.order.over and faults.gives_up():
            scheduler.on_trial_error(None, trial)
            searcher.on_trial_complete(trial.trial_id, error=True)
            searcher.died(trial.trial_id, Death(LOST, "as it was handed over"), last=True)
            running.remove(place)
            continue
        if worker.order.number in disk.deadly and not disk.saved.get(worker.order.number):
            faults.struck["killed by a trial"] += 1
            raise Killed
        result = worker.step()
        faults.kill("between saving and reporting")
        # As Ray's loop does: what is done is not judged, what is stopped is not reported as going on.
        if not result["done"] and scheduler.on_trial_result(None, trial, result) != "STOP":
            faults.kill("between judging and recording")
            searcher.on_trial_result(trial.trial_id, result)
            continue
        scheduler.on_trial_complete(None, trial, result)
        searcher.on_trial_complete(trial.trial_id, result)
        running.remove((trial, worker))
    raise AssertionError("the search does not end")


def search(
    faults: Faults,
    workers: int,
    forgets: float = 0.0,
    disk: Disk | None = None,
    **how: Any,
) -> tuple[StudyStatus, Any]:
    """Sessions until one ends by itself; at each death a checkpoint may be lost, or all of a trial's."""
    disk = disk or Disk(GRIEF)
    while True:
        try:
            ledger, scheduler = session(faults, disk, workers, **how)
            return StudyStatus("tiny", ledger.identity, tuple(ledger.rows()), False), scheduler
        except (Killed, ServerAwayError):  # a server that is away when a session begins is told, not waited for
            disk.driver_died()
            for number, epochs in disk.saved.items():
                if faults.rng.random() < forgets:
                    disk.saved[number] = faults.rng.choice([0, max(0, epochs - 1)])


def require_rungs(ledger: Ledger, scheduler: Any) -> None:
    """At any moment at which nobody writes, a rung holds what every row that reached it was worth there."""
    rows = ledger.rows()
    for epoch, held in rungs_of(scheduler).items():
        assert held == sorted(row.history[epoch] for row in rows if epoch in row.history), f"rung {epoch}"


def rungs_of(scheduler: Any) -> dict[int, list[float]]:
    rungs: dict[int, list[float]] = scheduler.rungs()
    return rungs


@contextmanager
def shared_storage(folder: Path, losses: int = 10**9) -> Iterator[Storage]:
    """A database in memory that all sessions share, in a folder of their own.

    What kills its driver `losses` times is given up; in an undisturbed search nothing does.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        storage = open_storage("sqlite://")
        patch.setattr("search.ledger.open_storage", lambda url: storage)
        patch.setattr("search.database.PAUSES", (0.0,))
        patch.setattr("search.database.time.sleep", lambda seconds: None)
        patch.setattr("search.suspects.LOSSES", losses)
        yield storage


def without_faults(folder: Path, **how: Any) -> tuple[StudyStatus, Any]:
    """A search with one worker in which nothing goes wrong."""
    with shared_storage(folder):
        return search(Faults(random.Random(0), 0.0, 0.0), workers=1, **how)


def wrong(rows: tuple[TrialRow, ...]) -> Iterator[str]:
    """Values that no undisturbed training has, and failures that were never decided."""
    for row in rows:
        if row.state != row.attributes["verdict"]["state"]:
            yield f"trial {row.number} is {row.state}, and was found {row.attributes['verdict']['state']}"
        for epoch, value in row.history.items():
            if value != value_of(row.settings, row.seed, epoch):
                yield f"trial {row.number} is worth {value} at epoch {epoch}"
