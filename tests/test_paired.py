"""Paired tests against slow and independent ways to the same numbers, and against what chance allows."""

import math
from itertools import product

import numpy as np
import pytest
from drawn_predictions import ISIC_2017, drawn
from scipy.special import expit, logit
from scipy.stats import norm, t

from lesion.errors import DataError
from lesion.metrics import delong, holm, mcnemar, paired_bootstrap, resamples, sampled_summary, summary


def slow_delong(first, second, positive):
    """DeLong, DeLong & Clarke-Pearson 1988, equations 4 to 7, pair by pair."""
    cases, controls = np.flatnonzero(positive), np.flatnonzero(~positive)
    above, below, areas = [], [], []
    for scores in (first, second):
        wins = np.array([
            [1.0 if scores[i] > scores[j] else 0.5 if scores[i] == scores[j] else 0.0 for j in controls] for i in cases
        ])  # fmt: skip
        areas.append(wins.mean())
        above.append(wins.mean(axis=1))
        below.append(wins.mean(axis=0))
    covariance = np.cov(above) / len(cases) + np.cov(below) / len(controls)
    error = math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    return areas[0], areas[1], error, covariance


def slow_interval(first, second, covariance, freedom):
    """Zou & Donner 2008, equation 8, from intervals that are symmetric on the logit scale."""
    low, high = [], []
    for area, variance in ((first, covariance[0, 0]), (second, covariance[1, 1])):
        reach = t.ppf(0.975, freedom) * math.sqrt(variance) / (area * (1 - area))
        low.append(expit(logit(area) - reach))
        high.append(expit(logit(area) + reach))
    r = covariance[0, 1] / math.sqrt(covariance[0, 0] * covariance[1, 1])
    down, up = first - low[0], high[0] - first
    down_other, up_other = second - low[1], high[1] - second
    return (
        first - second - math.sqrt(down**2 - 2 * r * down * up_other + up_other**2),
        first - second + math.sqrt(up**2 - 2 * r * up * down_other + down_other**2),
    )


def two_scores(rows: int, seed: int, apart: tuple[float, float] = (1.0, 0.6)):
    rng = np.random.default_rng(seed)
    positive = rng.random(rows) < 0.3
    shared = rng.normal(size=rows)
    return *(shared + rng.normal(size=rows) + each * positive for each in apart), positive


@pytest.mark.parametrize("decimals", [9, 1, 0])
def test_delong_is_the_slow_one_with_ties_and_without(decimals):
    first, second, positive = two_scores(150, seed=3)
    first, second = first.round(decimals), second.round(decimals)
    test = delong(first, second, positive)
    a, b, error, covariance = slow_delong(first, second, positive)
    freedom = min(positive.sum(), (~positive).sum()) - 1
    assert (test.first, test.second) == pytest.approx((a, b))
    assert (test.low, test.high) == pytest.approx(slow_interval(a, b, covariance, freedom))
    assert test.p == pytest.approx(2 * t.sf(abs(a - b) / error, freedom))


def test_delong_by_hand():
    # Positives 3, 1; negatives 2, 0: placements above (1, ½), below (½, 1) → AUC ¾, variance ⅛/2 + ⅛/2.
    scores, positive = np.array([3.0, 1.0, 2.0, 0.0]), np.array([True, True, False, False])
    constant = np.zeros(4)
    test = delong(scores, constant, positive)
    assert (test.first, test.second, test.difference) == (0.75, 0.5, 0.25)
    # One degree of freedom: p of a ratio of 0.7071 is 1 - 2 arctan(0.7071) / π. The constant is certain to be 0.5.
    assert test.p == pytest.approx(1 - 2 * math.atan(0.25 / math.sqrt(1 / 8)) / math.pi)
    reach = 12.7062 * math.sqrt(1 / 8) / (0.75 * 0.25)
    assert test.low == pytest.approx(1 / (1 + math.exp(reach) / 3) - 0.5, abs=1e-6)


