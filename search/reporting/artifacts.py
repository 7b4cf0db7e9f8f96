"""What a study shows in MLflow beside numbers: tables of every trial, figures of the best ones, pictures of the data.

Made of the ledger and of the predictions that trials leave, at the end of a session, by `sync` and by `report`, never
while an epoch waits for it. Files go into the runs that the mirror has made, under names of their own, so what is
logged twice is there once; a tag, which comes last, says what is there. No run is made, begun or ended here. What
MLflow, a figure or a disk raises is told in words: the search is over, and lacks nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from lesion.contact_sheets import COPIES, draw_policies
from lesion.data.packed import PackedDataset
from lesion.evaluation import Evaluation
from lesion.exploration.charts import class_counts_figure
from lesion.exploration.measures import class_counts
from lesion.exploration.pictures import samples, samples_figure
from lesion.figures import epochs_figure, write_png
from lesion.metrics import UNDECIDED
from lesion.settings import DEFAULTS
from search.errors import first_line
from search.identity import Identity
from search.leaderboard import ranked
from search.mirror import mirror_of
from search.reopened import data_of, through_task
from search.reporting.files import as_csv
from search.reporting.judged import Judge, evaluated
from search.reporting.points import CURVE_COLUMNS, RELIABILITY_COLUMNS, curve_rows, reliability_rows
from search.retention import KEPT
from search.rows import TrialRow
from search.series import Series
from search.study import StudyStatus
from search.tracking import PARENT, StudyRuns
from search.workspace import Workspace

EVALUATION, DATA = "evaluation", "data"
"""Folders of a trial's run, and of the study's."""
TABLED, DRAWN = "lesion.tabled_epoch", "lesion.drawn_epoch"
"""Tags of a trial's run: after which epoch its tables and its figures were made, so that they are not made again."""
PICTURED = "lesion.data_pictured"
"""Tag of the study's run: the hash of the data that its pictures show."""
TRIALS = KEPT
"""Best complete trials that get the table of single images: those whose checkpoints are kept."""
PER_CLASS = ("auc", "ap", "precision", "sensitivity", "specificity", "f1")

Step = tuple[str, Callable[[], None]]
"""What is to be made, in words, and the making of it."""


def log_study(
    place: Workspace,
    status: StudyStatus,
    tracking_uri: str | None = None,
    *,
    enough: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda text: None,
) -> str:
    """Log what MLflow does not show yet of a study, until there was `enough`; empty, or in words what is missing.

    Every trial that ended with predictions gets tables, every complete one figures, the best `TRIALS` of these the
    table of single images; the study's own run pictures of its classes and of what augmentation does to them. Figures
    come last, those of the best trial first: the least wanted are what there was no time for. Never raises.
    """
    runs = mirror_of(place, status.name, status.identity, tracking_uri).runs
    complete = [row for row in ranked(status) if row.state == "complete"]
    shown = Shown(place, status, runs, complete, complete[:TRIALS])
    return _logged(lambda: [*shown.tables(), *shown.pictures(), *shown.figures()], enough, say)


def log_series(
    place: Workspace,
    series: Series,
    tracking_uri: str | None = None,
    *,
    enough: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda text: None,
) -> str:
    """As `log_study`, of a study's finalists: all complete ones get figures and the table of single images."""
    runs = mirror_of(place, series.name, series.identity, tracking_uri, experiment=series.study).runs
    status = StudyStatus(series.name, series.identity, series.rows, False)
    shown = Shown(place, status, runs, series.complete, series.complete)
    return _logged(lambda: [*shown.tables(), *shown.figures()], enough, say)


