"""Bootstrap intervals: what is drawn, and how wide that makes them."""

from collections import Counter

import numpy as np
import pytest
from drawn_predictions import CLOSE, ISIC_2017, drawn, names
from scipy.stats import norm, t

from lesion.errors import DataError
from lesion.metrics import (
    Variance,
    bootstrap,
    inflated_interval,
    intervals_of,
    report,
    resamples,
    sampled_summary,
    score_interval,
    summary,
)
from lesion.metrics.curves import auc, rank
from lesion.metrics.scores import sampled_report


def test_bootstrap_samples_are_the_report_of_the_drawn_rows():
    probabilities, labels = drawn(kind="tied")
    counts = np.random.default_rng(0).integers(0, 3, len(labels))
    rows = np.repeat(np.arange(len(labels)), counts)
    weighted = report(probabilities, labels, ISIC_2017, counts)
    assert report(probabilities[rows], labels[rows], ISIC_2017) == pytest.approx(weighted, nan_ok=True, **CLOSE)


def test_bootstrap_is_seeded_and_holds_the_value():
    probabilities, labels = drawn(kind="learnt", rows=200)
    first = bootstrap(probabilities, labels, ISIC_2017, samples=200, seed=1)
    assert first == bootstrap(probabilities, labels, ISIC_2017, samples=200, seed=1)
    assert first != bootstrap(probabilities, labels, ISIC_2017, samples=200, seed=2)
    values = report(probabilities, labels, ISIC_2017)
    for name, interval in first.items():
        assert interval.value == values[name]
        assert interval.low <= interval.high
    assert first["mean_auc"].low < first["mean_auc"].value < first["mean_auc"].high


def test_bootstrap_interval_of_a_share_is_as_wide_as_theory_says():
    labels = np.tile([0, 1], 200)
    right = np.random.default_rng(0).permuted(np.repeat([True, False], [300, 100]))
    probabilities = np.where((labels == 1)[:, None] == right[:, None], [[0.1, 0.9]], [[0.9, 0.1]])
    interval = bootstrap(probabilities, labels, names(2), samples=2000, seed=0)["accuracy"]
    # ±1.96 √(0.75·0.25/400) = ±0.0424; the ends of 2000 samples scatter by about 0.002
    assert interval.low == pytest.approx(0.75 - 0.0424, abs=0.008)
    assert interval.high == pytest.approx(0.75 + 0.0424, abs=0.008)


def test_bootstrap_draws_whole_lesions():
    probabilities, labels = drawn(kind="learnt", rows=60)
    repeated = np.tile(np.arange(60), 4)  # every lesion photographed four times, identically
    groups = [f"L{row}" for row in repeated]
    one = bootstrap(probabilities, labels, ISIC_2017, samples=300, seed=0)["accuracy"]
    four = bootstrap(probabilities[repeated], labels[repeated], ISIC_2017, groups=groups, samples=300, seed=0)
    apart = bootstrap(probabilities[repeated], labels[repeated], ISIC_2017, samples=300, seed=0)
    width = one.high - one.low
    assert four["accuracy"].high - four["accuracy"].low == pytest.approx(width, rel=0.3)
    assert apart["accuracy"].high - apart["accuracy"].low < 0.7 * width


def test_bootstrap_takes_an_empty_lesion_id_as_unknown():
    probabilities, labels = drawn(kind="learnt", rows=60)
    interval = bootstrap(probabilities, labels, ISIC_2017, groups=[""] * 60, samples=300, seed=0)["mean_auc"]
    assert interval.low < interval.value < interval.high


def test_bootstrap_keeps_a_rare_class_and_says_nothing_of_an_absent_one():
    probabilities, labels = drawn(kind="learnt", rows=60)
    labels[labels == 2] = 1
    absent = bootstrap(probabilities, labels, ISIC_2017, samples=50, seed=0)
    assert str(absent["auc_nevus"]) == "nan (nan–nan)"
    labels[0] = 2
    rare = bootstrap(probabilities, labels, ISIC_2017, samples=50, seed=0)
    assert np.isfinite(rare["macro_auc"].low)


def test_bootstrap_refuses_groups_of_another_length():
    probabilities, labels = drawn(rows=20)
    with pytest.raises(DataError, match="one lesion id an image"):
        bootstrap(probabilities, labels, ISIC_2017, groups=["a"], seed=0)
    with pytest.raises(DataError, match="samples is 0"):
        bootstrap(probabilities, labels, ISIC_2017, samples=0, seed=0)


def test_bootstrap_computes_every_sample_in_portions_of_what_may_be_held(monkeypatch):
    probabilities, labels = drawn(rows=30)
    portions = []

    def noted(p, y, classes, weights):
        portions.append(weights)
        return sampled_report(p, y, classes, weights)

    monkeypatch.setattr("lesion.metrics.intervals.CELLS", 30 * 3 * 7)
    monkeypatch.setattr("lesion.metrics.intervals.sampled_report", noted)
    bootstrap(probabilities, labels, ISIC_2017, samples=20, seed=0)
    assert [len(weights) for weights in portions] == [7, 7, 6]
    assert len(np.unique(np.concatenate(portions), axis=0)) == 20