# Albumin, total protein, K-G score (of which less is better) and whether surgery helped, of the 43 patients with all
# three in DeLong, DeLong & Clarke-Pearson 1988.
OVARIAN_CANCER = """
3.0 5.8 10 0|3.2 6.3 5 1|3.9 6.8 3 1|2.8 4.8 6 0|3.2 5.8 3 1|0.9 4.0 5 0|2.5 5.7 8 0|1.6 5.6 5 1|3.8 5.7 5 1
3.7 6.7 6 1|3.2 5.4 4 1|3.8 6.6 6 1|4.1 6.6 5 1|3.6 5.7 5 1|4.3 7.0 4 1|3.6 6.7 4 0|2.3 4.4 6 1|4.2 7.6 4 0
4.0 6.6 6 0|3.5 5.8 6 1|3.8 6.8 7 1|3.0 4.7 8 0|4.5 7.4 5 1|3.7 7.4 5 1|3.1 6.6 6 1|4.1 8.2 6 1|4.3 7.0 5 1
4.3 6.5 4 1|3.2 5.1 5 1|2.6 4.7 6 1|3.3 6.8 6 0|1.7 4.0 7 0|3.7 6.1 5 1|3.3 6.3 7 1|4.2 7.7 6 1|3.5 6.2 5 1
2.9 5.7 9 0|2.1 4.8 7 1|2.8 6.2 8 0|4.0 7.0 7 1|3.3 5.7 6 1|3.7 6.9 5 1|3.6 6.6 5 1
"""


def test_delong_of_the_published_example():
    table = np.array(OVARIAN_CANCER.replace("|", " ").split(), float).reshape(-1, 4)
    helped = table[:, 3] == 1
    albumin, protein = (delong(table[:, k], -table[:, 2], helped) for k in (0, 1))
    # Published to four digits: areas 0.7366, 0.6478, 0.7258; standard errors of the differences 0.0953, 0.1046.
    assert (albumin.first, albumin.second, albumin.difference) == pytest.approx((0.7366, 0.7258, 0.0108), abs=5e-5)
    assert (protein.first, protein.difference) == pytest.approx((0.6478, -0.0780), abs=5e-5)
    fewer = min(int(helped.sum()), int((~helped).sum()))
    for test, error in ((albumin, 0.0953), (protein, 0.1046)):
        assert abs(test.difference) / t.isf(test.p / 2, fewer - 1) == pytest.approx(error, abs=1e-4)
        assert test.low < 0 < test.high


def test_delong_is_the_auc_of_the_metrics():
    probabilities, labels = drawn(kind="learnt", rows=80)
    test = delong(probabilities[:, 0], probabilities[:, 1], labels == 0)
    assert test.first == pytest.approx(summary(probabilities, labels, ISIC_2017)["auc_melanoma"])


def test_lesions_of_one_photo_change_nothing_and_repeated_photos_add_nothing():
    first, second, positive = two_scores(100, seed=5)
    alone = delong(first, second, positive)
    assert delong(first, second, positive, [f"L{n}" for n in range(100)]) == alone
    repeated = np.tile(np.arange(100), 4)
    groups = [f"L{n}" for n in repeated]
    four = delong(first[repeated], second[repeated], positive[repeated], groups)
    naive = delong(first[repeated], second[repeated], positive[repeated])
    assert four.high - four.low == pytest.approx(alone.high - alone.low, rel=1e-9)
    assert naive.high - naive.low == pytest.approx((alone.high - alone.low) / 2, rel=0.05)


def test_delong_finds_a_difference_by_chance_as_often_as_it_says():
    p = [delong(*two_scores(120, seed, apart=(1.0, 1.0))).p for seed in range(600)]
    # 600 draws of a share of 0.05 scatter by 0.009; four of these make one false alarm in 16 000.
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.036)


@pytest.mark.slow
def test_delong_s_interval_holds_the_truth_of_areas_near_1():
    """A thousand draws of 30 cases and 120 others, whose areas are 0.983 and 0.992: 0.95 scatters by 0.007."""
    rng = np.random.default_rng(0)
    positive = np.arange(150) < 30
    means = np.array([[3.0], [3.4]])
    truth = np.diff(norm.cdf(means[:, 0] / math.sqrt(2)))[0]
    held = narrow = 0
    for _ in range(1000):
        second, first = math.sqrt(0.7) * rng.normal(size=150) + math.sqrt(0.3) * rng.normal(size=(2, 150))
        test = delong(first + means[1] * positive, second + means[0] * positive, positive)
        held += test.low <= truth <= test.high
        error = abs(test.difference) / t.isf(test.p / 2, 29) if test.p < 1 else 0.0
        narrow += abs(test.difference - truth) <= 1.959964 * error
    assert 930 <= held <= 970
    # By the standard error of the difference it would not pass.
    assert narrow < 910


def test_areas_of_1_are_as_certain_as_their_images_are_many():
    positive = np.arange(60) < 20
    score = positive + np.linspace(0, 0.5, 60)
    other = positive + np.linspace(0.5, 0, 60)
    test = delong(score, other, positive)
    # An area that twenty cases show without a mistake is at least 0.025 ** (1/20), by either score.
    end = pytest.approx(1 - 0.025 ** (1 / 20))
    assert (test.difference, -test.low, test.high) == (0.0, end, end)
    # The same ranking is no better than itself, whatever the images.
    same = delong(score, score**2, positive)
    assert (same.low, same.high, same.p) == (0.0, 0.0, 1.0)


