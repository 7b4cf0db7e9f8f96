"""Intervals of shares of images: how often they hold the truth, of how few, of lesions with several photos."""

import numpy as np
import pytest
from scipy.stats import binom

from lesion.metrics import Share, bootstrap, intervals_of, mean_share, resamples, sampled_share, share_interval

TRUTHS = np.linspace(0.5, 0.98, 481)


@pytest.mark.parametrize("images", [9, 15, 30, 80])
def test_a_share_of_few_images_holds_the_truth_as_often_as_it_says_over_the_truths_that_there_may_be(images):
    """Exact. Of single truths no rule can: of nine images a share is one of ten numbers."""
    right = np.arange(images + 1)
    found = [share_interval(Share(k / images, images)) for k in right.tolist()]
    low, high = np.array([[each.low, each.high] for each in found]).T[..., None]
    held = (binom.pmf(right[:, None], images, TRUTHS) * ((low <= TRUTHS) & (high >= TRUTHS))).sum(axis=0)
    assert 0.945 <= held.mean() <= 0.965
    assert held.min() > 0.88


@pytest.mark.parametrize("counts", [(9, 13, 23), (30, 42, 78), (10, 14, 33, 51, 110, 111, 670)])
def test_a_mean_over_classes_holds_the_truth_though_some_are_rare(counts):
    """2000 draws, each of other truths: 0.95 scatters by 0.005."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(2000):
        truth = rng.choice(TRUTHS, len(counts))
        right = rng.binomial(counts, truth).tolist()
        found = share_interval(mean_share([Share(k / n, n) for k, n in zip(right, counts, strict=True)]))
        held += found.low <= truth.mean() <= found.high
    assert 1860 <= held <= 1940


def test_lesions_of_several_photos_hold_the_truth_and_photos_alone_would_not():
    """300 draws of 30 lesions of one to six photos that are much alike: 0.95 scatters by 0.013."""
    rng, held, alone = np.random.default_rng(0), 0, 0
    for seed in range(300):
        truth, counts = rng.choice(TRUTHS), rng.choice([1, 3, 6], 30)
        right = rng.random(counts.sum()) < np.repeat(rng.beta(truth, 1 - truth, 30), counts)
        ids = np.repeat(np.arange(30), counts).astype(str)
        weights = resamples(np.zeros(len(right), int), groups=ids, samples=200, seed=seed)
        value, sampled = float(right.mean()), weights @ right / weights.sum(axis=1)
        found = share_interval(sampled_share(value, sampled, 30, len(right)))
        held += found.low <= truth <= found.high
        found = share_interval(Share(value, len(right)))
        alone += found.low <= truth <= found.high
    assert 274 <= held <= 294
    assert alone < 262


@pytest.mark.parametrize("samples", [300, 1000])
@pytest.mark.parametrize("value", [1 / 3, 2 / 3, 0.6])
def test_samples_that_differ_by_rounding_alone_are_of_so_many_lesions(value, samples):
    """The variance of a thousand times 1/3 is 3e-33."""
    assert sampled_share(value, np.full(samples, value), 1, 3).images <= 1
    assert sampled_share(value, np.full(samples, value), 4, 12).images <= 4


def test_a_class_of_one_lesion_is_hardly_known_though_it_has_three_photos():
    labels, right = np.repeat([0, 1], [3, 40]), np.arange(43) != 0
    right[1] = False
    p = np.where((labels == 1) == right, 0.9, 0.1)
    groups = ["one"] * 3 + [""] * 40
    found = bootstrap(np.column_stack([1 - p, p]), labels, ("DF", "nevus"), groups=groups, samples=1000, seed=0)
    assert found["sensitivity_DF"].value == pytest.approx(1 / 3)
    assert found["sensitivity_DF"].high - found["sensitivity_DF"].low > 0.7
    assert found["balanced_accuracy"].low < 0.5


def test_lesions_of_several_photos_count_as_korn_and_graubard_have_them():
    sampled = np.tile([0.6, 0.8], 500)  # a variance of 0.01
    # 0.21 / 0.01 = 21, of 5 lesions times 4 / 5, of 30 photos times 30 / 29; t of 29 is 2.0452, of 4 it is 2.7764.
    assert sampled_share(0.7, sampled, 5, 30).images == pytest.approx(
        21 * 4 / 5 * 30 / 29 * (2.0452 / 2.7764) ** 2, 1e-4
    )
    assert sampled_share(0.7, sampled, 5).images == pytest.approx(21)  # of one photo each as they are drawn
    # Never more than the photos, though shares of lesions may differ by less than those of photos do.
    assert sampled_share(0.7, np.tile([0.69, 0.71], 500), 10, 30).images == 30
    # Where no photo is an exception lesions are counted, not estimated: no Student's t.
    assert sampled_share(1.0, np.ones(500), 5, 30) == Share(1.0, 5.0)
    assert sampled_share(0.0, np.zeros(500), 5, 30) == Share(0.0, 5.0)


def test_few_lesions_of_many_photos_that_are_hardly_alike_hold_the_truth():
    """300 draws of five lesions of five or ten photos: 0.95 scatters by 0.013."""
    rng, held = np.random.default_rng(0), 0
    for seed in range(300):
        truth, counts = rng.choice(TRUTHS), rng.choice([5, 10], 5)
        right = rng.random(counts.sum()) < np.repeat(rng.beta(9 * truth, 9 * (1 - truth), 5), counts)
        ids = np.repeat(np.arange(5), counts).astype(str)
        weights = resamples(np.zeros(len(right), int), groups=ids, samples=200, seed=seed)
        found = share_interval(sampled_share(float(right.mean()), weights @ right / weights.sum(axis=1), 5, len(right)))
        held += found.low <= truth <= found.high
    assert 282 <= held <= 298


def test_one_share_is_its_own_mean_and_a_class_beside_others_counts_as_one_of_them():
    assert mean_share([Share(0.7, 20)]) == Share(0.7, pytest.approx(20))
    both = mean_share([Share(0.7, 20), Share(0.7, 20)])
    assert (both.value, both.images) == pytest.approx((0.7, 40))
    # Twenty images beside very many: half of the mean is certain.
    beside = mean_share([Share(0.7, 20), Share(0.7, 1e9)])
    assert beside.variance == pytest.approx(Share(0.7, 20).variance / 4, rel=0.02)


def test_the_balanced_accuracy_is_told_as_the_mean_of_its_classes():
    classes, counts = ("melanoma", "nevus"), (10, 200)
    values = {"sensitivity_melanoma": 0.8, "sensitivity_nevus": 0.9, "balanced_accuracy": 0.85}
    rng = np.random.default_rng(0)
    sampled = {
        f"sensitivity_{name}": rng.binomial(n, values[f"sensitivity_{name}"], 20_000) / n
        for name, n in zip(classes, counts, strict=True)
    }
    sampled["balanced_accuracy"] = np.mean(list(sampled.values()), axis=0)
    found = intervals_of(values, sampled, counts, classes)["balanced_accuracy"]
    own = share_interval(mean_share([Share(0.8, 10), Share(0.9, 200)]))
    assert (found.value, found.low, found.high) == pytest.approx((0.85, own.low, own.high), abs=2e-3)
