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
from contextlib import contextmanager
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
    passed_over: list[str] = []
    for name in [name for name in known if study in (None, name)]:
        # Before the lock is taken, which writes a note of its own.
        found += _treated(of_locks(place, name), fix)
        try:
            with _at_rest(place, name, fix):
                found += _of_study(place, name, fix, tracking_uri)
        except LedgerAccessError as error:
            passed_over.append(str(error))
    if study is None:
        passed_over += [f"{lock} is held: somebody else is at work here" for lock in _of_others(place, known)]
    if study is None and not passed_over:
        found += _treated(_of_all_studies(place), fix)
    elif study is None:
        passed_over.append("cache, reports and scratch folders were not looked at while a study is driven")
    if study is None:
        found += _of_no_study(place, known, fix, tracking_uri, passed_over)
    return Examination(place.path, tuple(found), tuple(usage_of(place, known)), tuple(passed_over))


def _of_others(place: Workspace, known: list[str]) -> Iterator[Path]:
    """Locks that are held now of studies that another ledger holds, and of promotions."""
    for lock in sorted(place.path.glob("locks/*.lock")):
        if lock.stem not in known and is_driven(lock):
            yield lock


def _of_all_studies(place: Workspace) -> Iterator[Finding]:
    """What no study in particular has left; asked for only while none is driven."""
    yield from of_scratch(place)
    yield from of_half_written(place.reports, AT_WORK)  # a promotion or a report needs no study's lock
    yield from of_cache(place.cache)


def _of_no_study(
    place: Workspace, known: list[str], fix: bool, uri: str | None, passed_over: list[str]
) -> list[Finding]:
    """What the ledger knows nothing of, unless it may stand in another one."""
    if has_another_ledger(place):
        passed_over.append(
            "what is of no study was not looked at: beside the ledger in use (LESION_LEDGER), the workspace has its own"
        )
        return []
    found = _treated(of_strange_checkpoints(place, known), fix)
    try:
        found += _treated(of_strange_runs(place, known, uri), fix)
    except MirrorError as error:
        found += [] if known else [_away("the workspace", error)]  # with a study it was told before
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
