"""The mirror: what happens in the ledger, shown in MLflow; never in the search's way.

Each event goes to a spool on disk and from there, by a thread of its own, to MLflow. A server that is slow, down or
full delays nothing and raises nothing: the events wait, and the next session or `sync` delivers them. Delivering
twice is harmless (`search.tracking`), so everything arrives exactly once. The ledger stays the truth: at every start,
what MLflow lacks is filled in from it.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from search.errors import MirrorError, WorkspaceError
from search.identity import Identity
from search.predictions import PREDICTIONS, load_metrics
from search.rows import TrialRow
from search.spool import Event, Spool
from search.tracking import EPOCH, NAME, PARENT, STATE, STATUS, Change, Run, StudyRuns
from search.workspace import Workspace

PATIENCE = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds between tries while MLflow does not answer."""
Metrics = Callable[[int], Mapping[int, Mapping[str, float]]]
"""All metrics of each epoch of a trial, by its number, as far as they are kept."""
REFUSED = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")
"""MLflow's error codes for what it will never take, however often it is sent."""

_delivering: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
"""One thread at a time delivers what a spool holds."""


class Mirror:
    """Delivers the events of one study; start it, `put` events, `close` it. None of them raises."""

    def __init__(self, runs: StudyRuns, spool: Spool, rejected: Spool, kept: Metrics = lambda number: {}) -> None:
        self.runs, self.spool, self.rejected, self.kept = runs, spool, rejected, kept
        self.problem: str | None = None
        """What MLflow last said when it did not take an event; None while all is well."""
        self._waiting: deque[Event] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._busy = False
        self._doubt = True  # whether MLflow may hold runs that are one too many
        self._rows: list[TrialRow] = []
        self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)

    def start(self, rows: Iterable[TrialRow] = ()) -> None:
        """Begin: first what an earlier session left in the spool, then what `rows` have and MLflow has not."""
        self._rows = list(rows)
        with suppress(OSError):
            self._waiting.extend(self.spool.events())
        self._busy = True
        self._thread.start()

    def put(self, event: Event) -> None:
        """Note an event: on disk, and for the thread."""
        with self._changed:
            try:
                self.spool.append(event)
            except OSError as error:  # a full disk: it is still delivered if MLflow answers before the end
                self.problem = f"the spool {self.spool.path} cannot be written: {error}"
            self._waiting.append(event)
            self._changed.notify_all()

    def retell(self, row: TrialRow) -> None:
        """Note again what the ledger has of a trial that goes on; MLflow gets each epoch once in any case.

        A driver may have died between recording an epoch and noting it here.
        """
        for event in epochs_of(row, self.runs.objective, self.kept):
            self.put(event)

    @property
    def pending(self) -> int:
        """How many events MLflow has not taken."""
        return len(self._waiting)

    def run_id(self, number: int) -> str | None:
        """MLflow's run of a trial, once it is known."""
        return self.runs.known(number)

    def close(self, seconds: float) -> bool:
        """Deliver for `seconds` at most; whether all was delivered. What is left waits in the spool."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while (self._waiting or self._busy) and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            self._closing = True
            self._changed.notify_all()
            delivered = not self._waiting and not self._busy
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)
        return delivered

    def _work(self) -> None:
        # An earlier session of this very process may be at its last write still: both would write the same epoch.
        with _delivering[str(self.spool.path)]:
            self._work_alone()

    def _work_alone(self) -> None:
        failures = 0
        while not self._closing:
            try:
                if self._rows:
                    self._fill()
                self._deliver()
                failures = 0
            except Exception as error:
                self.problem = f"{type(error).__name__}: {str(error).strip()[:300]}"
                self.runs.forget()
                self._doubt = True
                self._rest(PATIENCE[min(failures, len(PATIENCE) - 1)])
                failures += 1

    def _fill(self) -> None:
        """Put in line what the ledger has and MLflow has not; after what the spool holds, which knows more."""
        runs = self.runs.runs()
        told: list[Event] = []
        for row in self._rows:
            if is_behind(row, runs.get(row.number)):
                told += events_of(row, self.runs.objective, self.kept)
        with self._changed:
            self._waiting.extend(told)
        self._rows = []

    def _deliver(self) -> None:
        if not self._waiting and self._doubt:
            # Fresh, for a call that failed may have arrived all the same.
            self.runs.forget()
            self.runs.remove_doubled()
            self._doubt = False
        with self._changed:
            events = list(self._waiting)
            if not events:
                self._busy = False
                with suppress(OSError):
                    self.spool.clear()
                self._changed.notify_all()
                self._changed.wait(1.0)
                return
            self._busy = True
        for number, change in changes_of(events).items():
            self._write(number, change)
        with self._changed:
            for _ in events:
                self._waiting.popleft()
        self.problem = None

    def _write(self, number: int, change: Change) -> None:
        """Bring a run up to `change`; of what MLflow refuses, as much as it takes: a run that has ended must end."""
        if self._refused(number, change) is None:
            return
        for part in change.parts():
            if error := self._refused(number, part):
                # Kept where a person can look at it; sending it again would hold up all the rest for ever.
                with suppress(OSError):
                    self.rejected.append({"trial": number, "error": str(error), **vars(part)})

    def _refused(self, number: int, change: Change) -> Exception | None:
        """What MLflow says where it will never take `change`; None where it took it."""
        try:
            self.runs.write(number, change)
        except Exception as error:
            if getattr(error, "error_code", None) not in REFUSED:
                raise
            return error
        return None

    def _rest(self, seconds: float) -> None:
        with self._changed:
            if not self._closing:
                self._changed.wait(seconds)


def mirror_of(
    workspace: Workspace, study: str, identity: Identity, uri: str | None = None, experiment: str | None = None
) -> Mirror:
    """The mirror of a study, not yet started; `uri` overrules the workspace's tracking server.

    Its runs are in the MLflow experiment of its name, or in another `experiment`.
    """
    uri = uri or workspace.tracking_uri
    runs = StudyRuns(uri, workspace.artifacts, study, identity.key, identity.hash, identity.objective, experiment)
    # By the id: what an earlier ledger left behind must not be told of this study's trials.
    spool = workspace.spool / (f"{study}.{identity.id}.jsonl" if identity.id else f"{study}.jsonl")
    kept = partial(metrics_kept, workspace, study)
    return Mirror(runs, Spool(spool), Spool(spool.with_suffix(".rejected")), kept)


def metrics_kept(workspace: Workspace, study: str, number: int) -> dict[int, dict[str, float]]:
    """All metrics of each epoch of a trial, as they are kept beside its checkpoints; nothing where they are lost."""
    try:
        return load_metrics(workspace.trial(study, number) / PREDICTIONS)
    except (OSError, ValueError, KeyError, WorkspaceError):
        return {}


def deliver_all(mirror: Mirror, rows: Iterable[TrialRow], seconds: float = 300.0) -> None:
    """Bring MLflow up to the ledger now; MirrorError when it did not take everything in time."""
    rows = list(rows)
    mirror.start(rows)
    mirror.put(study_event("complete" if all(row.finished for row in rows) else "interrupted", {}))
    if not mirror.close(seconds):
        why = mirror.problem or f"it did not finish in {seconds:.0f} s"
        raise MirrorError(
            f"MLflow at {mirror.runs.uri} did not take everything ({mirror.pending} events wait in "
            f"{mirror.spool.path}): {why}. Run 'lesion-search sync' again once it answers."
        )


def changes_of(events: Iterable[Event]) -> dict[int, Change]:
    """What is to be written to each run; the study's own run last, so that it ends after its trials."""
    changes: dict[int, Change] = {}
    for event in events:
        changes.setdefault(int(event["trial"]), Change()).add(event)
    return dict(sorted(changes.items(), key=lambda item: item[0] == PARENT))