def draw_part(rng, sizes, apart=2.0):
    labels = np.repeat(np.arange(3), sizes)
    powers = np.exp(rng.normal(size=(len(labels), 3)) + apart * np.eye(3)[labels])
    return powers / powers.sum(axis=1, keepdims=True), labels


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say():
    """A thousand parts of a fixed seed, of which 0.95 scatters by 0.007: what holds it in 0.91 does not pass."""
    rng = np.random.default_rng(0)
    counts, held, lucky = (30, 42, 78), Counter(), Counter()
    large, truth_labels = draw_part(rng, (20_000,) * 3)
    truth = summary(large, truth_labels, ISIC_2017, np.asarray(counts, float)[truth_labels])
    for seed in range(1000):
        probabilities, labels = draw_part(rng, counts)
        right, weights = probabilities.argmax(axis=1) == labels, resamples(labels, samples=150, seed=seed)
        shares = [weights[:, labels == k] @ right[labels == k] / count for k, count in enumerate(counts)]
        sampled = {"accuracy": weights @ right / len(labels), "balanced_accuracy": np.mean(shares, axis=0)}
        sampled |= {f"sensitivity_{name}": share for name, share in zip(ISIC_2017, shares, strict=True)}
        sampled["auc_melanoma"] = auc(rank(probabilities[:, 0], labels == 0, weights))
        once = summary(probabilities, labels, ISIC_2017)
        for name, each in intervals_of({name: once[name] for name in sampled}, sampled, counts, ISIC_2017).items():
            held[name] += each.low <= truth[name] <= each.high
            low, high = np.quantile(sampled[name], [0.025, 0.975])
            lucky[name] += bool(low <= truth[name] <= high)
    assert {name: count for name, count in held.items() if not 930 <= count <= 970} == {}
    # Percentiles of the same samples would not pass.
    assert lucky["auc_melanoma"] < 915


def test_a_share_has_wilson_s_interval_of_as_many_images_as_would_spread_so():
    labels = np.repeat([0, 1], [30, 70])
    right = np.r_[np.arange(30) < 24, np.arange(70) < 63]
    probabilities = np.where((labels == 1)[:, None] == right[:, None], [[0.1, 0.9]], [[0.9, 0.1]])
    found = bootstrap(probabilities, labels, names(2), samples=20_000, seed=0)

    def wilson(share, count):
        # The shares from which the one seen is z standard errors away, by the standard errors that they would have.
        z = norm.ppf(0.975)
        return pytest.approx(np.roots([1 + z**2 / count, -2 * share - z**2 / count, share**2]).real[::-1], abs=2e-3)

    first, second = (found[f"sensitivity_{name}"] for name in names(2))
    assert (first.low, first.high) == wilson(24 / 30, 30)
    assert (second.low, second.high) == wilson(63 / 70, 70)
    # Five photos of each lesion, all right or all wrong together, are no more images than there are lesions, and how
    # alike they are is known from so few: Korn & Graubard 1998. Variances have 14 / 13 of lesions, 70 / 69 of photos.
    groups = [f"{label} {row // 5}" for row, label in enumerate(labels)]
    right = np.repeat(np.arange(20) % 5 > 0, 5)
    probabilities = np.where((labels == 1)[:, None] == right[:, None], [[0.1, 0.9]], [[0.9, 0.1]])
    found = bootstrap(probabilities, labels, names(2), groups=groups, samples=20_000, seed=0)
    second = found[f"sensitivity_{names(2)[1]}"]
    count = 13 * 70 / 69 * (t.ppf(0.975, 69) / t.ppf(0.975, 13)) ** 2
    assert (second.low, second.high) == wilson(right[30:].mean(), count)


def test_a_score_on_its_bound_is_not_certain():
    labels = np.repeat([0, 1, 2], [4, 30, 60])
    probabilities = np.eye(3)[labels] * 0.7 + 0.1
    found = bootstrap(probabilities, labels, ISIC_2017, samples=50, seed=0)
    # All four melanomas are found: a sensitivity of 0.025 ** (1/4) would still show that once in forty times.
    assert (found["sensitivity_melanoma"].low, found["sensitivity_melanoma"].high) == pytest.approx(
        (0.398, 1.0), abs=1e-3
    )
    assert found["auc_nevus"].low == pytest.approx(0.025 ** (1 / 34))
    assert found["accuracy"].low > 0.95


def one_sided(count):
    """The low end of a share of 1 that was seen `count` times: what would still show no exception once in forty."""
    return pytest.approx(0.025 ** (1 / count))


