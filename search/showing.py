"""The end of a session: tables and figures in MLflow, where nobody waits for the end and MLflow took all the rest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from search.interrupts import Interrupts
from search.mirror import Mirror
from search.series import Series
from search.workspace import Workspace

if TYPE_CHECKING:
    from search.study import StudyStatus

SECONDS = 30.0
"""How long that may take; the next session, or `sync`, makes what is missing then."""


def show(
    place: Workspace,
    searched: StudyStatus | Series,
    mirror: Mirror,
    interrupts: Interrupts,
    tracking_uri: str | None = None,
) -> str:
    """What a study or its finalists have to show (`search.reporting.artifacts`); in words what is missing, or nothing.

    Says nothing where MLflow did not take everything: the session says so, and `sync` brings this as well.
    """
    if interrupts.signalled or mirror.pending or mirror.problem:
        return ""
    from search.reporting.artifacts import log_series, log_study  # noqa: PLC0415 - seconds, and nobody needed it before

    enough = interrupts.within(SECONDS)
    if isinstance(searched, Series):
        return log_series(place, searched, tracking_uri, enough=enough)
    return log_study(place, searched, tracking_uri, enough=enough)


def show_all(place: Workspace, status: StudyStatus, every: Iterable[Series], tracking_uri: str | None = None) -> str:
    """What a study and its finalists have to show, however long it takes; in words what is missing, or nothing."""
    from search.reporting.artifacts import log_series, log_study  # noqa: PLC0415 - as above

    missing = [log_study(place, status, tracking_uri), *(log_series(place, each, tracking_uri) for each in every)]
    return "; ".join(dict.fromkeys(filter(None, missing)))
