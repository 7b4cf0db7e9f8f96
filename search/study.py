"""Studies: run one, continue it, look at it.

>>> from search import run_study                                        # doctest: +SKIP
>>> result = run_study("spaces/isic2017.yaml", trials=24, hours=1.5)    # doctest: +SKIP
>>> result.best.value, result.best.settings["backbone"]                 # doctest: +SKIP

The same call continues a study that was interrupted, and more trials extend it. `hours` limit the wall clock of one
session, so that the same command goes on the next night.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import optuna

from lesion.data.packed import PackedDataset, open_data
from lesion.data.travel import is_source
from lesion.errors import unknown
from search.database import cut_short, explained, open_storage
from search.errors import LedgerAccessError, LedgerError, StudyError
from search.flatness import Left, asker
from search.formats import identity_in
from search.identity import Identity
from search.interrupts import Interrupts
from search.ledger import open_ledger
from search.locks import driving, is_driven
from search.mirror import deliver_all, mirror_of
from search.preflight import absent_classes, require_external, require_judge, require_weights, task_of
from search.probes import keys_of
from search.progress import StudyState
from search.rows import TrialRow, best_row, row_of
from search.series import series_of, study_of
from search.session import Plan, Session
from search.showing import show, show_all
from search.space import Given, Space, load
from search.trial import Builds, Job, build_training
from search.unchanged import Unchanged
from search.workspace import Workspace, checked_name, existing_workspace, open_workspace


@dataclass(frozen=True)
class StudyStatus:
    """A study as the ledger has it; `driven` says whether a process is running it now."""

    name: str
    identity: Identity
    rows: tuple[TrialRow, ...]
    driven: bool

    @property
    def best(self) -> TrialRow | None:
        """The best complete trial, else the best of the pruned ones that went furthest, else None."""
        return best_row(list(self.rows), self.identity.direction)

    @property
    def counts(self) -> Mapping[str, int]:
        """Trials by state; unfinished ones are interrupted when no process runs the study."""
        return Counter(self.state_of(row) for row in self.rows)

    def state_of(self, row: TrialRow) -> str:
        """State of a row, with "interrupted" for one that waits to be taken up again."""
        return "interrupted" if row.state == "running" and not self.driven else row.state


@dataclass(frozen=True)
class StudyResult(StudyStatus):
    """What a session left: `ended` is "complete", "SIGINT", "SIGTERM", "hours", "device_hours" or "flat".

    `left` is what was still to be gained, where that was asked for; `unshown` says in words which tables and figures
    MLflow lacks, and why (empty where it lacks none, or was not asked).
    """

    ended: str = "complete"
    target: int = 0
    seconds: float = 0.0
    unmirrored: int = 0
    mirror_problem: str | None = None
    left: Left | None = None
    unshown: str = ""

    @property
    def complete(self) -> bool:
        """Whether all the trials asked for have ended."""
        return sum(row.finished for row in self.rows) >= self.target

    @property
    def message(self) -> str:
        """In words: how it ended, and how to go on."""
        done = sum(row.finished for row in self.rows)
        if self.complete:
            text = f"{self.name}: all {done} trials have ended"
        elif self.ended == "flat":
            text = f"{self.name}: the search is flat after {done} of {self.target} trials: {self.left}"
        else:
            used_up = {"hours": "the hours are used up", "device_hours": "the device hours are used up"}
            why = used_up.get(self.ended, f"interrupted ({self.ended})")
            open_ = self.counts.get("interrupted", 0)
            text = (
                f"{self.name}: {why} after {done} of {self.target} trials, {open_} of them half-way; "
                "nothing is lost, the same command continues"
            )
        if self.unmirrored:
            text += f". {self.unmirrored} events wait for MLflow: run 'lesion-search sync {self.root}' once it answers"
        elif self.unshown:
            text += (
                f". MLflow lacks some tables and figures ({self.unshown}): 'lesion-search sync {self.root}' makes them"
            )
        return text

    @property
    def root(self) -> str:
        """The study that commands name."""
        return self.name


def run_study(
    space: Space | Path | str,
    workspace: Workspace | Path | str | None = None,
    *,
    name: str | None = None,
    data: str | None = None,
    overrides: Given = (),
    trials: int | None = None,
    hours: float | None = None,
    device_hours: float | None = None,
    concurrent: int | None = None,
    gpus_per_trial: float | None = None,
    address: str | None = None,
    tracking_uri: str | None = None,
    progress: Callable[[StudyState], None] | None = None,
    warn: Callable[[str], object] = warnings.warn,
    build: Builds = build_training,
) -> StudyResult:
    """Search `space` until it has the trials asked for, going on where an earlier session ended.

    `data`, `trials`, `hours` and `device_hours` overrule the space file, `name` its name, and `overrides` anything in
    it, by path (``{"backbone": "mobilenet_v2", "image_size": 128}``). `concurrent` trials run at a time, each with
    `gpus_per_trial` GPUs (several train it at once, a fraction shares one, 0 stays on CPUs) where there are any, on the
    Ray cluster at `address` or on this machine. `progress` is called about twice a second; `warn` is told before the
    first trial what will be missing, such as a class without validation images.

    Ctrl-C and SIGTERM end the session within seconds and return; the same call continues. Raises SpaceError, DataError,
    SettingError, WeightsError, WorkspaceError, ClusterError, LedgerError, and StudyError when the study exists for
    other data or another space.
    """
    began = time.monotonic()
    place = open_workspace(workspace)
    space = _space(space, overrides)
    study = _new_name(name or space.name)
    where = data or space.data
    packed = open_data(place.path, where)
    source = where if is_source(where) else ""
    unchanged = Unchanged(packed, place.cache)
    unchanged.verify()
    _look_ahead(space, packed, warn)
    _require_ledger(place)
    with driving(place.lock(study), study, place.ledger_url) as hold, Interrupts() as interrupts:
        identity = identity_of(space, packed, source)
        ledger = open_ledger(place.ledger_url, study, identity, space.seed, since=unchanged.since)
        ledger.sampler = space.sampler
        ledger.guard = hold.confirm
        ledger.patience.hurried = ledger.storage.wait.hurried = lambda: interrupts.asked is not None
        identity = ledger.identity
        plan = Plan(
            workspace=place,
            space=space,
            identity=identity,
            job=_job(place, study, space, packed, identity, build, source),
            target=space.budget.trials if trials is None else trials,
            seconds=_seconds(space.budget.hours if hours is None else hours),
            concurrent=concurrent,
            gpus_per_trial=gpus_per_trial,
            address=address,
            patience=space.budget.patience_minutes * 60,
            device_seconds=_seconds(space.budget.device_hours if device_hours is None else device_hours),
            require_unchanged=unchanged.still,
            left=asker(place, study, space, packed, identity) if space.budget.stop_when_flat else None,
            resources=space.resources,
            keys=partial(keys_of, space),
            warn=warn,
        )
        mirror = mirror_of(place, study, identity, tracking_uri)
        session = Session(plan, ledger, mirror, interrupts, progress)
        ended = session.run()
        rows = tuple(ledger.rows())
        unshown = show(place, StudyStatus(study, identity, rows, True), mirror, interrupts, tracking_uri)
    seconds = time.monotonic() - began
    return StudyResult(
        study, identity, rows, False, ended, plan.target, seconds, mirror.pending, mirror.problem, session.left, unshown
    )


def _new_name(name: str) -> str:
    if study_of(name) is not None:
        raise StudyError(f"a study cannot be called {name!r}: names of this kind are those of finalists; use another")
    return checked_name(name)


def _space(space: Space | Path | str, overrides: Given) -> Space:
    if not isinstance(space, Space):
        return load(Path(space), overrides=overrides)
    if overrides:
        raise ValueError("overrides go with the path of a space file; a Space has been read already")
    return space


def _look_ahead(space: Space, packed: PackedDataset, warn: Callable[[str], object]) -> None:
    """Say or raise before the first trial what every trial would run into."""
    task = task_of(space, packed)
    data = packed if task is None else task.apply(packed)
    require_judge(space, data)
    require_external(space, data)
    require_weights(space)
    for line in (*space.notes, *absent_classes(data, data.split(space.split))):
        warn(line)


def identity_of(space: Space, data: PackedDataset, source: str = "") -> Identity:
    """What a study of `space` on `data` is of; `source` is their address, where they have one."""
    split = data.split(space.split)
    return Identity(
        data=data.name,
        data_hash=data.content_hash,
        split=split.name,
        split_hash=split.hash,
        objective=space.objective,
        direction=space.direction,
        semantics=space.semantics(),
        location=source or str(data.path.absolute()),
    )


def study_status(workspace: Workspace | Path | str | None, name: str) -> StudyStatus:
    """A study from the ledger alone, without Ray or MLflow; LedgerError names the known ones."""
    place = existing_workspace(workspace)
    known = _summaries(place)
    if name not in known:
        raise LedgerError(f"{place.path}: {unknown('study', name, known)}")
    with explained("read"):
        study = optuna.load_study(study_name=name, storage=open_storage(place.ledger_url))
        rows = tuple(row_of(trial) for trial in study.get_trials(deepcopy=False))
        identity = identity_in(name, study.user_attrs)
    return StudyStatus(name, identity, rows, is_driven(place.lock(name), name, place.ledger_url))


def studies(workspace: Workspace | Path | str | None = None) -> list[str]:
    """Names of the studies in the workspace's ledger, sorted."""
    return sorted(_summaries(existing_workspace(workspace)))


def sync(workspace: Workspace | Path | str | None, name: str, tracking_uri: str | None = None) -> str:
    """Bring MLflow up to the ledger, finalists included: what waits in the spool, then whatever is missing.

    Tables and figures come last; returns in words which of them are missing all the same, and why, or nothing. Raises
    MirrorError when MLflow does not take the rest, and LedgerError while another process drives the study.
    """
    place = open_workspace(workspace)
    status = study_status(place, name)
    with driving(place.lock(name), name, place.ledger_url):
        deliver_all(mirror_of(place, name, status.identity, tracking_uri), status.rows)
        every = series_of(place, name)
        for series in every:
            deliver_all(mirror_of(place, series.name, series.identity, tracking_uri, experiment=name), series.rows)
        return show_all(place, status, every, tracking_uri)


def _summaries(place: Workspace) -> list[str]:
    url = place.ledger_url
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        return []
    _require_ledger(place)
    with explained("read"):
        return [name for name in optuna.get_all_study_names(open_storage(url)) if name and study_of(name) is None]


def _require_ledger(place: Workspace) -> None:
    problem = cut_short(place.ledger_url, place.studies_on_disk())
    if problem:
        raise LedgerAccessError(problem)


def _job(
    place: Workspace,
    study: str,
    space: Space,
    packed: PackedDataset,
    identity: Identity,
    build: Builds,
    source: str,
) -> Job:
    return Job(
        study=study,
        identity=identity.key,
        task=task_of(space, packed),
        cache=place.cache,
        data=packed.path.absolute(),
        split=identity.split,
        objective=space.objective,
        epochs=space.budget.epochs,
        folder=place.checkpoints(study),
        build=build,
        source=source,
        data_hash=identity.data_hash,
    )


def _seconds(hours: float | None) -> float | None:
    return None if hours is None else hours * 3600
