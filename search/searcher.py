"""Between Ray Tune and the ledger: who runs next, how it went on, how it ended.

Ray asks `LedgerSearcher` for configurations and tells it results; all that it learns goes into the ledger before
Ray goes on. `ReplayedAsha` is Ray's asynchronous successive halving with rungs, which Ray never saves, that are
those of the ledger at the start of every session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from search.errors import StudyError
from search.fence import raise_fence
from search.ledger import Ending, Ledger, Samples
from search.results import ending_of, metrics_of
from search.rows import HUNG, TrialRow
from search.seats import Seats
from search.space.space import Asha
from search.trial import COSTS, Job, Order
from search.turns import Turns
from search.watchdog import RETRIES, STORAGE, UNMADE, Death, Losses, Streak, verdict

DAMAGE_LENGTH = 2000


@dataclass(frozen=True)
class Told:
    """One thing that happened to a trial: `what` is started, retried, epoch or ended."""

    what: str
    row: TrialRow
    epoch: int = 0
    value: float | None = None
    metrics: Mapping[str, float] | None = None


class LedgerSearcher(Searcher):
    """Proposes adopted rows first, then new ones until the ledger holds `target` or there are `enough`.

    `tell` hears of everything; `run_of` knows the MLflow run of a trial; `require_unchanged` raises where nothing may
    be recorded any more.
    """

    def __init__(
        self,
        ledger: Ledger,
        space: Samples,
        job: Job,
        seats: Seats,
        *,
        target: int,
        adopted: Iterable[TrialRow],
        tell: Callable[[Told], None],
        run_of: Callable[[int], str | None] = lambda number: None,
        enough: Callable[[], bool] = lambda: False,
        require_unchanged: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self.enough, self.require_unchanged = enough, require_unchanged
        self.ledger, self.space, self.job, self.seats = ledger, space, job, seats
        self.tell, self.run_of = tell, run_of
        self.problem: Exception | None = None
        """What the session is to end for, such as a LedgerError; nothing is told or asked any more."""
        self._turns = Turns(adopted)
        self._target = target
        self._left = target - sum(row.state != "waiting" for row in ledger.rows())
        self._numbers: dict[str, int] = {}
        self._devices: dict[int, float] = {}
        self._over: set[int] = set()
        self._losses, self._streak = Losses(), Streak()

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Configuration of the next attempt, None while there is no seat for it, or FINISHED."""
        with self._fatal():
            if self.problem is not None:
                return Searcher.FINISHED  # type: ignore[return-value]
            if self.seats.full or self._turns.closed:
                return None
            row = self._next()
            if row is None and self._turns.live:
                return None  # Ray never asks again after FINISHED, and a trial that it gives up needs another of Ray's
            if row is None:
                return Searcher.FINISHED  # type: ignore[return-value]
            self._numbers[trial_id] = row.number
            self._turns.begun(row)
            folder = str(self.job.folder / str(row.number))
            order = self._begin("started", row.number, trial_id, checkpoint=folder)
            seat = self.seats.take(row.number, row.settings)
            job = replace(self.job, threads=seat.cpus, gpus=seat.gpus)
            self._devices[row.number] = job.devices
            return {"job": job, "order": order, "seat": seat}
        return Searcher.FINISHED

    def _next(self) -> TrialRow | None:
        """The row to begin now, None where there is none: adopted ones, new ones, and then those that go alone."""
        if row := self._turns.next():
            return self.ledger.adopt(row, self.space)
        if self._left > 0 and not self.enough():
            row = self.ledger.ask(self.space, self._target)
            self._left = self._left - 1 if row else 0  # another driver has made some, while the study was not ours
        return row or self._turns.last()

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """An epoch after which the trial goes on."""
        number = self._numbers[trial_id]
        if self.problem is not None:
            return
        with self._fatal():
            self.require_unchanged()
            self.ledger.report(number, result["epoch"], result["value"], **self._so_far(number, result))
            self._heard("epoch", number, result)

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """The trial's last epoch; a lost worker comes through `lost`, which knows why."""
        number = self._numbers[trial_id]
        if result is None or error or number in self._over or self.problem is not None:
            return
        with self._fatal():
            if result.get("superseded"):  # a worker that was given up is not heard: this one was not
                raise StudyError(
                    f"another session has begun trial {number} in {self.job.folder}: two ledgers must not share a "
                    "workspace; give one of them a workspace of its own (--workspace)"
                )
            self.require_unchanged()
            noted = self._so_far(number, result) | {"metrics": metrics_of(result)}
            if result.get("examples"):
                noted["examples"] = result["examples"]
            if run := self.run_of(number):
                noted["mlflow_run"] = run
            self.ledger.finish(number, ending_of(result, self.job.epochs), **noted)
            self._leave(number)
            self._heard("ended", number, result)
            self._streak.ended(self.ledger.row(number))

    def died(self, trial_id: str, death: Death, last: bool) -> Order:
        """The worker died, and with `last` Ray makes no other; what another is to do, if there is one.

        The trial goes on there, or its row is failed, where a retry mends nothing or was tried often enough. Where no
        worker can be made, or none gets checkpoints or data, the session ends instead: no trial is to blame, and all
        would end like this one. With `last` the row goes on as another trial of Ray's, and nothing is held against it:
        Ray gives a trial up where a worker that had ended another died as it was handed over, told as a death before.
        """
        number = self._numbers[trial_id]
        nothing = Order(number, 0, over=True)
        if self.problem is not None or number in self._over:
            return nothing
        with self._fatal():
            row = self.ledger.row(number)
            if last:
                self._leave(number)
                self._turns.put(row)
                return nothing
            losses = self._losses.count(number, row.epoch, death)
            if death.failure == UNMADE and losses > RETRIES:
                raise StudyError(
                    f"no worker can be started for trial {number}: {death.text}. Every machine needs the same packages "
                    "and modules ('lesion-search cluster check' compares them); no trial is lost: mend it and the same "
                    "command goes on"
                )
            if death.failure == STORAGE and losses > RETRIES:
                raise StudyError(
                    f"trial {number} cannot go on: {death.text}. No trial is lost: mend it and the same command goes on"
                )
            hangs = row.hangs + (death.failure == HUNG)
            noted = {"hangs": hangs, **self._lost(row, death)}
            why = verdict(death, hangs, losses)
            if why is None:
                self.ledger.note(number, **noted)
                return self._begin("retried", number, trial_id)
            self._over.add(number)
            self.ledger.finish(number, Ending("failed", row.epoch, failure=death.failure, message=why), **noted)
            self._leave(number)
            row = self.ledger.row(number)
            self.tell(Told("ended", row, row.epoch))
            self._streak.ended(row)
        return nothing

    def _leave(self, number: int) -> None:
        self._turns.left(number)
        self.seats.leave(number)

    def _begin(self, what: str, number: int, trial_id: str, **attributes: Any) -> Order:
        attempt = f"{self.ledger.begin(number, ray_trial=trial_id, **attributes)} of {trial_id}"
        raise_fence(self.job.folder / str(number), attempt)
        row = self.ledger.row(number)
        self.tell(Told(what, row, row.epoch))
        return Order(
            number, row.seed, row.settings, row.epoch,
            split=row.split, seconds=row.seconds, device_seconds=row.device_seconds, attempt=attempt,
        )  # fmt: skip

    def _lost(self, row: TrialRow, death: Death) -> dict[str, float]:
        """What a trial has cost with the time of a worker that died: a trial that hangs for an hour is not for free.

        An epoch that was saved and whose report was lost counts twice: the next worker tells what it cost as well.
        """
        devices = self._devices.get(row.number, 0.0)
        spent = (row.seconds + death.seconds, row.device_seconds + death.seconds * devices)
        return dict(zip(COSTS, spent, strict=True))

    def _so_far(self, number: int, result: Mapping[str, Any]) -> dict[str, Any]:
        """What was spent on a trial and found wrong with its checkpoints, over all its attempts."""
        known = {name: result[name] for name in COSTS if result.get(name)}
        damage = [*filter(None, (self.ledger.row(number).damage or "").split("; "))]
        found = [*filter(None, (result.get("damage") or "").split("; "))]
        if new := [fact for fact in found if fact not in damage]:
            known["damage"] = "; ".join([*damage, *new])[:DAMAGE_LENGTH]
        return known

    def _heard(self, what: str, number: int, result: Mapping[str, Any]) -> None:
        row = self.ledger.row(number)
        self._turns.heard(row)
        self.tell(Told(what, row, result["epoch"], result.get("value"), metrics_of(result)))

    @contextmanager
    def _fatal(self) -> Iterator[None]:
        """Keep an error of ours, on which the session ends: Ray would take it for the trial's and try that again."""
        try:
            yield
        except Exception as error:
            self.problem = error

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the state."""


def scheduler_for(asha: Asha | None, epochs: int, direction: str, rows: Iterable[TrialRow]) -> TrialScheduler:
    """First come, first served; or successive halving whose rungs hold what the ledger knows."""
    if asha is None:
        return FIFOScheduler()  # type: ignore[no-untyped-call]
    return ReplayedAsha(asha, epochs, direction, rows)


class ReplayedAsha(AsyncHyperBandScheduler):
    """Asynchronous successive halving (Li et al., MLSys 2020) over sessions.

    The values of all rows are put into the rungs at once, as if they had been told, those of rows that wait for their
    turn as well. What was decided then is not decided again. A row that goes on as another trial of Ray's takes its
    values along: otherwise it would be in the rungs twice, and be judged at epoch 5 against others at epoch 3.
    """

    def __init__(self, asha: Asha, epochs: int, direction: str, rows: Iterable[TrialRow]) -> None:
        super().__init__(
            time_attr="epoch",
            metric="value",
            mode="max" if direction == "maximize" else "min",
            max_t=epochs,
            grace_period=min(asha.grace, epochs),
            reduction_factor=asha.reduction,
        )
        self._names: dict[int, str] = {}
        for row in rows:
            self._replay(row)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Add the trial with what its row has in the rungs; Ray adds it again when its worker was lost."""
        super().on_trial_add(tune_controller, trial)
        number, name = trial.config["order"].number, trial.trial_id
        before, self._names[number] = self._names.get(number, name), name
        for _, held in self._brackets[0]._rungs:
            if before in held:
                held[name] = held.pop(before)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Record the last value; a failed trial has none, and leaves."""
        if "value" in result:
            super().on_trial_complete(tune_controller, trial, result)
        else:
            self.on_trial_remove(tune_controller, trial)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Forget a trial that will not report again; what it left in the rungs stays."""
        if trial.trial_id in self._trial_info:
            super().on_trial_remove(tune_controller, trial)

    def rungs(self) -> dict[int, list[float]]:
        """Values held by each rung, sorted, by the rung's epoch."""
        sign = self._metric_op
        return {int(epoch): sorted(sign * v for v in held.values()) for epoch, held in self._brackets[0]._rungs}

    def _replay(self, row: TrialRow) -> None:
        nobody: Any = None
        past: Any = SimpleNamespace(trial_id=f"row-{row.number}", config={"order": Order(row.number, 0)})
        self.on_trial_add(nobody, past)
        for epoch, value in row.history.items():
            super().on_trial_result(nobody, past, {"epoch": epoch, "value": value})
        if row.finished and row.value is not None:
            super().on_trial_complete(nobody, past, {"epoch": row.epoch, "value": row.value})
        else:
            self.on_trial_remove(nobody, past)
