"""The ledger: one Optuna study in SQL, the only truth about a search, written by its driver alone.

A trial is one row for life. A session that ends in the middle of a trial, by Ctrl-C or by ``kill -9``, leaves
the row RUNNING; the next session adopts that very row, with its parameters, seed, history and checkpoint. So a
study that was asked for N trials has N rows, whatever happened to it (docs/decisions/0003-ledger.md).

States: ``complete`` reached its epochs; ``pruned`` was stopped by the scheduler; ``failed`` has a failure
class, and where memory ran out a constraint, from which TPE learns to keep away; ``running`` is
running, or waits to be adopted; ``waiting`` is a starting point not begun. The value of a trial is that of its
last epoch, not of its best: less optimistic, and what its checkpoint and its predictions are.
"""

from __future__ import annotations

import hashlib
import math
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeVar, overload

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from lesion.registry import Value
from search.database import Patience, SoleWriter, explained, open_storage
from search.errors import StudyError
from search.formats import FORMAT, IDENTITY, KEY, SEED, attributes_of, format_of, identity_in
from search.identity import Identity
from search.proposals import History, Proposal
from search.rows import INFEASIBLE, LOST, NON_FINITE, STATES, TrialRow, row_of
from search.space.space import Sampler
from search.suspects import has_advanced, losses_among

Result = TypeVar("Result")

ENDINGS = {name: state for state, name in STATES.items() if state.is_finished()}


class Samples(Protocol):
    """What the ledger needs of a space: settings, define-by-run, asked for by their dotted names."""

    def sample(self, trial: Any) -> Mapping[str, Value]:
        """Complete flat settings of `trial`."""


@dataclass(frozen=True)
class Ending:
    """How a trial ended: `state` complete, pruned or failed, after `epoch`; `value` is None for a failed one."""

    state: str
    epoch: int
    value: float | None = None
    failure: str | None = None
    message: str | None = None