def started(row: TrialRow, common: Mapping[str, str]) -> Event:
    """A worker has begun a trial, or begun it again."""
    tags = {**common, **_finalist(row), "lesion.seed": row.seed, "lesion.attempt": row.attempt, STATE: "running"}
    return _event(row.number, params=dict(row.settings), tags=tags, state="running")


def epoch_of(number: int, epoch: int, metrics: Mapping[str, float]) -> Event:
    """The metrics of one epoch."""
    return _event(number, epoch=epoch, metrics=dict(metrics))


def ended(row: TrialRow, state: str | None = None) -> Event:
    """A trial has ended, or the session has ended without it (`state` is interrupted)."""
    state = state or row.state
    tags = {STATE: state, EPOCH: row.epoch, "lesion.seconds": f"{row.seconds:.1f}", "lesion.examples": row.examples}
    if row.failure:
        tags |= {"lesion.failure": row.failure, "lesion.message": row.message or ""}
    if row.damage:
        tags["lesion.damage"] = row.damage
    return _event(row.number, tags=tags, state=state)


def study_event(state: str, tags: Mapping[str, Any]) -> Event:
    """The study itself: its session began, or ended with `state`."""
    return _event(PARENT, tags={STATE: state, **tags}, state=state)


def events_of(row: TrialRow, objective: str, kept: Metrics) -> list[Event]:
    """A trial told again from the ledger, with the metrics `kept` of it."""
    if row.state == "waiting" or not row.settings:
        return []
    epochs = epochs_of(row, objective, kept)
    return [started(row, {}), *epochs, ended(row, "interrupted" if row.state == "running" else None)]


def epochs_of(row: TrialRow, objective: str, kept: Metrics) -> list[Event]:
    """The epochs of a trial told again: the ledger knows the objective of each, and all metrics of the last one.

    The other metrics are those `kept` beside its checkpoints, where they are of the line of epochs that was recorded.
    """
    known = kept(row.number) if row.history else {}
    events = []
    for epoch, value in row.history.items():
        metrics = known.get(epoch, {})
        metrics = metrics if metrics.get(objective) == value else {}
        last = row.metrics if epoch == row.epoch else {}
        events.append(epoch_of(row.number, epoch, {**metrics, **last, objective: value}))
    return events


def is_behind(row: TrialRow, run: Run | None) -> bool:
    """Whether MLflow does not show a trial, which no worker has, as the ledger has it: tags and status both.

    The status is written last, and a run whose tags are all there may be RUNNING for ever.
    """
    if row.state == "waiting" or not row.settings:
        return False
    state = "interrupted" if row.state == "running" else row.state
    shown = run and (run.tags.get(STATE), run.tags.get(EPOCH), run.status)
    return shown != (state, str(row.epoch), STATUS[state])


def _finalist(row: TrialRow) -> dict[str, Any]:
    """Tags of a run whose settings come from another trial."""
    if row.finalist_of is None:
        return {}
    tags = {NAME: f"trial {row.label}", "lesion.role": "finalist", "lesion.finalist_of": row.finalist_of}
    return tags | {"lesion.index": row.index} | ({"lesion.split": row.split} if row.split else {})


def _event(number: int, **content: Any) -> Event:
    return {"trial": number, "time": int(time.time() * 1000), **content}
