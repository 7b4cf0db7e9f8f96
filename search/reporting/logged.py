"""The report in MLflow: its files, what the study shows there besides, and what its runs say they ran with.

MLflow is a mirror: when it does not answer, the report is made all the same, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from search.errors import first_line
from search.mirror import mirror_of
from search.registered import Registry
from search.reporting.artifacts import log_study
from search.reporting.gather import Reading
from search.study import StudyStatus
from search.tracking import PARENT, StudyRuns
from search.workspace import Workspace

REPORT = "report"
SHOWN = ("lesion.host", "lesion.python", "mlflow.source.git.commit")


def environment_of(
    place: Workspace, status: StudyStatus, tracking_uri: str | None = None
) -> tuple[dict[str, str], str]:
    """What the study's runs say they ran with; and in words why that is not known, empty where it is."""
    try:
        runs = _runs(place, status, tracking_uri).runs()
    except Exception as problem:  # whatever MLflow raises, the report is made
        return {}, f"MLflow does not say what the search ran with: {first_line(problem)}"
    if PARENT not in runs:
        return {}, "MLflow holds no run of this study; 'lesion-search sync' brings it there"
    tags = runs[PARENT].tags
    named = {
        name.removeprefix("lesion.version.").removeprefix("lesion.").removeprefix("mlflow.source."): value
        for name, value in sorted(tags.items())
        if name in SHOWN or name.startswith("lesion.version.")
    }
    return named, "" if named else "MLflow's run of this study does not say what the search ran with"


def scored_elsewhere(
    place: Workspace, part: str, tracking_uri: str | None = None
) -> tuple[Mapping[str, Collection[str]], str]:
    """Models by study that the test part of content hash `part` has scored; and why MLflow does not tell, or empty."""
    if not part:
        return {}, ""
    try:
        return Registry(tracking_uri or place.tracking_uri, place.artifacts).scored(part), ""
    except Exception as problem:  # whatever MLflow raises, the report is made
        return {}, f"openings of the test part are counted in this workspace alone: {first_line(problem)}"


def log_report(
    place: Workspace,
    reading: Reading,
    files: Sequence[Path],
    tracking_uri: str | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> str:
    """Put the report's files into MLflow, and what is missing there of the study; empty, or why that failed."""
    try:
        runs = _runs(place, reading.status, tracking_uri)
        known = runs.runs()
        if PARENT not in known:
            return f"MLflow at {runs.uri} holds no run of {reading.status.name}; run 'lesion-search sync' first"
        say("logging to MLflow")
        for file in files:
            runs.client.log_artifact(known[PARENT].id, str(file), REPORT)
    except Exception as problem:  # whatever MLflow raises, the report is on disk
        return (
            f"MLflow did not take the report: {first_line(problem)}. Run 'lesion-search report' again once it answers"
        )
    if missing := log_study(place, reading.status, tracking_uri, say=say):
        return f"MLflow has the report, but not all tables and figures of its trials: {missing}"
    return ""


def _runs(place: Workspace, status: StudyStatus, uri: str | None) -> StudyRuns:
    return mirror_of(place, status.name, status.identity, uri).runs