class Ledger:
    """One study, opened for writing; the caller holds the study's lock (`search.locks`).

    `guard` is called before every write, raises where the study is no longer ours, and says whether it was not for a
    while; `patience` is with a server; `sampler` is what proposes new rows.
    """

    def __init__(self, study: optuna.Study, storage: SoleWriter, seed: int, identity: Identity) -> None:
        self.study, self.storage, self.seed, self.identity = study, storage, seed, identity
        self.guard: Callable[[], bool] = lambda: False
        self.patience = Patience()
        self.sampler: Sampler = "tpe"
        self._history = History(identity.direction)
        self._ids = {trial.number: trial._trial_id for trial in self._frozen()}

    def rows(self) -> list[TrialRow]:
        """Every row, by number."""
        return [row_of(trial) for trial in self._frozen()]

    def row(self, number: int) -> TrialRow:
        """The row of one trial."""
        return self.patience.call("read", lambda: row_of(self.storage.get_trial(self._ids[number])))

    def reconcile(self) -> list[TrialRow]:
        """Mend what the last session left behind; returns the rows to adopt, the furthest ones first.

        A row whose ending had been decided is ended; one that takes its driver down is failed (`search.suspects`).
        """
        # All of them, whichever a session asks for: what ran beside a row speaks for it. And as a whole: a driver that
        # dies in its middle shall not leave one that seems to have been alone.
        left = [row for row in map(row_of, self._frozen()) if row.state == "running"]
        self._write(lambda: self._mend(left))
        asked = {row.number for row in self.rows()}
        adopted = [row for row in (self.row(row.number) for row in left if row.number in asked) if not row.finished]
        return sorted(adopted, key=lambda row: (-row.epoch, row.number))

    def enqueue(self, points: Sequence[Mapping[str, Value]]) -> None:
        """Put starting points in front, each once for the life of the study."""
        for point in points:
            self._write(partial(self.study.enqueue_trial, dict(point), skip_if_exists=True))

    @overload
    def ask(self, space: Samples) -> TrialRow: ...

    @overload
    def ask(self, space: Samples, target: int) -> TrialRow | None: ...

    def ask(self, space: Samples, target: int | None = None) -> TrialRow | None:
        """A new trial: a starting point while there are any, else what the sampler proposes.

        None where `target` rows have been begun, by another driver perhaps, while the study was not ours.
        """
        running = {row.number for row in self._frozen() if row.state == TrialState.RUNNING}
        return self._write(lambda: self._asked(running, space, target))

    def adopt(self, row: TrialRow, space: Samples) -> TrialRow:
        """Take over a row of an earlier session, completing its settings if that session died while asking."""
        return row if row.settings else self._write(lambda: self._completed(row.number, space))

    def begin(self, number: int, **attributes: Any) -> int:
        """Note that a worker starts the trial, with `attributes`; returns the number of this attempt, from 1."""
        row = self.row(number)
        attempt = row.attempt + 1
        if row.losses and has_advanced(row):
            attributes["losses"] = 0
        self.note(number, began_at=row.epoch, let_go=False, **attributes, attempt=attempt)
        return attempt

    def let_go(self, numbers: Iterable[int]) -> None:
        """Note that the session ends on purpose with these trials unfinished: nothing speaks against them."""

        def noted() -> None:
            for row in map(self.row, numbers):
                # One may have ended, and the answer been lost on its way.
                if not row.finished and not row.attributes.get("let_go"):
                    self.note(row.number, let_go=True)

        self._write(noted)

    def report(self, number: int, epoch: int, value: float, **attributes: Any) -> None:
        """Record the objective after an epoch, with `attributes`; the same epoch again replaces it."""
        if not math.isfinite(value):
            raise ValueError(f"trial {number}: the objective at epoch {epoch} is {value}; fail it as {NON_FINITE}")

        def reported() -> None:
            self.storage.set_trial_intermediate_value(self._ids[number], epoch, value)
            self.note(number, **attributes)

        self._write(reported)

    def note(self, number: int, **attributes: Any) -> None:
        """Store user attributes of a trial that has not ended."""

        def noted() -> None:
            for key, value in attributes.items():
                self.storage.set_trial_user_attr(self._ids[number], key, value)

        self._write(noted)

    def finish(self, number: int, ending: Ending, **attributes: Any) -> None:
        """End a trial, with `attributes`.

        The verdict stays with the row. Earlier versions wrote it before the end, and a driver that died between the
        two left a row that `reconcile` ends the same way.
        """
        self._end(number, ending, **attributes, verdict=vars(ending))

    def _end(self, number: int, ending: Ending, **attributes: Any) -> None:
        if ending.failure is not None:
            attributes |= {"failure": ending.failure, "message": ending.message}
        values = None if ending.value is None else [ending.value]
        # What Optuna's Trial.set_constraint stores. TPE looks at COMPLETE and PRUNED rows alone: it would propose
        # again and again what failed for want of memory.
        impossible = ending.failure in INFEASIBLE
        state = TrialState.PRUNED if impossible else ENDINGS[ending.state]

        def ended() -> None:
            # Looked at first: an answer that was lost on its way may have ended it already.
            if self.row(number).finished:
                return
            self.note(number, **attributes)
            if ending.value is not None:
                self.report(number, ending.epoch, ending.value)
            if impossible:
                self.storage.set_trial_system_attr(self._ids[number], "constraints:memory", 1.0)
            self.storage.set_trial_state_values(self._ids[number], state, values)

        self._write(ended)

    def _asked(self, running: Collection[int], space: Samples, target: int | None) -> TrialRow | None:
        """A new row with its settings; where the last try made one and its answer was lost, that one."""
        rows = self._frozen()
        made = [row.number for row in rows if row.state == TrialState.RUNNING and row.number not in running]
        self._ids |= {row.number: row._trial_id for row in rows}
        if made:
            # Adopted, not asked again: a space may give each of its settings once.
            return self.adopt(self.row(made[0]), space)
        if target is not None and self._begun(rows) >= target:
            return None
        number = next((row.number for row in rows if row.state == TrialState.WAITING), len(rows))
        self.study.sampler = self._proposal(number)
        trial = self.study.ask()
        self._ids[trial.number] = trial._trial_id
        return self._settle(trial, space)

    def _begun(self, rows: Iterable[FrozenTrial]) -> int:
        """How many of `rows` count towards those that are asked for."""
        return sum(row.state != TrialState.WAITING for row in rows)

    def _completed(self, number: int, space: Samples) -> TrialRow:
        self._frozen()  # a storage that has forgotten its rows takes no settings for them
        self.study.sampler = self._proposal(number)
        return self._settle(Trial(self.study, self._ids[number]), space)

    def _proposal(self, number: int) -> Proposal:
        return Proposal(derived_seed(self.seed, "sampler", number), self._history, self.sampler)

    def _settle(self, trial: Trial, space: Samples) -> TrialRow:
        settings = dict(space.sample(trial))
        self.note(trial.number, seed=self._seed(trial.number), settings=settings)
        return self.row(trial.number)

    def _seed(self, number: int) -> int:
        """Seed of the training of one row."""
        return derived_seed(self.seed, "trial", number)

    def _mend(self, left: Sequence[TrialRow]) -> None:
        for row in left:
            if verdict := row.attributes.get("verdict"):
                self._end(row.number, Ending(**verdict))
        for loss in losses_among(left):
            if loss.blamed:
                failed = Ending("failed", loss.row.epoch, failure=LOST, message=loss.text)
                self.finish(loss.row.number, failed, losses=loss.count)
            else:
                self.note(loss.row.number, losses=loss.count, counted=loss.row.attempt)

    def _frozen(self) -> list[FrozenTrial]:
        return self.patience.call("read", lambda: self.study.get_trials(deepcopy=False))

    def _write(self, ask: Callable[[], Result]) -> Result:
        """What `ask` returns; all that it writes is in the ledger then, or nothing of it."""

        def guarded() -> Result:
            if self.guard():
                self.storage.forget()
            with self.storage.at_once():
                return ask()

        return self.patience.call("write to", guarded)