def test_a_specificity_hangs_on_the_others():
    labels = np.repeat([0, 1, 2], [4, 30, 60])
    found = bootstrap(np.eye(3)[labels] * 0.7 + 0.1, labels, ISIC_2017, samples=20, seed=0)
    assert found["sensitivity_melanoma"].low == one_sided(4)
    assert found["specificity_melanoma"].low == one_sided(90)
    assert found["specificity_nevus"].low == one_sided(34)
    # What needs both sides is known as well as the smaller one lets it.
    for name in ("auc_nevus", "specificity_at_95_nevus", "precision_nevus"):
        assert found[name].low == one_sided(34), name
    assert found["auc_melanoma"].low == found["macro_auc"].low == one_sided(4)


def test_a_class_whose_name_ends_like_another_has_its_own_count():
    labels = np.repeat([0, 1], [5, 80])
    probabilities = np.eye(2)[labels] * 0.8 + 0.1
    classes = ("melanoma", "non_melanoma")
    found = bootstrap(probabilities, labels, classes, samples=20, seed=0)
    assert found["sensitivity_non_melanoma"].low == found["specificity_melanoma"].low == one_sided(80)
    assert found["sensitivity_melanoma"].low == found["specificity_non_melanoma"].low == one_sided(5)
    # Nor is a score of all classes one of a class that is called like its end.
    found = bootstrap(probabilities, labels, ("rest", "accuracy"), samples=20, seed=0)
    # A mean over classes hangs on the rarest, and on the others: all five and all eighty are more than five.
    assert 0.025 ** (1 / 5) < found["balanced_accuracy"].low < 0.025 ** (1 / 80)
    assert found["macro_auc"].low == one_sided(5)


def tempered_part(rng, counts, temperature):
    """Probabilities whose logits are a calibrated model's divided by `temperature`, and labels."""
    labels = np.repeat(np.arange(3), counts)
    logits = 1.5 * (rng.normal(size=(len(labels), 3)) + 1.5 * np.eye(3)[labels]) + np.log(np.array([30, 42, 78]))
    powers = np.exp((logits - logits.max(axis=1, keepdims=True)) / temperature)
    return powers / powers.sum(axis=1, keepdims=True), labels


@pytest.mark.slow
@pytest.mark.parametrize(("temperature", "truth"), [(1.0, 0.002), (0.7, 0.062), (0.4, 0.127)])
def test_the_calibration_error_s_interval_holds_the_truth_though_its_value_is_too_large(temperature, truth):
    """400 parts of a fixed seed, of which 0.95 scatters by 0.011."""
    rng = np.random.default_rng(0)
    counts, held, plain, values = (30, 42, 78), 0, 0, []
    weights = np.asarray(counts)
    large, labels = tempered_part(rng, (100_000,) * 3, temperature)
    assert summary(large, labels, ISIC_2017, weights[labels])["ece"] == pytest.approx(truth, abs=0.002)
    for seed in range(400):
        probabilities, labels = tempered_part(rng, counts, temperature)
        drawn_again = sampled_summary(probabilities, labels, ISIC_2017, resamples(labels, samples=150, seed=seed))[
            "ece"
        ]
        value = summary(probabilities, labels, ISIC_2017)["ece"]
        found = intervals_of({"ece": value}, {"ece": drawn_again}, counts, ISIC_2017)["ece"]
        held += found.low <= truth <= found.high
        left_in = score_interval(value, drawn_again, sum(counts))
        plain += left_in.low <= truth <= left_in.high
        values.append(value)
    assert np.mean(values) > truth + 0.01
    assert 368 <= held <= 392
    # With what chance adds left in, an interval would not pass: of a calibrated model it never holds the truth.
    assert plain < (1 if temperature == 1.0 else 368)


def test_a_calibration_error_that_chance_alone_would_make_may_be_none():
    rng = np.random.default_rng(0)
    probabilities, labels = tempered_part(rng, (30, 42, 78), 1.0)
    found = bootstrap(probabilities, labels, ISIC_2017, samples=300, seed=0)["ece"]
    assert found.value == summary(probabilities, labels, ISIC_2017)["ece"] > 0.04
    assert found.low == 0.0 < found.high < 0.15
    # Of so many images that chance adds nothing it is the value, with its standard error.
    probabilities, labels = tempered_part(rng, (2_000, 2_800, 5_200), 0.4)
    found = bootstrap(probabilities, labels, ISIC_2017, samples=60, seed=0)["ece"]
    assert found.value - 0.015 < found.low < found.value < found.high < found.value + 0.015
    # No error at all is not certain, and of nothing nothing is known.
    found = bootstrap(np.eye(3)[[0, 1, 2, 2]], [0, 1, 2, 2], ISIC_2017, samples=20, seed=0)["ece"]
    assert (found.low, found.high) == (0.0, pytest.approx(1 - 0.025 ** (1 / 4)))
    assert np.isnan(inflated_interval(np.nan, np.array([0.1]), Variance(0.1)).low)
