"""Reading a search: what it found, how sure that is, what it cost; as a page, tables and numbers.

>>> from search import report                               # doctest: +SKIP
>>> report("isic2017").page                                 # doctest: +SKIP
PosixPath('…/workspace/reports/isic2017/report/report.html')
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from lesion.writing import write_atomically
from search.openings import openings, part_of
from search.reporting.files import write_tables
from search.reporting.gather import Reading, gather
from search.reporting.logged import environment_of, log_report, scored_elsewhere
from search.reporting.page import page
from search.reporting.pictures import write_sheet
from search.reporting.versions import versions_by_promotion
from search.study import study_status
from search.workspace import Workspace, open_workspace

PAGE, SHEET = "report.html", "hardest.png"


@dataclass(frozen=True, eq=False)
class Report:
    """Where a report is: the page, all its files, and why MLflow has not taken it (empty where it has)."""

    page: Path
    files: tuple[Path, ...]
    reading: Reading
    unlogged: str


def report(
    study: str,
    workspace: Workspace | Path | str | None = None,
    *,
    out: Path | None = None,
    tracking_uri: str | None = None,
    seed: int = 0,
    progress: Callable[[str], None] = lambda text: None,
) -> Report:
    """Read a study and write its report into the workspace's ``reports/<study>/report``; the page to `out` if given.

    The files are logged to the study's run in MLflow, what is missing of tables and figures to the runs of its trials.
    Works on a study that is still being searched. Raises LedgerError for a study that is not there, OSError where the
    files cannot be written.
    """
    place = open_workspace(workspace)
    status = study_status(place, study)
    environment, unknown = environment_of(place, status, tracking_uri)
    part = part_of(place, study)
    elsewhere, unasked = scored_elsewhere(place, part, tracking_uri)
    opened = openings(place, study, part, elsewhere)
    notes = [*filter(None, (unknown, unasked))]
    reading = gather(place, status, environment, notes=notes, opened=opened, seed=seed, say=progress)
    if reading.promotions:
        versions, untold = versions_by_promotion(place, study, tracking_uri)
        reading = replace(reading, versions=versions, notes=(*reading.notes, *filter(None, (untold,))))
    folder = place.reports / study / "report"
    progress("writing the page")
    files = write_tables(reading, folder)
    if reading.hard and reading.judge is not None:
        files.append(write_sheet(folder / SHEET, reading.judge.data, reading.hard, f"{study}: the hardest images"))
    target = out or folder / PAGE
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, page(reading).encode())
    unlogged = log_report(place, reading, [target, *files], tracking_uri, progress)
    return Report(target, tuple(files), reading, unlogged)
