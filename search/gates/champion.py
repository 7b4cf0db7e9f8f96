"""The present champion on the images that a new model was tested on.

It is judged by them only where it cannot have learnt from them: a data set that was prepared again with another seed
has other images in its test part, most of which the champion was trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lesion.data.packed import PackedDataset
from lesion.errors import LesionError
from lesion.evaluation import Evaluation, evaluate
from lesion.learnt import photos_in
from lesion.predictor import Predictor
from lesion.submission import image_ids
from search import evidence
from search.errors import PromotionBlockedError, PromotionError, SearchError
from search.gates.judging import Champion
from search.identity import Identity
from search.moves import rival_of
from search.registered import Registry
from search.reopened import data_of
from search.starts import learnt_by
from search.test_parts import content_of, part_of_tags, shares_all
from search.workspace import Workspace

WHOSE = ("lesion", "patient", "digest")
"""Columns by which photos of other names show the same skin, or are the same file."""


def present_champion(
    registry: Registry,
    name: str,
    number: int,
    own: Evaluation,
    open_test: Callable[[], PackedDataset],
    place: Workspace,
    data_hash: str,
    test_part: str,
) -> Champion | None:
    """The champion of `name` on the images of `own`, None where there is none or it is version `number` itself.

    Its probabilities are those of its own promotion where it was tested on the same test part, whatever size its photos
    were packed at; else it predicts now,
    unless it may have learnt from the images. Names of images do not tell test parts apart: drawn data of two seeds
    and cameras that count from 1 have the same ones. `data_hash` is the content hash of the data that the new model
    learnt from, `test_part` the word of their test part (`search.test_parts`), which `open_test` opens; a champion's
    data are looked for in `place`. Raises PromotionBlockedError where MLflow does not answer.
    """
    now = rival_of(registry, name, number)
    if now is None:
        return None
    (version,) = (found for found in registry.versions(name) if int(found.version) == now)
    try:
        theirs = evidence.read(registry.evidence(str(version.run_id), "test")).evaluation
        if set(theirs.classes) != set(own.classes):
            return Champion(now, None, _others(now, theirs))
        scored = part_of_tags(registry.tags_of(str(version.run_id)))
        tested_on_them = bool(test_part) and content_of(scored) == content_of(test_part)
        if (tested_on_them or shares_all(scored, test_part)) and (kept := _of(theirs, own)) is not None:
            return Champion(now, kept)
        predictor, test = Predictor.load(registry.download(f"models:/{name}/{now}")), open_test()
        learnt = "" if tested_on_them else _learnt(predictor.provenance, test, place, data_hash)
        if learnt:
            return Champion(now, None, learnt=f"version {now} {learnt}")
        return Champion(now, _predicted(predictor, own, test))
    except PromotionBlockedError:  # MLflow is down: no reason to refuse the new model
        raise
    except (OSError, ValueError, KeyError, PromotionError, LesionError) as problem:
        return Champion(now, None, f"version {now} cannot be compared: {problem}")


def _others(number: int, theirs: Evaluation) -> str:
    return (
        f"version {number} tells other classes apart ({', '.join(theirs.classes)}): "
        "give the new model a name of its own with --model"
    )


def _of(theirs: Evaluation, own: Evaluation) -> Evaluation | None:
    """Their evaluation on our images, in our order; None where images, classes or labels are not ours."""
    row_of = {image: row for row, image in enumerate(theirs.images)}
    if theirs.classes != own.classes or not row_of.keys() >= set(own.images):
        return None
    rows = [row_of[image] for image in own.images]
    if not np.array_equal(theirs.labels[rows], own.labels):  # of another task on the same photos
        return None
    return _evaluated(theirs.probabilities[rows], own, theirs.decision_weights)


def _learnt(provenance: Mapping[str, Any], test: PackedDataset, place: Workspace, data_hash: str) -> str:
    """Why a model of this provenance may have learnt from the images of `test`; "" where it has not."""
    learnt = learnt_by(provenance)
    if learnt is not None and (shown := learnt.photos & photos_in(test.table)):
        told = f"or weights that it started from have learnt from {learnt.in_words}"
        return f"{told}, in which {len(shown)} of these {len(test)} images are"
    try:
        identity = Identity.from_json(provenance["identity"])
    except (KeyError, TypeError):
        return "does not say which data it learnt from: these images may be among them"
    if identity.data_hash == data_hash:
        return ""
    which = f"{identity.data} (content {identity.data_hash[:12]})"
    try:
        seen = data_of(place, str(provenance.get("study", "")), identity).table
    except (LesionError, SearchError):
        return f"learnt from other data, {which}, which are not there any more: these images may be among them"
    shared = np.isin(image_ids(test.table["image"].tolist()), image_ids(seen["image"].tolist()))
    for column in WHOSE:
        if column in seen and column in test.table:
            shared |= test.table[column].isin(set(seen[column]) - {""}).to_numpy()
    if not shared.any():
        return ""
    return (
        f"learnt from other data, {which}, in which {shared.sum()} of these {len(shared)} images or their lesions are"
    )


def _predicted(predictor: Predictor, own: Evaluation, test: PackedDataset) -> Evaluation:
    order = [predictor.classes.index(label) for label in own.classes]
    probabilities = predictor.predict(test.images, test.table)[:, order]
    weights = predictor.rules.decision_weights
    return _evaluated(probabilities, own, None if weights is None else tuple(weights[k] for k in order))


def _evaluated(probabilities: np.ndarray, own: Evaluation, weights: tuple[float, ...] | None) -> Evaluation:
    # Its own intervals are not asked for: what counts is the difference, sample by sample.
    return evaluate(probabilities, own.labels, own.classes, images=own.images, samples=1, decision_weights=weights)
