"""Finalists: the best settings of a study run again, so that they are judged by more than their luckiest run.

>>> from search import run_finalists                                    # doctest: +SKIP
>>> result = run_finalists("isic2017", top=5, seeds=3)                  # doctest: +SKIP
>>> result.standings[0].trial.number, result.standings[0].interval      # doctest: +SKIP

The best of many trials is as much lucky as good: its fresh runs score less on average (the winner's curse). So the
best few are run on fresh seeds or on folds, with the machinery of a search: the same call continues, more seeds run
what is missing, and nothing is run twice.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import optuna

from lesion.data.packed import PackedDataset
from lesion.data.travel import is_source
from lesion.errors import DataError, LesionError, WeightsError
from lesion.tasks import Task
from search.database import open_storage
from search.errors import FinalistsError, SearchError, StudyError
from search.formats import SEED
from search.interrupts import Interrupts
from search.ledger import open_ledger
from search.locks import driving
from search.mirror import mirror_of
from search.preflight import SUFFIXES, absent_classes, followed, undefined_on
from search.progress import StudyState
from search.reopened import data_of, through_task
from search.rows import TrialRow
from search.series import (
    Entries,
    Entry,
    Series,
    SeriesLedger,
    folds_of,
    series_identity,
    series_name,
    series_of,
)
from search.session import Plan, Session
from search.showing import show
from search.standings import Standing, standings
from search.study import StudyResult, StudyStatus, study_status
from search.trial import Builds, Job, build_training
from search.unchanged import Unchanged
from search.workspace import Workspace, checked_name, existing_workspace, open_workspace

TOP, SEEDS = 5, 3


@dataclass(frozen=True)
class _Asked:
    """Which runs are asked for, as `run_finalists` is told."""

    study: str
    top: int
    trials: tuple[int, ...]
    seeds: int | None
    folds: int | None
    epochs: int | None


@dataclass(frozen=True)
class _Limits:
    """What a session may use."""

    seconds: float | None
    concurrent: int | None
    gpus_per_trial: float | None
    address: str | None


@dataclass(frozen=True)
class FinalistsResult(StudyResult):
    """What a session of finalists left: its rows are those asked for; `standings` rank the settings, best first."""

    study: str = ""
    standings: tuple[Standing, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def series(self) -> Series:
        """The rows as a series."""
        return Series(self.name, self.study, self.identity, self.rows)

    @property
    def root(self) -> str:
        """The study that commands name."""
        return self.study


def run_finalists(
    study: str,
    workspace: Workspace | Path | str | None = None,
    *,
    top: int = TOP,
    seeds: int | None = None,
    folds: int | None = None,
    trials: Sequence[int] = (),
    epochs: int | None = None,
    hours: float | None = None,
    concurrent: int | None = None,
    gpus_per_trial: float | None = None,
    address: str | None = None,
    tracking_uri: str | None = None,
    progress: Callable[[StudyState], None] | None = None,
    warn: Callable[[str], object] = warnings.warn,
    build: Builds = build_training,
) -> FinalistsResult:
    """Run the best `top` settings of `study` again: on `seeds` fresh seeds (3 unless told), or on `folds` folds.

    `trials` names them by number instead. `epochs` trains them longer or shorter than the search did. The other
    arguments are those of `run_study`, and so are interruptions: the same call continues, a call that asks for more
    runs what is missing. Raises FinalistsError for what cannot be asked, LedgerError, DataError, WeightsError,
    PromotionError where the data are no longer those of the study, ClusterError.
    """
    began = time.monotonic()
    place = open_workspace(workspace)
    asked = _Asked(study, top, tuple(trials), seeds, folds, epochs)
    limits = _Limits(None if hours is None else hours * 3600, concurrent, gpus_per_trial, address)
    with driving(place.lock(study), study, place.ledger_url) as hold, Interrupts() as interrupts:
        status = study_status(place, study)
        stored = data_of(place, study, status.identity)
        unchanged = Unchanged(stored, place.cache)
        unchanged.verify()
        _require_same_splits(status, stored)
        ledger, notes = _opened(place, status, stored, asked)
        ledger.guard = hold.confirm
        ledger.patience.hurried = ledger.storage.wait.hurried = lambda: interrupts.asked is not None
        plan = _plan(place, status, stored, ledger, limits, build)
        plan = replace(plan, require_unchanged=unchanged.still, warn=warn)
        mirror = mirror_of(place, ledger.entries.series, ledger.identity, tracking_uri, experiment=study)
        ended = Session(plan, ledger, mirror, interrupts, progress).run()
        series = Series(ledger.entries.series, study, ledger.identity, tuple(ledger.rows()))
        unshown = show(place, series, mirror, interrupts, tracking_uri)
    return FinalistsResult(
        series.name, series.identity, series.rows, False, ended, plan.target, time.monotonic() - began,
        mirror.pending, mirror.problem, unshown=unshown, study=study, notes=notes,
        standings=standings(place, series, status.rows, through_task(status.identity, stored)),
    )  # fmt: skip


def all_standings(
    workspace: Workspace | Path | str | None, status: StudyStatus
) -> list[tuple[Series, tuple[Standing, ...]]]:
    """Every series of a study with its standings; without intervals where the study's data are not to be had."""
    place = existing_workspace(workspace)
    every = series_of(place, status.name)
    if not every:
        return []
    try:
        data: PackedDataset | None = through_task(status.identity, data_of(place, status.name, status.identity))
    except (LesionError, SearchError):  # the numbers of the ledger stand without them
        data = None
    return [(series, standings(place, series, status.rows, data)) for series in every]


