"""The present champion on the images that a new model was tested on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lesion.data.packed import PackedDataset
from lesion.errors import LesionError
from lesion.evaluation import Evaluation, evaluate
from lesion.predictor import Predictor
from search import evidence
from search.errors import PromotionError
from search.gates.judging import Champion
from search.registered import Registry
from search.versions import champion_of


def present_champion(
    registry: Registry, name: str, number: int, own: Evaluation, open_test: Callable[[], PackedDataset]
) -> Champion | None:
    """The champion of `name` on the images of `own`, None where there is none or it is version `number` itself.

    Its probabilities are those of its own promotion where it was tested on the same images; else it predicts them now.
    """
    now = champion_of(registry, name)
    if now is None or now == number:
        return None
    (version,) = (found for found in registry.versions(name) if int(found.version) == now)
    try:
        theirs = evidence.read(registry.evidence(str(version.run_id), "test")).evaluation
        if set(theirs.classes) != set(own.classes):
            return Champion(now, None, _others(now, theirs))
        if set(theirs.images) >= set(own.images) and theirs.classes == own.classes:
            return Champion(now, _of(theirs, own))
        return Champion(now, _predicted(registry, name, now, own, open_test()))
    except (OSError, ValueError, KeyError, PromotionError, LesionError) as problem:
        return Champion(now, None, f"version {now} cannot be compared: {problem}")


def _others(number: int, theirs: Evaluation) -> str:
    return (
        f"version {number} tells other classes apart ({', '.join(theirs.classes)}): "
        "give the new model a name of its own with --model"
    )


def _of(theirs: Evaluation, own: Evaluation) -> Evaluation:
    """Their evaluation on our images, in our order."""
    row_of = {image: row for row, image in enumerate(theirs.images)}
    rows = [row_of[image] for image in own.images]
    return _evaluated(theirs.probabilities[rows], own, theirs.decision_weights)


def _predicted(registry: Registry, name: str, number: int, own: Evaluation, test: PackedDataset) -> Evaluation:
    predictor = Predictor.load(registry.download(f"models:/{name}/{number}"))
    order = [predictor.classes.index(label) for label in own.classes]
    probabilities = predictor.predict(test.images, test.table)[:, order]
    weights = predictor.rules.decision_weights
    return _evaluated(probabilities, own, None if weights is None else tuple(weights[k] for k in order))


def _evaluated(probabilities: np.ndarray, own: Evaluation, weights: tuple[float, ...] | None) -> Evaluation:
    # Its own intervals are not asked for: what counts is the difference, sample by sample.
    return evaluate(probabilities, own.labels, own.classes, images=own.images, samples=1, decision_weights=weights)
