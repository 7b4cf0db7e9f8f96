"""One session of a study: from the ledger's state to the trials asked for, or to the next interruption.

Ray Tune is a stateless executor here, started anew for every session with what the ledger says is to be run; its own
snapshots are switched off and never read.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import ray
from ray import tune

from lesion.registry import Value
from search import mirror as mirrored
from search.budget import Purse
from search.cluster import joined
from search.elastic import seats_of
from search.errors import ClusterError, LedgerError, StudyError
from search.flatness import Left
from search.full_disks import full_disk_explained
from search.identity import Identity
from search.interrupts import EndOfSession, Interrupts, StopSession
from search.ledger import Ledger, Samples
from search.mirror import Mirror
from search.ownership import note_ledger
from search.probes import Key
from search.progress import Progress, StudyState, empty_state
from search.provenance import provenance
from search.reach import Data, Newcomers, require_reach
from search.resumption import forget_beyond
from search.retention import KEPT, Retention
from search.rows import TrialRow
from search.searcher import LedgerSearcher, Told, scheduler_for
from search.seats import Seats
from search.space.resources import Resources
from search.space.space import Asha
from search.suspects import warnings_of
from search.trial import Job, Worker
from search.watchdog import Watchdog
from search.workers import Hooks, end_worker
from search.workspace import Workspace

FLUSH, FLUSH_INTERRUPTED = 30.0, 4.0
"""Seconds that MLflow is waited for at the end of a session; the rest waits in the spool."""


class Searched(Samples, Protocol):
    """What a session needs of a space, or of whatever else says which trials there are to be."""

    @property
    def start_with(self) -> Sequence[Mapping[str, Value]]:
        """Points that are tried first."""

    @property
    def scheduler(self) -> Asha | None:
        """Who stops trials early; None for nobody."""


@dataclass(frozen=True)
class Plan:
    """Everything a session needs to know.

    `seconds` is its wall clock and `device_seconds` the study's, None without limit; `patience` the seconds of silence
    after which a trial is hung; `require_unchanged` raises StudyError where the data changed; `left` tells of rows what
    is still to be gained, where the study may end for that; `kept` are the finished trials whose checkpoints stay;
    `keys` tells what `resources` may have to measure.
    """

    workspace: Workspace
    space: Searched
    identity: Identity
    job: Job
    target: int
    seconds: float | None = None
    concurrent: int | None = None
    gpus_per_trial: float | None = None
    address: str | None = None
    patience: float = 3600.0
    device_seconds: float | None = None
    left: Callable[[Sequence[TrialRow]], Left | None] | None = None
    kept: int = KEPT
    resources: Resources = field(default_factory=Resources)
    keys: Callable[[], Sequence[Key]] = tuple
    warn: Callable[[str], object] = warnings.warn
    require_unchanged: Callable[[], None] = lambda: None


class Session:
    """Runs what is missing. The caller holds the study's lock and has the signals in `interrupts`."""

    def __init__(
        self,
        plan: Plan,
        ledger: Ledger,
        mirror: Mirror,
        interrupts: Interrupts,
        callback: Callable[[StudyState], None] | None = None,
    ) -> None:
        self.plan, self.ledger, self.mirror, self.interrupts = plan, ledger, mirror, interrupts
        self.adopted = ledger.reconcile()
        ledger.enqueue(plan.space.start_with)
        rows = ledger.rows()
        identity = plan.identity
        empty = empty_state(plan.job.study, identity.objective, identity.direction, plan.job.epochs, plan.target)
        self.progress = Progress(empty, rows, callback)
        self.retention = Retention(plan.job.folder, identity.direction, rows, plan.kept)
        self.provenance = provenance(identity)
        self.purse = Purse(plan.seconds, plan.device_seconds, rows)
        self.watchdog = Watchdog(plan.patience, end=end_worker)
        self._begun = sum(row.state != "waiting" for row in rows)
        self.left: Left | None = None
        """What was still to be gained when that was last asked."""
        self._ask_what_is_left()
        self.problem: StudyError | None = None
        """That the data changed."""
        self.unreached: ClusterError | None = None
        """That a machine that joined does not reach the workspace."""

    @property
    def missing(self) -> int:
        """Trials to run: adopted ones and, while the search is not flat, new ones."""
        return len(self.adopted) + (0 if self._flat else max(0, self.plan.target - self._begun))

    @property
    def _flat(self) -> bool:
        return self.left is not None and self.left.flat

    def _ask_what_is_left(self) -> None:
        if self.plan.left is not None:
            self.left = self.plan.left(self.ledger.rows())

    def run(self) -> str:
        """Run the missing trials; returns "complete", or why it ended before.

        That is a signal's name, a budget that is used up ("hours", "device_hours"), or "flat" (`search.flatness`).
        """
        note_ledger(self.plan.workspace, self.plan.job.study, begun=self._begun > 0)
        self.mirror.start(row for row in self.ledger.rows() if row.finished)
        self.mirror.put(mirrored.study_event("running", {**self.provenance, "lesion.target": self.plan.target}))
        for row in (row for row in self.adopted if row.settings):
            # A driver that was killed left their runs RUNNING, and not all of them may get their turn today.
            self.mirror.put(mirrored.ended(row, "interrupted"))
        self.progress.show(force=True)
        ended = "failed"
        try:
            ended = self._run_missing() if self.missing else "complete"
            if ended == "complete" and self._flat and len(self.ledger.rows()) < self.plan.target:
                ended = "flat"
        finally:
            self._wind_up(ended)
        return ended

    def _run_missing(self) -> str:
        self._tidy = ray.is_initialized()  # somebody else's, in a notebook
        with joined(self.plan.address):
            self.interrupts.install()
            job, folder = self.plan.job, self.plan.workspace.path
            data = Data(job.data, job.data_hash, job.source)
            require_reach(folder, data)
            with closing(Newcomers(folder, self.plan.warn, data)) as self._newcomers:
                return self._run_seated()

    def _run_seated(self) -> str:
        try:
            seats = seats_of(self.plan, self.missing, self._pause)
        except StopSession:
            if why := self.problem or self.unreached:
                raise why from None
            return self.interrupts.asked or "stopped"
        stopped = False
        try:
            with closing(seats), full_disk_explained(self.plan.workspace.path):
                self._show_seats(seats)
                for line in warnings_of(self.adopted):
                    self.plan.warn(line)
                self._searcher = self._searcher_for(seats)
                self._tune(self._searcher, seats)
        except (StopSession, EndOfSession):
            stopped = True
        finally:
            self.progress.show(force=True, phase="stopping")
        if problem := self._searcher.problem or self.problem or self.unreached:
            raise problem
        if stopped:
            return self.interrupts.asked or "stopped"
        self._require_all_ended()
        return "complete"

    def _require_all_ended(self) -> None:
        """Raise StudyError where another driver left rows that this session has not heard of."""
        if left := [str(row.number) for row in self.ledger.rows() if row.state == "running"]:
            # Not gone on with here: the scheduler has read the rungs before they were begun.
            raise StudyError(
                f"another driver went on with {self.plan.job.study} while the database kept this one out, and left "
                f"{'trials' if len(left) > 1 else 'trial'} {', '.join(left)} unfinished; the same command goes on from "
                "there"
            )

    def _searcher_for(self, seats: Seats) -> LedgerSearcher:
        return LedgerSearcher(
            self.ledger,
            self.plan.space,
            self.plan.job,
            seats,
            target=self.plan.target,
            adopted=self.adopted,
            tell=self._told,
            run_of=self.mirror.run_id,
            enough=lambda: self._flat,
            require_unchanged=self._require_unchanged,
        )

    def _tune(self, searcher: LedgerSearcher, seats: Seats) -> None:
        space, identity = self.plan.space, self.plan.identity
        scratch = self.plan.workspace.ray / self.plan.job.study
        # What a session that was killed has left; no other process drives this study.
        shutil.rmtree(scratch, ignore_errors=True)
        try:
            tune.run(
                Worker,
                name=f"session-{os.getpid()}",
                storage_path=str(scratch),
                search_alg=searcher,
                scheduler=scheduler_for(space.scheduler, self.plan.job.epochs, identity.direction, self.ledger.rows()),
                num_samples=-1,  # the searcher knows when all have ended, and a row may need several trials of Ray's
                max_concurrent_trials=seats.concurrent,
                reuse_actors=True,
                max_failures=-1,  # how often a trial may lose its worker is ours to say: it begins anew with each epoch
                raise_on_failed_trial=False,
                callbacks=[Hooks(self.step, searcher, self.watchdog, self._tidy)],
                verbose=0,
            )
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def step(self) -> None:
        """Called by Ray's loop about ten times a second."""
        if self._searcher.problem is not None:
            raise StopSession
        self._pause()
        self._seats_taken.look()
        self.progress.show(
            used=self._seats_taken.in_use(),
            mirror_waiting=self.mirror.pending,
            mirror_problem=self.mirror.problem,
        )

    def _pause(self) -> None:
        """End the session where that was asked for, the data changed, or a machine joined that must not."""
        try:
            self._require_unchanged()
            self._newcomers.look()
        except StudyError as error:
            raise StopSession from error
        except ClusterError as error:
            self.unreached = error
            raise StopSession from error
        if used_up := self.purse.empty():
            self.interrupts.ask(used_up)
        if self.interrupts.asked:
            # Before Ray cleans up, which takes seconds: a driver killed meanwhile holds nothing against its trials.
            self._let_go()
            raise StopSession

    def _require_unchanged(self) -> None:
        try:
            self.plan.require_unchanged()
        except StudyError as error:
            self.problem = error
            raise

    def _let_go(self) -> None:
        with suppress(LedgerError):  # the ledger may be what ends the session
            self.ledger.let_go(self.progress.running)

    def _told(self, told: Told) -> None:
        row = told.row
        self.purse.heard(row)
        if told.what in ("started", "retried"):
            self._mirror_start(row)
            self.progress.started(row)
            return
        if told.metrics:
            self.mirror.put(mirrored.epoch_of(row.number, told.epoch, told.metrics))
        if told.what == "ended":
            self.mirror.put(mirrored.ended(row))
            self.progress.ended(row)
            self.retention.ended(row)
            if row.state == "complete":
                self._ask_what_is_left()
        else:
            self.progress.heard(row)

    def _mirror_start(self, row: TrialRow) -> None:
        self.mirror.put(mirrored.started(row, self.provenance))
        self.mirror.retell(row)

    def _wind_up(self, ended: str) -> None:
        """Leave everything such that the next session can go on, and MLflow without a running run."""
        self._let_go()
        for row in self._left_running():
            if self.problem is not None:  # the epochs that were not recorded are of other data
                forget_beyond(self.plan.job.folder / str(row.number), row.epoch)
            self.mirror.put(mirrored.ended(row, "interrupted"))
        best = self.progress.state().best
        tags: dict[str, Any] = {}
        if best is not None:
            tags = {"lesion.best_trial": best.number, "lesion.best_value": best.value}
        state = {"flat": "complete"}.get(ended, ended if ended in ("complete", "failed") else "interrupted")
        self.mirror.put(mirrored.study_event(state, tags))
        patient = ended == "complete" and self.mirror.problem is None
        self.mirror.close(FLUSH if patient else FLUSH_INTERRUPTED)
        self.progress.show(force=True, phase="ended", mirror_waiting=self.mirror.pending)

    def _left_running(self) -> Iterator[TrialRow]:
        """The rows that workers had: the ledger's for as long as it answers, for each question may wait a minute."""
        answers = True
        for row in self.progress.running_rows:
            known = row
            if answers:
                try:
                    known = self.ledger.row(row.number)
                except LedgerError:
                    answers = False
            yield known

    def _show_seats(self, seats: Seats) -> None:
        self._seats_taken = seats
        self.progress.concurrent = seats.concurrent
        total = ray.cluster_resources()  # type: ignore[no-untyped-call]
        self.progress.show(
            force=True, phase="running", total={kind: float(total.get(kind, 0.0)) for kind in ("CPU", "GPU")}
        )
