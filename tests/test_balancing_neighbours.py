"""SMOTE and Tomek links, row by row against imbalanced-learn, and counted on the published recipes."""

import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest
from imblearn.combine import SMOTETomek
from imblearn.over_sampling import SMOTE
from imblearn.under_sampling import TomekLinks
from sklearn.neighbors import NearestNeighbors

from lesion.balancing import Draws, Part, balancings, neighbours
from lesion.balancing.neighbours import Span, needed_bytes
from lesion.balancing.smote import tomek_links
from lesion.errors import SettingError

ISIC2017 = {"melanoma": 374, "seborrheic_keratosis": 254, "nevus": 1372}
ISIC2018 = {"MEL": 1113, "NV": 6705, "BCC": 514, "AKIEC": 327, "BKL": 1099, "DF": 115, "VASC": 142}


@dataclass
class Drawn:
    """A vector for each image; a copy's is shifted, so that copies differ."""

    vectors: np.ndarray
    key: str = "drawn"

    @property
    def width(self):
        return self.vectors.shape[1]

    def read(self, row, copy):
        return self.vectors[row] + 0.01 * copy[:, None]


class LegacyStream:
    """The generator that imbalanced-learn draws from, with the names of the new one."""

    def __init__(self, seed):
        self.state = np.random.RandomState(seed)

    def integers(self, high, size):
        return self.state.randint(0, high, size)

    def random(self, size):
        return self.state.uniform(size=size)


def part_of(counts, width=6, seed=0):
    """Classes that overlap, so that there are Tomek links."""
    labels = np.repeat(np.arange(len(counts)), list(counts.values()))
    vectors = np.random.default_rng(seed).normal(size=(len(labels), width)) + 0.7 * labels[:, None]
    drawn = Drawn(vectors)
    return Part(labels, tuple(counts), {"features": drawn, "pixels": drawn})


def shown(part, draws):
    """The vectors of draws, synthetic ones made."""
    vectors = part.vectors["features"]
    start, end = vectors.read(draws.row, draws.copy), vectors.read(draws.partner, draws.partner_copy)
    return start + draws.blend[:, None] * (end - start)


def build(part, name, rng=None, **settings):
    component = balancings[name]
    flat = component.fill({key.replace("__", "."): value for key, value in settings.items()})
    return component.build(part, Draws.everything(len(part)), rng or np.random.default_rng(0), **flat)


SMALL = {"a": 40, "b": 7, "c": 100, "d": 60}


@pytest.mark.parametrize("neighbours", [3, 5])
def test_smote_makes_the_very_rows_of_imbalanced_learn(neighbours):
    part = part_of(SMALL)
    ours = build(part, "smote", LegacyStream(3), neighbours=neighbours)
    oracle = SMOTE(k_neighbors=neighbours, random_state=np.random.RandomState(3))
    vectors, labels = oracle.fit_resample(part.vectors["features"].vectors, part.labels)
    assert np.array_equal(ours.labels(part), labels)
    np.testing.assert_allclose(shown(part, ours), vectors, atol=1e-6)


def test_smote_tomek_keeps_the_very_rows_of_imbalanced_learn():
    part = part_of(SMALL)
    ours = build(part, "smote_tomek", LegacyStream(3))
    oracle = SMOTETomek(smote=SMOTE(random_state=np.random.RandomState(3)), random_state=0)
    vectors, labels = oracle.fit_resample(part.vectors["features"].vectors, part.labels)
    assert len(labels) < 400  # there were links to take out
    assert np.array_equal(ours.labels(part), labels)
    np.testing.assert_allclose(shown(part, ours), vectors, atol=1e-6)


def test_tomek_alone_takes_out_what_imbalanced_learn_does():
    part = part_of(SMALL)
    kept = TomekLinks(sampling_strategy="all")
    kept.fit_resample(part.vectors["features"].vectors, part.labels)
    assert np.array_equal(build(part, "tomek").row, kept.sample_indices_)
    assert len(kept.sample_indices_) < len(part)


def test_tomek_only_removes_mutual_neighbours_of_two_classes():
    part = part_of(SMALL)
    every = build(part, "smote")
    vectors, labels = shown(part, every), every.labels(part)
    distances = np.linalg.norm(vectors[:, None] - vectors, axis=2)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.argmin(axis=1)
    by_hand = [nearest[nearest[i]] == i and labels[nearest[i]] != labels[i] for i in range(len(labels))]
    links = tomek_links(Span.of(part.vectors["features"], every), labels)
    assert links.tolist() == by_hand
    assert 0 < links.sum() < len(links)


def test_a_chain_of_smote_and_tomek_is_smote_tomek():
    part = part_of(SMALL)
    chain, whole = build(part, "smote+tomek"), build(part, "smote_tomek")
    for name in ("row", "partner", "blend"):
        assert np.array_equal(getattr(chain, name), getattr(whole, name))