def test_mcnemar_is_the_sum_over_all_tables():
    first = np.array([True] * 14 + [False] * 6)
    second = np.array([True] * 5 + [False] * 9 + [True] * 2 + [False] * 4)
    test = mcnemar(first, second)  # 9 against 2
    ways = list(product([0, 1], repeat=11))
    extreme = sum(1 for way in ways if min(sum(way), 11 - sum(way)) <= 2)
    assert test.p == pytest.approx(extreme / len(ways))
    assert (test.first, test.second, test.difference) == (0.7, 0.35, pytest.approx(0.35))
    assert test.low < 0.35 < test.high
    assert mcnemar(first, first).p == 1.0


def test_paired_bootstrap_is_narrower_than_two_scores_apart():
    probabilities, labels = drawn(kind="learnt", rows=200)
    other = 0.9 * probabilities + 0.1 / 3
    swapped = other.copy()
    swapped[:20] = swapped[:20, [1, 2, 0]]
    tests = paired_bootstrap(probabilities, swapped, labels, ISIC_2017, samples=300, seed=0)
    back = paired_bootstrap(swapped, probabilities, labels, ISIC_2017, samples=300, seed=0)
    assert tests["log_loss"].difference == pytest.approx(-back["log_loss"].difference)
    assert tests["mean_auc"].first == pytest.approx(summary(probabilities, labels, ISIC_2017)["mean_auc"])
    same = paired_bootstrap(probabilities, probabilities, labels, ISIC_2017, samples=50, seed=0)
    assert {(each.difference, each.p) for each in same.values()} == {(0.0, 1.0)}
    # DeLong knows the standard error of an AUC's difference without drawing.
    exact = delong(probabilities[:, 0], swapped[:, 0], labels == 0)
    assert tests["auc_melanoma"].high - tests["auc_melanoma"].low == pytest.approx(exact.high - exact.low, rel=0.25)


def test_the_bootstrap_s_p_and_interval_are_student_s_of_the_rarest_class():
    labels = np.repeat([0, 1, 2], [12, 30, 60])
    rng = np.random.default_rng(4)
    logits = rng.normal(size=(102, 3)) + 1.5 * np.eye(3)[labels]
    first, second = (np.exp(each) / np.exp(each).sum(axis=1, keepdims=True) for each in (
        logits, logits + rng.normal(size=(102, 3))
    ))  # fmt: skip
    weights = resamples(labels, samples=400, seed=0)
    drawn_first, drawn_second = (sampled_summary(each, labels, ISIC_2017, weights) for each in (first, second))
    tests = paired_bootstrap(first, second, labels, ISIC_2017, samples=400, seed=0)
    for name, count in {"mean_auc": 12, "balanced_accuracy": 12, "log_loss": 102, "sensitivity_nevus": 60}.items():
        test = tests[name]
        error = (drawn_first[name] - drawn_second[name]).std() * math.sqrt(count / (count - 1))
        assert test.p == pytest.approx(2 * t.sf(abs(test.difference) / error, count - 1)), name
        half = t.ppf(0.975, count - 1) * error
        assert (test.low, test.high) == pytest.approx((test.difference - half, test.difference + half)), name
        assert (test.p < 0.05) == (not test.low <= 0 <= test.high)
    # Photos of one lesion count once.
    pairs = [f"lesion {row // 2}" for row in range(102)]
    fewer = paired_bootstrap(first, second, labels, ISIC_2017, groups=pairs, samples=400, seed=0)["mean_auc"]
    error = (fewer.high - fewer.difference) / t.ppf(0.975, 5)
    assert fewer.p == pytest.approx(2 * t.sf(abs(fewer.difference) / error, 5))


def test_holm_is_never_less_and_keeps_the_order():
    p = [0.001, 0.2, 0.02, 0.9]
    assert holm(p) == pytest.approx([0.004, 0.4, 0.06, 0.9])
    assert holm([]) == []


def test_what_is_not_defined_is_nan():
    assert math.isnan(delong([0.1, 0.2], [0.1, 0.2], [True, True]).p)
    assert math.isnan(mcnemar([], []).p)
    assert math.isnan(delong([0.3, 0.2, 0.1], [0.1, 0.2, 0.4], [True, False, False]).low)


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(DataError, match="one of each an image"):
        delong([0.1, 0.2], [0.1, 0.2], [True])
    with pytest.raises(DataError, match="one of each an image"):
        mcnemar([True], [True, False])
    with pytest.raises(DataError, match="1 lesion ids for 2 images"):
        delong([0.1, 0.2], [0.1, 0.2], [True, False], ["a"])