def open_ledger(
    url: str, name: str, identity: Identity, seed: int, *, since: Callable[[str], Sequence[str]] = lambda data_hash: ()
) -> Ledger:
    """The study `name` in the database at `url`, made if there is none; its `identity` has the study's id.

    Raises StudyError when the study exists for other data, another split, space or objective, saying what differs, and
    LedgerError when a newer lesion-search wrote it. `since` tells in words what changed in the data since they had a
    content hash.
    """
    storage = SoleWriter(open_storage(url))
    direction = optuna.study.StudyDirection[identity.direction.upper()]
    with explained("open"):
        study = _study(storage, name, direction, seed)
        known = study.user_attrs
        if IDENTITY not in known and known.keys() <= {SEED, KEY} and not study.get_trials(deepcopy=False):
            identity = replace(identity, id=uuid.uuid4().hex)
            # The seed first: the identity says that the study is whole.
            for key, value in {SEED: seed, **attributes_of(identity)}.items():
                study.set_user_attr(key, value)
            return Ledger(study, storage, seed, identity)
    before = identity_in(name, known)
    lines = before.difference(identity)
    if before.data_hash != identity.data_hash:
        lines[1:1] = [f"  {line}" for line in since(before.data_hash)]
    if lines:
        raise StudyError(
            f"the study {name!r} exists for something else:\n  "
            + "\n  ".join(lines)
            + "\nGive the changed search another name (--name, or 'name:' in the space file), or undo the change."
        )
    identity = replace(identity, id=before.id)
    if identity != before or format_of(known) < FORMAT:  # another name or place of the data, or an older form
        with explained("write to"):
            for key, value in attributes_of(identity).items():
                study.set_user_attr(key, value)
    # The seed of the study is that of its first session: a trial's seed must not change between its attempts.
    return Ledger(study, storage, int(known[SEED]), identity)


def _study(storage: SoleWriter, name: str, direction: optuna.study.StudyDirection, seed: int) -> optuna.Study:
    proposal = Proposal(seed, History(direction.name.lower()))
    return optuna.create_study(
        storage=storage, study_name=name, direction=direction, sampler=proposal, load_if_exists=True
    )


def derived_seed(seed: int, purpose: str, number: int) -> int:
    """A 32-bit seed for one purpose and number.

    >>> derived_seed(7, "trial", 0) == derived_seed(7, "trial", 0) != derived_seed(7, "trial", 1)
    True
    """
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}/{number}".encode()).digest()[:4], "big")
