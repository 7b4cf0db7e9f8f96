"""The report in MLflow: files of the study's run, figures and tables of its best trials' runs, and what they ran with.

MLflow is a mirror: when it does not answer, the report is made all the same, and says so.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from search.mirror import mirror_of
from search.reporting.files import as_csv
from search.reporting.gather import Reading
from search.reporting.judged import evaluated
from search.rows import TrialRow
from search.study import StudyStatus
from search.tracking import PARENT, StudyRuns
from search.workspace import Workspace

REPORT, EVALUATION = "report", "evaluation"
DRAWN = "lesion.drawn_epoch"
"""Tag of a trial's run: after which epoch its figures were drawn, so that they are not drawn again."""
TRIALS = 5
"""Best complete trials that get figures: those whose checkpoints are kept."""
SHOWN = ("lesion.host", "lesion.python", "mlflow.source.git.commit")


def environment_of(
    place: Workspace, status: StudyStatus, tracking_uri: str | None = None
) -> tuple[dict[str, str], str]:
    """What the study's runs say they ran with; and in words why that is not known, empty where it is."""
    try:
        runs = _runs(place, status, tracking_uri).runs()
    except Exception as problem:  # whatever MLflow raises, the report is made
        return {}, f"MLflow does not say what the search ran with: {_short(problem)}"
    if PARENT not in runs:
        return {}, "MLflow holds no run of this study; 'lesion-search sync' brings it there"
    tags = runs[PARENT].tags
    named = {
        name.removeprefix("lesion.version.").removeprefix("lesion.").removeprefix("mlflow.source."): value
        for name, value in sorted(tags.items())
        if name in SHOWN or name.startswith("lesion.version.")
    }
    return named, ""


def log_report(
    place: Workspace,
    reading: Reading,
    files: Sequence[Path],
    tracking_uri: str | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> str:
    """Put the report's files and the best trials' figures into MLflow; empty, or in words why that failed."""
    try:
        runs = _runs(place, reading.status, tracking_uri)
        known = runs.runs()
        if PARENT not in known:
            return f"MLflow at {runs.uri} holds no run of {reading.status.name}; run 'lesion-search sync' first"
        say("logging to MLflow")
        for file in files:
            runs.client.log_artifact(known[PARENT].id, str(file), REPORT)
        complete = [row for row in reading.trials if row.state == "complete"]
        for row in complete[:TRIALS]:
            if row.number in known and known[row.number].tags.get(DRAWN) != str(row.epoch):
                say(f"figures of trial {row.number}")
                _log_trial(runs, known[row.number].id, reading, row)
    except Exception as problem:  # whatever MLflow raises, the report is on disk
        return f"MLflow did not take the report: {_short(problem)}. Run 'lesion-search report' again once it answers"
    return ""


def _log_trial(runs: StudyRuns, run_id: str, reading: Reading, row: TrialRow) -> None:
    """Figures, tables and the wide row of one trial."""
    told = None if reading.judge is None else evaluated(reading.judge, row)
    if told is None:
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        told.figures(folder)
        told.per_image().to_csv(folder / "per_image.csv", index=False)
        columns = ("auc", "ap", "precision", "sensitivity", "specificity", "f1")
        per_class = [(name, *(told.metrics[f"{column}_{name}"] for column in columns)) for name in told.classes]
        (folder / "per_class.csv").write_text(as_csv(("class", *columns), per_class))
        wide: Mapping[str, object] = {
            **{"study": reading.status.name, "trial": row.number, "seed": row.seed, "epochs": row.epoch},
            **{"seconds": row.seconds, **row.settings, **told.metrics},
        }
        (folder / "wide.csv").write_text(as_csv(list(wide), [list(wide.values())]))
        runs.client.log_artifacts(run_id, str(folder), EVALUATION)
    # Last: a run that was cut off in the middle is drawn again.
    runs.client.set_tag(run_id, DRAWN, str(row.epoch))


def _runs(place: Workspace, status: StudyStatus, uri: str | None) -> StudyRuns:
    return mirror_of(place, status.name, status.identity, uri).runs


def _short(problem: Exception) -> str:
    return f"{type(problem).__name__}: {str(problem).strip().partition(chr(10))[0][:200]}"
