"""From a study to a model in MLflow's registry: chosen on validation, tested once, registered, alias moved.

>>> from search import promote                      # doctest: +SKIP
>>> promoted = promote("isic2017")                  # doctest: +SKIP
>>> promoted.uri, promoted.test.intervals["mean_auc"]   # doctest: +SKIP

The test part is opened here and nowhere else. What was found is kept with the run in MLflow, so promoting the same
trials again tells what is known and does not open it a second time.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from lesion.calibration import balancing_weights
from lesion.data.packed import PackedDataset
from lesion.evaluation import Evaluation, evaluate
from lesion.predictor import Predictor
from search.errors import PromotionBlockedError, PromotionError
from search.members import Members
from search.registered import Registered, Registry
from search.reopened import data_of, open_test_of, through_task
from search.retention import KEPT
from search.rows import TrialRow
from search.selection import Selection, select
from search.study import StudyStatus, study_status
from search.workspace import Workspace, checked_name, existing_workspace

Say = Callable[[str], None]
ENSEMBLE, VIEWS = KEPT, 8
TESTED = "test.npy"
"""Probabilities of the test part, in the folder of one promotion."""


@dataclass(frozen=True)
class Promotion:
    """A model in the registry and what it was promoted on.

    `metrics` holds every test score as [value, low, high]; `test` and `validation` are None when `repeated`: the same
    trials had been promoted before, and the test part was not opened again. `opened` counts the models of this study
    that the test part has scored, this one among them: of several, the best figure is too good. `notes` say what is
    not as usual: trials that were passed over, decisions that are not balanced.
    """

    model: str
    version: int
    members: tuple[TrialRow, ...]
    run_id: str
    metrics: dict[str, list[float | None]]
    test_images: int
    test: Evaluation | None
    validation: Evaluation | None
    repeated: bool
    opened: int = 1
    notes: tuple[str, ...] = ()

    alias = "champion"

    @property
    def uri(self) -> str:
        """What `predict`, MLflow and `mlflow models serve` take."""
        return f"models:/{self.model}@{self.alias}"

    @property
    def message(self) -> str:
        """In words: what is where."""
        who = f"trial {self.members[0].label}" if len(self.members) == 1 else f"{len(self.members)} trials"
        text = f"{self.model} version {self.version} ({who}) is {self.uri}"
        if self.repeated:
            text += "; it was promoted before, and the test part was not opened again"
        if self.opened > 1:
            text += (
                f". {self.opened} models of this study have seen the test part: the best of their figures is too good"
            )
        return text


def promote(
    study: str,
    workspace: Workspace | Path | str | None = None,
    *,
    model: str | None = None,
    ensemble: int = ENSEMBLE,
    source: str | None = None,
    views: int = VIEWS,
    tracking_uri: str | None = None,
    progress: Say | None = None,
) -> Promotion:
    """Make the best of `study` the champion of the registered model `model` (the study's name).

    Up to `ensemble` models average their probabilities (1: the best alone), over `views` flips and quarter turns:
    finalists on folds or on fresh seeds where the study has any, chosen by forward selection, else complete trials of
    the search within one standard error of the best; `source` ("folds", "seeds", "search") says which. Decisions are
    balanced on validation. The test part is then scored once. Raises LedgerError, PromotionError, DataError,
    CheckpointError.
    """
    say = progress or (lambda text: None)
    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        say(text)

    place = existing_workspace(workspace)
    name = checked_name(model or study)
    status = study_status(place, study)
    if status.driven:
        raise PromotionBlockedError(
            f"{study} is being searched at this moment; wait for its end, or stop it with Ctrl-C"
        )
    stored = data_of(place, study, status.identity)
    data = through_task(status.identity, stored)
    members = Members(place, status, data)
    with _alone(place, name):
        registry = Registry(tracking_uri or place.tracking_uri, place.artifacts)
        # First without a look at checkpoints: what was promoted once needs none, should they be lost by now.
        selection = select(place, status, data, ensemble, source=source)
        known = registry.find(name, _key(status, stored, selection, views))
        if known is None:
            selection = select(place, status, data, ensemble, source=source, why_not=members.why_not, say=note)
        key = _key(status, stored, selection, views)
        known = known or registry.find(name, key)
        if known is not None:
            registry.move_alias(name, known.version)
            return replace(_repeated(name, known, selection, _openings(place, study)), notes=tuple(notes))
        say(f"building a model of {_named(selection)}")
        predictor, validation = _predictor(status, data, selection, members, views, note)
        evidence = place.reports / study / f"promotion-{key[:12]}"
        test = through_task(status.identity, open_test_of(place, stored))
        say(f"scoring the test part, {len(test)} images, once")
        scored = _evaluate(test, _tested(predictor, test, evidence))
        _write_evidence(evidence, scored, validation, status, selection)
        say("logging the model to MLflow")
        with tempfile.TemporaryDirectory() as scratch:
            folder = predictor.save(Path(scratch) / "model")
            registered = registry.register(name, key, status, folder, evidence, scored, validation)
        registry.move_alias(name, registered.version)
    promotion = _promoted(name, registered, selection, scored, validation, _openings(place, study))
    return replace(promotion, notes=tuple(notes))


def model_folder(model: str, workspace: Workspace | Path | str | None = None, tracking_uri: str | None = None) -> Path:
    """The predictor's folder of `model`: a folder itself, or ``models:/name@alias`` and ``models:/name/version``."""
    if not model.startswith("models:/"):
        if Path(model).is_dir():
            return Path(model)
        raise PromotionError(f"no model {model!r}: give a folder, or models:/NAME@champion as in MLflow's registry")
    place = existing_workspace(workspace)
    return Registry(tracking_uri or place.tracking_uri, place.artifacts).download(model)


@contextmanager
def _alone(place: Workspace, name: str) -> Iterator[None]:
    lock = FileLock(place.path / "locks" / f"promote-{name}.lock", timeout=0)
    try:
        with lock:
            yield
    except Timeout:
        raise PromotionBlockedError(f"{name} is being promoted by another process; wait for it") from None


def _key(status: StudyStatus, data: PackedDataset, selection: Selection, views: int) -> str:
    """What makes two promotions the same."""
    members = sorted([*([row.series] if row.series else []), row.number, row.epoch, row.seed] for row in selection.rows)
    tested = data.manifest.get("test") or {}
    made_of = json.dumps([status.identity.key, members, views, tested.get("content_hash")])
    return hashlib.sha256(made_of.encode()).hexdigest()


def _openings(place: Workspace, study: str) -> int:
    return len(list((place.reports / study).glob(f"promotion-*/{TESTED}")))


def _predictor(
    status: StudyStatus, data: PackedDataset, selection: Selection, members: Members, views: int, say: Say
) -> tuple[Predictor, Evaluation]:
    """The model, its decisions balanced on validation, and its scores there."""
    provenance = {
        "study": status.name,
        # Where the data lie on this machine is nobody else's business.
        "identity": replace(status.identity, location="").to_json(),
        "trials": [{"number": _name(row), "value": row.value, "seed": row.seed} for row in selection.rows],
    }
    plain = Predictor(tuple(map(members.of, selection.rows)), data.classes, views, None, data.name, provenance)
    if selection.judged is None:
        rows = data.split(status.identity.split).validation
        probabilities = plain.predict(data.images[rows], data.table.iloc[rows])
    else:  # members of folds have trained on parts of any validation part: what each had not seen speaks for them
        rows, probabilities = selection.judged
    counts = np.bincount(data.labels[rows], minlength=len(data.classes))
    if not counts.all():
        absent = ", ".join(name for name, count in zip(data.classes, counts, strict=True) if not count)
        say(f"decisions are not balanced: no validation image of {absent}")
        return plain, _evaluate(data, probabilities, rows)
    weights = balancing_weights(probabilities, data.labels[rows])
    balanced = probabilities * weights
    validation = _evaluate(data, balanced / balanced.sum(axis=1, keepdims=True), rows)
    return replace(plain, class_weights=weights), validation


def _tested(predictor: Predictor, test: PackedDataset, folder: Path) -> NDArray[np.float64]:
    """Probabilities of the test part; kept before anything is done with them, and never computed a second time."""
    kept = folder / TESTED
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / "test.partial.npy"
        np.save(partial, predictor.predict(test.images, test.table))
        partial.replace(kept)
    probabilities: NDArray[np.float64] = np.load(kept, allow_pickle=False)
    return probabilities


def _evaluate(
    data: PackedDataset, probabilities: NDArray[np.float64], rows: NDArray[np.int64] | None = None
) -> Evaluation:
    table = data.table if rows is None else data.table.iloc[rows]
    return evaluate(
        probabilities,
        table["label"].to_numpy(np.int64),
        data.classes,
        images=table["image"].tolist(),
        groups=table["group"].astype(str).tolist(),
    )


def _write_evidence(
    folder: Path, test: Evaluation, validation: Evaluation, status: StudyStatus, selection: Selection
) -> None:
    """What a reader of the run needs: scores, tables and figures of both parts, and how the trials were chosen."""
    for name, evaluation in (("test", test), ("validation", validation)):
        part = folder / name
        evaluation.figures(part)
        evaluation.per_image().to_csv(part / "per_image.csv", index=False)
        evaluation.official_csv(part / "official.csv")
        (part / "evaluation.json").write_text(json.dumps(evaluation.to_dict(), indent=2))
    chosen: dict[str, Any] = {
        "objective": status.identity.objective,
        "best": [selection.best.value, selection.best.low, selection.best.high],
        "standard_error": selection.standard_error,
        "source": selection.source,
        "steps": list(selection.steps),
        "trials": {row.label: {"value": row.value, "settings": dict(row.settings)} for row in selection.rows},
    }
    (folder / "selection.json").write_text(json.dumps(chosen, indent=2))


def _promoted(
    name: str, registered: Registered, selection: Selection, test: Evaluation, validation: Evaluation, opened: int
) -> Promotion:
    return Promotion(
        name,
        registered.version,
        selection.rows,
        registered.run_id,
        registered.metrics,
        len(test.images),
        test,
        validation,
        False,
        opened,
    )


def _repeated(name: str, known: Registered, selection: Selection, opened: int) -> Promotion:
    return Promotion(
        name, known.version, selection.rows, known.run_id, known.metrics, known.test_images, None, None, True, opened
    )


def _named(selection: Selection) -> str:
    return "trial" + ("s " if len(selection.rows) > 1 else " ") + ", ".join(row.label for row in selection.rows)


def _name(row: TrialRow) -> int | str:
    """The number of a trial of the search, the label of a finalist."""
    return row.number if row.series is None else row.label
