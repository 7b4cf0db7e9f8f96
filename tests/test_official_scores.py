"""The official scores against the official scorer, on every kind of prediction."""

import warnings

import numpy as np
import pandas as pd
import pytest
from drawn_predictions import CLOSE, ISIC_2017, KINDS, drawn, names
from hypothesis import given, settings
from hypothesis import strategies as st
from isic_challenge_scoring import ClassificationMetric, ClassificationScore
from isic_challenge_scoring import metrics as scorer

from lesion.metrics import official_categories, official_scores, official_weights, summary


def scored_by_isic(probabilities, labels, classes, weights=None, metric=ClassificationMetric.AUC):
    """The official scorer on the official columns."""
    columns = list(official_categories(classes))
    kept = [classes.index(name) for name in columns]
    truth = pd.DataFrame(np.eye(len(classes))[labels][:, kept], columns=columns)
    given_ = pd.DataFrame(np.asarray(probabilities)[:, kept], columns=columns)
    w = np.ones(len(labels)) if weights is None else np.asarray(weights, float)
    table = pd.DataFrame({"score_weight": w, "validation_weight": w})
    return ClassificationScore(truth, given_, table, metric)


def assert_equals_isic(ours, theirs):
    assert ours.balanced_accuracy == pytest.approx(theirs.aggregate["balanced_accuracy"], **CLOSE)
    assert list(ours.per_category) == list(theirs.per_category.index)
    for category, row in theirs.per_category.iterrows():
        assert ours.per_category[category] == pytest.approx(row.to_dict(), **CLOSE)
    assert ours.macro_average == pytest.approx(theirs.macro_average.to_dict(), **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [names(2), names(7), ISIC_2017], ids=["2", "7", "isic2017"])
def test_official_scores_equal_the_official_scorer(kind, classes):
    probabilities, labels = drawn(classes=len(classes), kind=kind)
    assert_equals_isic(official_scores(probabilities, labels, classes), scored_by_isic(probabilities, labels, classes))


def test_official_scores_equal_the_official_scorer_with_weights():
    probabilities, labels = drawn(classes=7, kind="learnt")
    weights = np.random.default_rng(1).choice([0.0, 0.5, 1.0, 2.0], len(labels))
    ours = official_scores(probabilities, labels, names(7), weights)
    assert_equals_isic(ours, scored_by_isic(probabilities, labels, names(7), weights))


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_official_scores_equal_the_official_scorer_on_any_ties(data):
    rows = data.draw(st.integers(6, 30))
    labels = np.array([0, 1, 2, *data.draw(st.lists(st.integers(0, 2), min_size=rows - 3, max_size=rows - 3))])
    level = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=3, max_size=3)
    probabilities = np.array(data.draw(st.lists(level, min_size=rows, max_size=rows)))
    assert_equals_isic(
        official_scores(probabilities, labels, names(3)), scored_by_isic(probabilities, labels, names(3))
    )


def test_the_leaderboard_number_is_the_2017_mean_auc_and_else_balanced_accuracy():
    probabilities, labels = drawn(kind="learnt")
    scores = official_scores(probabilities, labels, ISIC_2017)
    assert scores.ranking == "auc"
    assert scores.overall == pytest.approx(scored_by_isic(probabilities, labels, ISIC_2017).overall, **CLOSE)
    assert scores.overall == pytest.approx(summary(probabilities, labels, ISIC_2017)["mean_auc"], **CLOSE)
    scores = official_scores(probabilities, labels, names(3))
    assert scores.ranking == "balanced_accuracy"
    assert scores.overall == pytest.approx(
        scored_by_isic(probabilities, labels, names(3), metric=ClassificationMetric.BALANCED_ACCURACY).overall,
        **CLOSE,
    )
    assert scores.to_dict()["overall"] == scores.overall


@pytest.mark.parametrize("label", [0, 1], ids=["no positives", "no negatives"])
def test_undefined_official_scores_are_those_of_the_scorer(label):
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7]])
    labels = np.full(3, 1 - label)
    ours = official_scores(probabilities, labels, names(2))
    truth, score = pd.Series((labels == 0).astype(float)), pd.Series(probabilities[:, 0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        category = ours.per_category["class0"]
        assert category["ap"] == scorer.average_precision(truth, score, pd.Series(np.ones(3)))
        assert np.isnan(scorer.auc(truth, score, pd.Series(np.ones(3))))
    assert np.isnan(category["auc"])
    assert np.isnan(category["auc_sens_80"])
    assert category["sensitivity" if label == 0 else "specificity"] == 1.0
    assert ours.balanced_accuracy == pytest.approx(1 / 3 if label else 2 / 3)  # over the class that occurs


def test_rates_without_a_denominator_count_as_one():
    scores = official_scores(np.full((2, 2), 0.4), np.array([0, 1]), names(2))
    assert scores.per_category["class0"]["ppv"] == 1.0
    scores = official_scores(np.full((2, 2), 0.6), np.array([0, 1]), names(2))
    assert scores.per_category["class0"]["npv"] == 1.0


def test_the_image_that_the_scorer_leaves_out_weighs_nothing():
    assert official_weights(["ISIC_0035067", "ISIC_0035068"]).tolist() == [1.0, 0.0]