@dataclass(frozen=True)
class Shown:
    """A study, or a series, and its runs in MLflow; the complete rows `drawn` get figures, `listed` single images."""

    place: Workspace
    status: StudyStatus
    runs: StudyRuns
    drawn: Sequence[TrialRow]
    listed: Sequence[TrialRow]

    def tables(self) -> Iterator[Step]:
        """Tables that are missing, of all trials that ended with predictions; next to nothing each."""
        ended = [row for row in ranked(self.status) if row.state in ("complete", "pruned")]
        listed = {row.number for row in self.listed}
        for row in (row for row in ended if self._lacks(row, TABLED)):
            yield f"tables of trial {row.label}", partial(self._log_tables, row, images=row.number in listed)

    def figures(self) -> Iterator[Step]:
        """Figures that are missing, half a second each on an idle core, of the best trial first."""
        for row in (row for row in self.drawn if self._lacks(row, DRAWN)):
            yield f"figures of trial {row.label}", partial(self._log_figures, row)

    def pictures(self) -> Iterator[Step]:
        """Pictures of the data, where they are missing."""
        run = self.runs.runs().get(PARENT)
        if run is not None and run.tags.get(PICTURED) != self.status.identity.data_hash:
            yield "pictures of the data", partial(self._log_pictures, run.id)

    @cached_property
    def _data(self) -> PackedDataset:
        identity = self.status.identity
        return through_task(identity, data_of(self.place, self.status.name, identity))

    def _lacks(self, row: TrialRow, tag: str) -> bool:
        run = self.runs.runs().get(row.number)
        return run is not None and run.tags.get(tag) != str(row.epoch)

    def _judge(self, row: TrialRow) -> Judge:
        split = self._data.split(row.split or self.status.identity.split)
        return Judge(self.place, self.status, self._data, split.validation)

    def _log_tables(self, row: TrialRow, *, images: bool) -> None:
        judge = self._judge(row)
        # Nothing here shows an interval, and the draws for them would take seconds.
        told = evaluated(judge, row, samples=1)
        if told is None:  # a trial whose predictions are lost has nothing to show, today or tomorrow
            return
        with self._into(self.runs.runs()[row.number].id, EVALUATION, TABLED, str(row.epoch)) as folder:
            (folder / "per_class.csv").write_text(_per_class(told))
            (folder / "confusion_by_epoch.csv").write_text(_confusions(judge, row, told))
            if epochs := judge.epochs(row):
                (folder / "epochs.csv").write_text(_epochs(epochs))
            wide = wide_row(self.status.name, row, told.metrics)
            (folder / "wide.csv").write_text(as_csv(list(wide), [list(wide.values())]))
            judged = (told.probabilities, told.labels, told.classes)
            (folder / "curves.csv").write_text(as_csv(CURVE_COLUMNS, curve_rows(*judged)))
            (folder / "reliability.csv").write_text(as_csv(RELIABILITY_COLUMNS, reliability_rows(*judged)))
            if images:
                told.per_image().to_csv(folder / "per_image.csv", index=False)

    def _log_figures(self, row: TrialRow) -> None:
        judge = self._judge(row)
        told = evaluated(judge, row, samples=1)
        if told is not None:
            with self._into(self.runs.runs()[row.number].id, EVALUATION, DRAWN, str(row.epoch)) as folder:
                told.figures(folder)
                if epochs := judge.epochs(row):
                    write_png(folder / "epochs.png", epochs_figure(epochs, told.classes))

    def _log_pictures(self, run_id: str) -> None:
        data, identity = self._data, self.status.identity
        with self._into(run_id, DATA, PICTURED, identity.data_hash) as folder:
            counts = class_counts(data, identity.split)
            write_png(folder / "class_counts.png", class_counts_figure(counts, data.name))
            write_png(folder / "samples.png", samples_figure(data, samples(data, per_class=8, seed=0)))
            draw_policies(data, folder / "augmentations", policies_of(identity))

    @contextmanager
    def _into(self, run_id: str, artifacts: str, tag: str, value: str) -> Iterator[Path]:
        """A folder whose files go into the run; the tag after them: what was cut off in the middle is made again."""
        with tempfile.TemporaryDirectory() as scratch:
            yield Path(scratch)
            self.runs.client.log_artifacts(run_id, scratch, artifacts)
        self.runs.client.set_tag(run_id, tag, value)


def policies_of(identity: Identity) -> list[str]:
    """Augmentation policies that trials of a study may have, and `COPIES` where its balancing can make them."""
    components = identity.semantics.get("components", {})
    policies = sorted(components.get("augmentation", [DEFAULTS["augmentation"]]))
    copied = any(COPIES in name.split("+") for name in components.get("balancing", ()))
    return [*policies, *([COPIES] if copied else [])]


def _logged(tasks: Callable[[], list[Step]], enough: Callable[[], bool], say: Callable[[str], None]) -> str:
    try:
        every = tasks()
        for done, (what, make) in enumerate(every):
            if enough():
                return f"no time was left for {what}, and {len(every) - done - 1} more after that"
            say(what)
            make()
    except Exception as problem:  # whatever it is, the search is over and lacks nothing
        return first_line(problem)
    return ""


def _per_class(told: Evaluation) -> str:
    rows = [(name, *(told.metrics[f"{column}_{name}"] for column in PER_CLASS)) for name in told.classes]
    return as_csv(("class", *PER_CLASS), rows)


def _confusions(judge: Judge, row: TrialRow, told: Evaluation) -> str:
    """A row for each epoch and true class: how many of its images were decided to be what."""
    matrices = judge.confusions(row) or {row.epoch: told.confusion}
    rows = [
        (epoch, name, *counts.tolist())
        for epoch, matrix in sorted(matrices.items())
        for name, counts in zip(told.classes, matrix, strict=True)
    ]
    return as_csv(("epoch", "true", *told.classes, UNDECIDED), rows)


def _epochs(epochs: Mapping[int, Mapping[str, float]]) -> str:
    """A row for each epoch: every metric after it, empty where it was undefined."""
    names = list(dict.fromkeys(name for metrics in epochs.values() for name in metrics if name != "epoch"))
    return as_csv(
        ("epoch", *names), [(epoch, *(metrics.get(name, "") for name in names)) for epoch, metrics in epochs.items()]
    )


def wide_row(study: str, row: TrialRow, metrics: Mapping[str, float]) -> dict[str, object]:
    """Everything of a trial in one row: what ran, with which settings, and every metric after its last epoch."""
    again = {} if row.finalist_of is None else {"finalist_of": row.finalist_of, "run": row.index, "split": row.split}
    ran: dict[str, object] = {"study": study, "trial": row.number, **again, "seed": row.seed, "epochs": row.epoch}
    ran |= {"seconds": row.seconds, "examples": row.examples}
    found = {name: value for name, value in row.metrics.items() if name.startswith("train_")} | dict(metrics)
    # A setting of somebody's own component may be called like a fact.
    settings = {f"setting {k}" if k in ran or k in found else k: value for k, value in row.settings.items()}
    return ran | settings | found