def choose(status: StudyStatus, top: int, trials: Sequence[int] = ()) -> tuple[list[TrialRow], tuple[str, ...]]:
    """The trials whose settings are to be run again, and what is not as usual about them.

    The best `top`: complete ones by value, then pruned ones that went furthest. Settings that are the same count once.
    Raises FinalistsError when `trials` names one that is not there, or when none has ended.
    """
    if trials:
        return _named(status, trials), ()
    sign = 1.0 if status.identity.direction == "maximize" else -1.0
    ended = [row for row in status.rows if row.state in ("complete", "pruned") and row.value is not None]
    ranked = sorted(ended, key=lambda row: (-row.depth, -sign * float(row.value or 0.0), row.number))
    chosen: list[TrialRow] = []
    for row in ranked:
        if len(chosen) < top and all(row.settings != other.settings for other in chosen):
            chosen.append(row)
    if not chosen:
        raise FinalistsError(f"no trial of {status.name} has ended yet; continue it with 'lesion-search run'")
    return chosen, tuple(_notes(chosen, top))


def _named(status: StudyStatus, trials: Iterable[int]) -> list[TrialRow]:
    rows = {row.number: row for row in status.rows if row.settings}
    unknown = [number for number in trials if number not in rows]
    if unknown:
        raise FinalistsError(
            f"{status.name} has no settings of trial {', '.join(map(str, unknown))}; "
            f"'lesion-search status {status.name} --top 0' lists its trials"
        )
    return [rows[number] for number in dict.fromkeys(trials)]


def _notes(chosen: Sequence[TrialRow], top: int) -> Iterable[str]:
    pruned = [str(row.number) for row in chosen if row.state == "pruned"]
    if len(chosen) < top:
        yield f"only {len(chosen)} different settings have ended, {top} were asked for"
    if pruned:
        whose = "trials" if len(pruned) > 1 else "trial"
        yield f"{whose} {', '.join(pruned)} had been pruned; there are no more complete ones"


def _on_folds(seeds: int | None, folds: int | None, data: PackedDataset) -> bool:
    """Whether folds are asked for; FinalistsError for what cannot be."""
    if folds is None:
        return False
    there = len(folds_of(data))
    if seeds is not None:
        raise FinalistsError("either fresh seeds or folds: their scores cannot be compared; run the command twice")
    if not 2 <= folds <= there:
        raise FinalistsError(f"{folds} folds: {data.name} is prepared with {there}, so 2 to {there} can be asked for")
    return True


