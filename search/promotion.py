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

from lesion import checkpoints
from lesion.calibration import balancing_weights
from lesion.data.packed import PackedDataset, open_data, open_test
from lesion.evaluation import Evaluation, evaluate
from lesion.models import build_model
from lesion.predictor import Member, Predictor
from lesion.settings import resolve
from search.errors import PromotionError
from search.registered import Registered, Registry
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
    that the test part has scored, this one among them: of several, the best figure is too good.
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

    alias = "champion"

    @property
    def uri(self) -> str:
        """What `predict`, MLflow and `mlflow models serve` take."""
        return f"models:/{self.model}@{self.alias}"

    @property
    def message(self) -> str:
        """In words: what is where."""
        who = f"trial {self.members[0].number}" if len(self.members) == 1 else f"{len(self.members)} trials"
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
    views: int = VIEWS,
    tracking_uri: str | None = None,
    progress: Say | None = None,
) -> Promotion:
    """Make the best of `study` the champion of the registered model `model` (the study's name).

    Up to `ensemble` complete trials within one standard error of the best average their probabilities (1: the best
    alone), over `views` flips and quarter turns; decisions are balanced on validation. The test part is then scored
    once. Raises LedgerError, PromotionError, DataError, CheckpointError.
    """
    say = progress or (lambda text: None)
    if not 1 <= ensemble <= KEPT:
        raise PromotionError(f"an ensemble of {ensemble} trials: must be 1 to {KEPT}, whose checkpoints a study keeps")
    place = existing_workspace(workspace)
    name = checked_name(model or study)
    status = study_status(place, study)
    if status.driven:
        raise PromotionError(f"{study} is being searched at this moment; wait for its end, or stop it with Ctrl-C")
    data = _same_data(place, status)
    with _alone(place, name):
        selection = select(place, status, data, ensemble)
        registry = Registry(tracking_uri or place.tracking_uri, place.artifacts)
        key = _key(status, data, selection, views)
        known = registry.find(name, key)
        if known is not None:
            registry.move_alias(name, known.version)
            return _repeated(name, known, selection, _openings(place, study))
        say(f"building a model of {_named(selection)}")
        predictor, validation = _predictor(place, status, data, selection, views)
        evidence = place.reports / study / f"promotion-{key[:12]}"
        test = open_test(place.path, data.name)
        say(f"scoring the test part, {len(test)} images, once")
        scored = _evaluate(test, _tested(predictor, test, evidence))
        _write_evidence(evidence, scored, validation, status, selection)
        say("logging the model to MLflow")
        with tempfile.TemporaryDirectory() as scratch:
            folder = predictor.save(Path(scratch) / "model")
            registered = registry.register(name, key, status, folder, evidence, scored, validation)
        registry.move_alias(name, registered.version)
    return _promoted(name, registered, selection, scored, validation, _openings(place, study))


def model_folder(model: str, workspace: Workspace | Path | str | None = None, tracking_uri: str | None = None) -> Path:
    """The predictor's folder of `model`: a folder itself, or ``models:/name@alias`` and ``models:/name/version``."""
    if not model.startswith("models:/"):
        if Path(model).is_dir():
            return Path(model)
        raise PromotionError(f"no model {model!r}: give a folder, or models:/NAME@champion as in MLflow's registry")
    place = existing_workspace(workspace)
    return Registry(tracking_uri or place.tracking_uri, place.artifacts).download(model)


def _same_data(place: Workspace, status: StudyStatus) -> PackedDataset:
    data = open_data(place.path, status.identity.data)
    if data.content_hash != status.identity.data_hash:
        raise PromotionError(
            f"{status.name} was searched on other data than {data.path} holds now (content hash was "
            f"{status.identity.data_hash[:12]}, is {data.content_hash[:12]}); prepare the data as they were"
        )
    return data


@contextmanager
def _alone(place: Workspace, name: str) -> Iterator[None]:
    lock = FileLock(place.path / "locks" / f"promote-{name}.lock", timeout=0)
    try:
        with lock:
            yield
    except Timeout:
        raise PromotionError(f"{name} is being promoted by another process; wait for it") from None


def _key(status: StudyStatus, data: PackedDataset, selection: Selection, views: int) -> str:
    """What makes two promotions the same."""
    members = sorted((row.number, row.epoch, row.seed) for row in selection.rows)
    tested = data.manifest.get("test") or {}
    made_of = json.dumps([status.identity.hash, members, views, tested.get("content_hash")])
    return hashlib.sha256(made_of.encode()).hexdigest()


def _openings(place: Workspace, study: str) -> int:
    return len(list((place.reports / study).glob(f"promotion-*/{TESTED}")))


def _predictor(
    place: Workspace, status: StudyStatus, data: PackedDataset, selection: Selection, views: int
) -> tuple[Predictor, Evaluation]:
    """The model, its decisions balanced on validation, and its scores there."""
    members = tuple(_member(place, status.name, row, data) for row in selection.rows)
    provenance = {
        "study": status.name,
        "identity": status.identity.to_json(),
        "trials": [{"number": row.number, "value": row.value, "seed": row.seed} for row in selection.rows],
    }
    plain = Predictor(members, data.classes, views, None, data.name, provenance)
    rows = data.split(status.identity.split).validation
    probabilities = plain.predict(data.images[rows])
    weights = balancing_weights(probabilities, data.labels[rows])
    balanced = probabilities * weights
    validation = _evaluate(data, balanced / balanced.sum(axis=1, keepdims=True), rows)
    return replace(plain, class_weights=weights), validation


def _member(place: Workspace, study: str, row: TrialRow, data: PackedDataset) -> Member:
    folder = place.trial(study, row.number)
    state, damage = checkpoints.load_latest(folder)
    if state is None or state["epoch"] != row.epoch:
        why = "; ".join(damage) or "it is not there"
        raise PromotionError(f"the checkpoint of trial {row.number} after epoch {row.epoch} in {folder}: {why}")
    training = state["training"]
    model = build_model(resolve(row.settings), len(data.classes), pretrained=False)
    model.load_state_dict(training["average"] or training["model"])
    return Member(row.settings, model.eval(), data.size, data.geometry)  # type: ignore[arg-type]


def _tested(predictor: Predictor, test: PackedDataset, folder: Path) -> NDArray[np.float64]:
    """Probabilities of the test part; kept before anything is done with them, and never computed a second time."""
    kept = folder / TESTED
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / "test.partial.npy"
        np.save(partial, predictor.predict(test.images))
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
        "trials": {row.number: {"value": row.value, "settings": dict(row.settings)} for row in selection.rows},
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
    return "trial" + ("s " if len(selection.rows) > 1 else " ") + ", ".join(str(row.number) for row in selection.rows)