@pytest.mark.parametrize("block", [1, 300, 1 << 27])
def test_neighbours_are_those_of_scikit_learn_however_the_work_is_cut(block, monkeypatch):
    monkeypatch.setattr(neighbours, "READ_BYTES", block)
    monkeypatch.setattr(neighbours, "ASKED_BYTES", block)
    part = part_of({"a": 30, "b": 9})
    span = Span.of(part.vectors["features"], Draws.everything(39))
    members = np.arange(3, 33)
    oracle = NearestNeighbors(n_neighbors=4, algorithm="brute").fit(part.vectors["features"].vectors[members])
    assert np.array_equal(span.nearest(members, 4), oracle.kneighbors(return_distance=False))


def test_synthetic_rows_lie_between_images_of_one_class():
    part = part_of(SMALL)
    drawn = build(part, "smote")
    assert drawn.synthetic.sum() == 60 + 93 + 40
    assert np.array_equal(part.labels[drawn.row], part.labels[drawn.partner])
    assert ((drawn.blend >= 0) & (drawn.blend < 1)).all()
    assert np.array_equal(np.unique(drawn.row[~drawn.synthetic]), np.arange(len(part)))


RECIPES = {
    "G3.3": (ISIC2017, "smote", {}, [1372] * 3),
    "G9.1": (ISIC2018, "cap+smote", {"cap__fraction": 0.5}, [3352] * 7),
    "G9.2": (ISIC2018, "cap+smote", {"cap__of_class": "MEL"}, [1113] * 7),
    "G9.3": (ISIC2018, "copies+cap+smote", {"cap__fraction": 0.5}, [3352] * 7),
}


@pytest.mark.slow
@pytest.mark.parametrize("run", list(RECIPES))
def test_published_recipes_have_their_counts_before_tomek(run):
    counts, name, settings, after = RECIPES[run]
    part = part_of(counts, width=2)
    assert build(part, name, **settings).counts(part).tolist() == after


@pytest.mark.parametrize("run", list(RECIPES))
def test_published_recipes_at_a_tenth_of_their_size_before_and_after_tomek(run):
    counts, name, settings, _ = RECIPES[run]
    part = part_of({name: count // 10 for name, count in counts.items()}, width=2)
    before = build(part, name, **settings)
    after = build(part, f"{name}_tomek", **settings)
    largest = {"G3.3": 137, "G9.2": 111}.get(run, 335)
    assert before.counts(part).tolist() == [largest] * len(counts)
    assert (after.counts(part) <= largest).all()
    # Links are pairs.
    assert 0 < len(before) - len(after) < len(before)
    assert (len(before) - len(after)) % 2 == 0


def test_too_few_images_for_the_neighbours_are_refused_by_class():
    with pytest.raises(SettingError, match=r"smote with 7 neighbours needs 8 images of a class, b has 7: set fewer"):
        build(part_of(SMALL), "smote", neighbours=7)


def test_smote_stands_once_in_a_chain():
    with pytest.raises(SettingError, match="smote_tomek goes between images, not between synthetic ones"):
        build(part_of(SMALL), "smote+smote_tomek")


def test_a_part_without_embeddings_is_told_to_freeze_its_backbone():
    part = part_of(SMALL)
    with pytest.raises(SettingError, match=r"on is features, but .* it has: pixels \(features need a frozen backbone"):
        build(Part(part.labels, part.classes, {"pixels": part.vectors["pixels"]}), "smote")


@pytest.mark.parametrize("name", ["smote", "smote_tomek", "tomek"])
def test_what_does_not_fit_in_memory_is_refused_with_the_figure_before_anything_is_read(name):
    labels = np.repeat([0, 1], [20000, 5331])
    wide = Drawn(np.broadcast_to(0.0, (len(labels), 150528)))  # ISIC 2019 at 224 pixels, at no cost
    part = Part(labels, ("nevus", "melanoma"), {"pixels": wide}, memory=lambda: 4 * 2**30)
    message = (
        rf"{name} on pixels with neighbours among 25331 images needs about 5\.53 GiB of memory, "
        r"4\.00 GiB are available: seek on features, or cap the largest class before"
    )
    with pytest.raises(SettingError, match=message):
        build(part, name, on="pixels")


def test_the_estimate_is_not_exceeded():
    peak = peak_of(part_of({"a": 300, "b": 60, "c": 200}, width=3000))
    assert peak < needed_bytes(560, 3000) < 3 * peak


def test_the_estimate_is_not_exceeded_by_many_images_of_few_numbers(monkeypatch):
    monkeypatch.setattr(neighbours, "READ_BYTES", 1 << 20)
    monkeypatch.setattr(neighbours, "ASKED_BYTES", 1 << 19)
    peak = peak_of(part_of({"a": 900, "b": 300, "c": 800}, width=64))
    assert peak < needed_bytes(2000, 64) < 2 * peak


def peak_of(part):
    """The most bytes that balancing takes beside the vectors."""
    tracemalloc.start()
    build(part, "smote_tomek")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak
