"""The doctor: what crashes left behind in a workspace, across ledger, files and MLflow, found and mended.

>>> from search.doctor import examine                                        # doctest: +SKIP
>>> [finding.kind for finding in examine("workspace").findings]             # doctest: +SKIP
['zombie row', 'zombie run', 'stale lock']
>>> examine("workspace", fix=True).clean                                     # doctest: +SKIP
True

Nothing of this is needed for a search to go on: the next session mends what stands in its way. It is for who wants to
see that all is well, or to have it so without running anything. No result of a study in the ledger is ever deleted. A
study that is being driven is passed over: what moves cannot be judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain
from pathlib import Path

from lesion.errors import unknown
from search.doctor.cache import of_cache
from search.doctor.files import of_files, of_half_written, of_locks
from search.doctor.findings import Examination, Finding, Usage, readable
from search.doctor.rows import of_rows
from search.doctor.runs import of_promotions, of_runs, of_spool
from search.doctor.strangers import has_another_ledger, of_strange_checkpoints, of_strange_runs
from search.doctor.workspace import of_ledger_file, of_scratch, usage_of
from search.errors import LedgerAccessError, LedgerError, MirrorError
from search.locks import driving, is_driven
from search.retention import KEPT
from search.series import series_of
from search.study import StudyStatus, studies, study_status
from search.workspace import Workspace, existing_workspace

__all__ = ["Examination", "Finding", "Usage", "examine", "readable"]

AT_WORK = 600.0
"""Seconds after which nobody works on a half-written file any more: writing one takes moments."""


def examine(
    workspace: Workspace | Path | str | None = None,
    study: str | None = None,
    *,
    fix: bool = False,
    tracking_uri: str | None = None,
) -> Examination:
    """Examine one `study` with what belongs to it, or all of the workspace; with `fix`, mend what can be mended.

    Raises WorkspaceError where there is no workspace, and LedgerError where there is no such study.
    """
    place = existing_workspace(workspace)
    found = list(of_ledger_file(place))
    if found:  # a damaged ledger: nothing else can be told from it
        return Examination(place.path, tuple(found), tuple(usage_of(place, ())))
    known = studies(place)
    if study is not None and study not in known:
        raise LedgerError(f"{place.path}: {unknown('study', study, known)}")
    passed_over: dict[str, str] = {}
    for name in [name for name in known if study in (None, name)]:
        # Before the lock is taken, which writes a note of its own.
        found += _treated(of_locks(place, name), fix)
        try:
            with _at_rest(place, name, fix):
                found += _of_study(place, name, fix, tracking_uri)
        except LedgerAccessError as error:
            passed_over[name] = str(error)
    if study is None:
        found += _treated(_of_all_studies(place, passed_over), fix)
        found += _of_no_study(place, fix, tracking_uri, passed_over)
    with suppress(LedgerAccessError):  # some may have begun meanwhile
        known = studies(place)
    return Examination(place.path, tuple(found), tuple(usage_of(place, known)), tuple(passed_over.values()))


def _of_all_studies(place: Workspace, passed_over: dict[str, str]) -> Iterator[Finding]:
    """What no study in particular has left, until somebody is at work, which is asked before each single thing."""
    if _left_alone(place, passed_over):
        return
    left = chain(
        of_scratch(place),
        of_half_written(place.reports, AT_WORK),  # a report needs no lock
        of_cache(place.cache),
    )
    for finding in left:
        if _left_alone(place, passed_over):
            return
        yield finding


def _left_alone(place: Workspace, passed_over: dict[str, str]) -> bool:
    """Whether a study could not be looked at, or a lock is held now: of any study, in any ledger, or of a promotion."""
    for lock in sorted(place.path.glob("locks/*.lock")):
        if lock.stem not in passed_over and is_driven(lock):
            passed_over[lock.stem] = f"{lock} is held: somebody else is at work here"
    if passed_over:
        passed_over[""] = "cache, reports and scratch folders are left alone while a study is driven"
    return bool(passed_over)


def _of_no_study(place: Workspace, fix: bool, uri: str | None, passed_over: dict[str, str]) -> list[Finding]:
    """What the ledger knows nothing of, unless it may stand in another one."""
    beside = "what is of no study was not looked at: "
    if has_another_ledger(place):
        passed_over[beside] = f"{beside}beside the ledger in use (LESION_LEDGER), the workspace has its own"
        return []
    found: list[Finding] = []
    try:
        found += _treated(of_strange_checkpoints(place), fix)
        found += _treated(of_strange_runs(place, uri), fix)
    except MirrorError as error:
        found += [] if studies(place) else [_away("the workspace", error)]  # with a study it was told before
    except LedgerAccessError as error:
        passed_over[beside] = f"{beside}{error}"
    return found


@contextmanager
def _at_rest(place: Workspace, name: str, fix: bool) -> Iterator[None]:
    """The study is nobody's meanwhile; to look at it, it is enough that nobody has it now."""
    if fix:
        with driving(place.lock(name), name, place.ledger_url):
            yield
        return
    if study_status(place, name).driven:
        raise LedgerAccessError(f"the study {name!r} is being driven; look again once it has ended")
    yield


def _of_study(place: Workspace, study: str, fix: bool, uri: str | None) -> list[Finding]:
    """What is found of a study, and of each series of its finalists, which is driven under the study's lock."""
    found = _of_rows_files_runs(lambda: study_status(place, study), place, study, fix, uri)
    for index, _ in enumerate(series_of(place, study)):
        found += _of_rows_files_runs(partial(_series_status, place, study, index), place, study, fix, uri)
    return found


def _of_rows_files_runs(
    look: Callable[[], StudyStatus], place: Workspace, experiment: str, fix: bool, uri: str | None
) -> list[Finding]:
    """Rows first, then files, then MLflow, each with what the one before has mended."""
    steps: tuple[Callable[[StudyStatus], Iterable[Finding]], ...] = (
        lambda status: of_rows(place, status),
        lambda status: of_files(place, status, None if status.name != experiment else KEPT),
        lambda status: of_spool(place, status, experiment, uri),
        lambda status: chain(
            of_runs(place, status, experiment, uri),
            of_promotions(place, status, uri) if status.name == experiment else (),
        ),
    )
    found: list[Finding] = []
    status = look()
    for step in steps:
        try:
            new = _treated(step(status), fix)
            found += new
            status = look() if any(finding.mended for finding in new) else status
        except MirrorError as error:
            found.append(_away(f"study {status.name}", error))
    return found


def _away(where: str, error: MirrorError) -> Finding:
    return Finding(
        "MLflow away", where, str(error), "whether it holds what the ledger has is not known",
        "start it, mend it, or correct MLFLOW_TRACKING_URI, and look again",
    )  # fmt: skip


def _series_status(place: Workspace, study: str, index: int) -> StudyStatus:
    series = series_of(place, study)[index]
    return StudyStatus(series.name, series.identity, series.rows, driven=False)


def _treated(findings: Iterable[Finding], fix: bool) -> list[Finding]:
    return [finding.treated() if fix else finding for finding in findings]