def _entries(series: str, chosen: Sequence[TrialRow], seeds: int, folds: int | None) -> Entries:
    """All first runs before all second ones: an interrupted session has something to say of every setting."""
    splits = [None] * seeds if folds is None else [f"fold-{fold}" for fold in range(folds)]
    return Entries(
        series,
        tuple(Entry(row.number, index, row.settings, split) for index, split in enumerate(splits) for row in chosen),
    )


def _require_same_splits(status: StudyStatus, data: PackedDataset) -> None:
    """StudyError where the data were prepared anew and are torn elsewhere; other images are found by `data_of`."""
    now = replace(status.identity, split_hash=data.split(status.identity.split).hash)
    if lines := status.identity.difference(now):
        raise StudyError(f"{status.name} was searched on something else:\n  " + "\n  ".join(lines))


def _require_weights(chosen: Sequence[TrialRow]) -> None:
    """WeightsError where a file of weights is gone: every run of its settings would fail, for good."""
    gone = {
        f"trial {row.number}: no weights file {value} (looked in {Path.cwd()})"
        for row in chosen
        for path, value in row.settings.items()
        if path.endswith(".weights") and str(value).endswith(SUFFIXES) and not Path(str(value)).is_file()
    }
    if gone:
        raise WeightsError("\n".join(sorted(gone)))


def _require_judges(
    status: StudyStatus, chosen: Sequence[TrialRow], data: PackedDataset, splits: Iterable[str]
) -> Iterator[str]:
    """What else lacks a class on `splits`, in words; DataError where runs would fail there after their first epoch."""
    seen = through_task(status.identity, data)
    names = sorted({status.identity.objective}.union(*(followed(row.settings) for row in chosen)))
    for split in map(seen.split, splits):
        absent = absent_classes(seen, split)
        if undefined := undefined_on(seen, split, names):
            raise DataError(
                f"{status.name}: {', '.join(undefined)} is undefined on the validation part of {split.name} "
                f"({'; '.join(absent)}): every run on it would fail; ask for fresh seeds (--seeds) or fewer folds, or "
                "prepare the data with fewer"
            )
        yield from absent


def _opened(
    place: Workspace, status: StudyStatus, data: PackedDataset, asked: _Asked
) -> tuple[SeriesLedger, tuple[str, ...]]:
    """The series, seen through the runs asked for, and what is not as usual about them."""
    on_folds = _on_folds(asked.seeds, asked.folds, data)
    epochs = int(status.identity.semantics["epochs"]) if asked.epochs is None else asked.epochs
    name = checked_name(series_name(asked.study, status.identity, epochs, on_folds=on_folds))
    chosen, notes = choose(status, asked.top, asked.trials)
    _require_weights(chosen)
    splits = [f"fold-{fold}" for fold in range(asked.folds or 0)] or [status.identity.split]
    notes = (*notes, *_require_judges(status, chosen, data, splits))
    identity = series_identity(status.identity, data, epochs, on_folds=on_folds)
    searched = optuna.load_study(study_name=asked.study, storage=open_storage(place.ledger_url))
    ledger = open_ledger(place.ledger_url, name, identity, int(searched.user_attrs[SEED]))
    return SeriesLedger(ledger, _entries(name, chosen, asked.seeds or SEEDS, asked.folds)), notes


def _plan(
    place: Workspace, status: StudyStatus, data: PackedDataset, ledger: SeriesLedger, limits: _Limits, build: Builds
) -> Plan:
    entries, identity = ledger.entries, ledger.identity
    job = Job(
        study=entries.series,
        identity=identity.key,
        task=None if identity.task is None else Task.read(identity.task, data.classes),
        cache=place.cache,
        data=data.path.absolute(),
        split=status.identity.split,  # runs on folds bring their own
        objective=identity.objective,
        epochs=int(identity.semantics["epochs"]),
        folder=place.checkpoints(entries.series),
        build=build,
        source=identity.location if is_source(identity.location) else "",
        data_hash=identity.data_hash,
    )
    count = len(entries.entries)
    return Plan(
        place, entries, identity, job, target=count, seconds=limits.seconds, concurrent=limits.concurrent,
        gpus_per_trial=limits.gpus_per_trial, address=limits.address, kept=count,
    )  # fmt: skip
