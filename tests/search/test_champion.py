"""The champion beside a new model: on images that it was tested on, on new ones, and never on what it learnt from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from reported_study import CLASSES, photos

from lesion.data.packed import PackedDataset
from lesion.evaluation import Evaluation, evaluate
from lesion.learnt import Learnt
from lesion.rules import Rules
from search.errors import PromotionBlockedError, PromotionError
from search.gates import Candidate, Champion, champion, judge, passed, read_gates
from search.identity import Identity
from search.starts import LEARNT
from search.test_parts import named, tags_of_part
from search.workspace import Workspace, open_workspace

OWN, PART = "d" * 64, "e" * 64
"""Content hashes of the data that the new model learnt from, and of their test part."""


@dataclass
class Known:
    """A registry and model whose version 1 is the champion: where it learnt, on which images it was tested."""

    provenance: dict[str, Any]
    tested_on: tuple[str, ...]
    part: str = "f" * 64
    shift: int = 0
    asked: list[int] = field(default_factory=list)
    classes = CLASSES
    rules = Rules()

    def versions(self, name: str) -> list[Any]:
        return [SimpleNamespace(version="1", run_id="run")]

    def tags_of(self, run_id: str) -> dict[str, str]:
        return tags_of_part(self.part)

    def evidence(self, run_id: str, path: str) -> Path:
        return Path(path)

    def download(self, uri: str) -> Path:
        return Path(uri)

    def predict(self, images: np.ndarray, people: object) -> np.ndarray:
        self.asked.append(len(images))
        return np.full((len(images), 3), 1 / 3)

    def test(self) -> Evaluation:
        labels = np.array([label_of(image) + self.shift for image in self.tested_on]) % 3
        return evaluate(np.full((len(labels), 3), 1 / 3), labels, CLASSES, images=self.tested_on, samples=2)


def label_of(image: str) -> int:
    """What a photo shows, the same wherever it is tested."""
    return sum(image.encode()) % 3


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path / "workspace")


@pytest.fixture
def learnt_from(place: Workspace) -> PackedDataset:
    """What the champion learnt from."""
    return photos(place, images=40)


@pytest.fixture
def present(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Champion]:
    """What is found of a champion for a new model that was tested on `test`."""

    def found(known: Known, test: PackedDataset, part: str = PART) -> Champion:
        monkeypatch.setattr(champion, "rival_of", lambda registry, name, number: 1)
        monkeypatch.setattr(champion.evidence, "read", lambda folder: Candidate(known.test(), test.table))
        monkeypatch.setattr(champion.Predictor, "load", lambda folder: known)
        images = test.table["image"].tolist()
        labels = np.array(list(map(label_of, images)))
        own = evaluate(np.full((len(images), 3), 1 / 3), labels, CLASSES, images=images, samples=2)
        told = champion.present_champion(known, "model", 2, own, lambda: test, place, OWN, part)
        assert told is not None
        return told

    return found


def provenance(data: PackedDataset, **changes: object) -> dict[str, Any]:
    identity = Identity("photos", data.content_hash, "holdout", "s", "mean_auc", "maximize", {})
    return {"study": "old", "identity": replace(identity, **changes).to_json()}


def others(data: PackedDataset, **columns: object) -> PackedDataset:
    """Eight images that the champion has not learnt from, but for what `columns` say."""
    table = data.table.iloc[:8].assign(image=[f"NEW_{n}" for n in range(8)], lesion="", patient="", digest="")
    return replace(data, table=table.assign(**columns), images=data.images[:8])


def test_a_champion_that_learnt_from_none_of_the_images_predicts_them(present, learnt_from):
    known = Known(provenance(learnt_from), ("other",))
    found = present(known, others(learnt_from))
    assert (found.learnt, found.problem) == ("", "")
    assert found.evaluation is not None
    assert known.asked == [8]


@pytest.mark.parametrize("column", ["image", "lesion", "patient", "digest"])
def test_a_champion_that_learnt_from_them_is_not_judged_by_them(present, place, learnt_from, column):
    """As after preparing the data again with another seed, and promoting under the same name."""
    before = learnt_from.table.assign(lesion="l1", patient="p1", digest="x1")
    before.to_parquet(learnt_from.path / "table.parquet")
    shared = before[column].iloc[3]
    told = [f"{column} {n}" for n in range(8)]
    known = Known(provenance(learnt_from), ("other",))
    found = present(known, others(learnt_from, **{column: [*told[:5], shared, *told[6:]]}))
    assert (found.evaluation, known.asked) == (None, [])
    assert "in which 1 of these 8 images or their lesions are" in found.learnt
    assert found.learnt.startswith("version 1 learnt from other data, photos (content ")


def test_a_champion_that_started_from_weights_which_saw_them_is_not_judged_by_them(present, learnt_from):
    test = others(learnt_from, digest=[f"{n}" * 64 for n in range(1, 9)])
    seen = Learnt(("isic2018 (content 0123456789ab)",), frozenset({"0" * 16}))
    known = Known(provenance(learnt_from, data_hash=OWN) | {LEARNT: seen.to_json()}, ("other",))
    assert present(known, test).learnt == ""
    test = others(learnt_from, digest=[f"{n}" * 64 for n in range(8)])
    found = present(known, test)
    assert "from isic2018 (content 0123456789ab), in which 1 of these 8 images are" in found.learnt


def test_data_that_are_gone_and_provenance_that_says_nothing_are_no_proof(present, learnt_from):
    test = others(learnt_from)
    gone = present(Known(provenance(learnt_from, data_hash="0" * 64), ("other",)), test)
    assert "photos (content 000000000000), which are not there any more: these images may be among them" in gone.learnt
    silent = present(Known({}, ("other",)), test)
    assert silent.learnt == "version 1 does not say which data it learnt from: these images may be among them"


def test_the_same_data_and_a_test_on_the_same_images_are_proof(present, learnt_from):
    test = others(learnt_from)
    same = Known(provenance(learnt_from, data_hash=OWN), ("other",))
    assert present(same, test).evaluation is not None
    assert same.asked == [8]
    tested = Known({}, (*test.table["image"], "one more"), part=PART)
    assert present(tested, test).evaluation is not None
    assert tested.asked == []  # its own promotion's probabilities are taken


def test_the_same_photos_packed_at_another_size_are_the_same_test(present, learnt_from):
    """The data that the champion learnt from are replaced by them: it could not be judged anew."""
    test, digests = others(learnt_from), [f"{n}" * 16 for n in range(9)]
    images, own = tuple(test.table["image"]), named(PART, "".join(digests[:8]))
    known = Known({}, images, part=named("f" * 64, "".join(digests[:8])))
    assert present(known, test, own).evaluation is not None
    assert known.asked == []
    # Of a part of them it says nothing: it may have learnt from the others.
    fewer = Known({}, images[:7], part=named("f" * 64, "".join(digests[:7])))
    assert "does not say which data it learnt from" in present(fewer, test, own).learnt
    other = Known({}, images, part=named("f" * 64, "".join(digests[1:])))
    assert "does not say which data it learnt from" in present(other, test, own).learnt


def test_other_photos_of_the_same_names_are_not_the_same_test(present, learnt_from):
    """As drawn data of two seeds have, and cameras that begin again at IMG_0001."""
    test = others(learnt_from)
    images = tuple(test.table["image"])
    known = Known(provenance(learnt_from), images)
    assert present(known, test).evaluation is not None
    assert known.asked == [8]  # its kept probabilities are of other photos
    silent = Known({}, images)
    assert "does not say which data it learnt from" in present(silent, test).learnt


def test_probabilities_of_another_task_on_the_same_photos_are_not_taken(present, learnt_from):
    """Names of classes that mean other diagnoses: its decisions are judged by the labels of the new model."""
    test = others(learnt_from)
    known = Known(provenance(learnt_from, data_hash=OWN), tuple(test.table["image"]), part=PART, shift=1)
    assert present(known, test).evaluation is not None
    assert known.asked == [8]


@pytest.mark.parametrize("broken", ["evidence", "download"])
def test_a_server_that_is_down_is_no_reason_to_refuse_the_new_model(present, learnt_from, monkeypatch, broken):
    def down(*arguments: object) -> Path:
        raise PromotionBlockedError("MLflow at http://here does not answer")

    known = Known(provenance(learnt_from, data_hash=OWN), ("other",))
    monkeypatch.setattr(known, broken, down)
    with pytest.raises(PromotionBlockedError, match="does not answer"):
        present(known, others(learnt_from))


def test_a_champion_that_is_no_model_of_ours_stops(present, learnt_from, monkeypatch):
    known = Known(provenance(learnt_from, data_hash=OWN), ("other",))

    def strange(uri: str) -> Path:
        raise PromotionError(f"{uri} is not a model of lesion-search")

    monkeypatch.setattr(known, "download", strange)
    found = present(known, others(learnt_from))
    assert found.problem == "version 1 cannot be compared: models:/model/1 is not a model of lesion-search"


def test_a_gate_that_cannot_be_judged_stops_nobody(learnt_from):
    labels = learnt_from.labels
    own = evaluate(
        np.eye(3)[labels] * 0.7 + 0.1, labels, CLASSES, images=learnt_from.table["image"].tolist(), samples=5
    )
    only = replace(read_gates(), metrics=(), sensitivity=None, subgroups=None)
    verdicts = judge(only, Candidate(own, learnt_from.table), Champion(1, None, learnt="version 1 learnt from them"))
    assert [(each.gate, each.outcome, each.why) for each in verdicts] == [
        ("champion", "not judged", "version 1 learnt from them")
    ]
    assert passed(verdicts)
