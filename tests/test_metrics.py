"""Every number against scikit-learn or the official ISIC scorer."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from isic_challenge_scoring import ClassificationMetric, ClassificationScore
from isic_challenge_scoring import metrics as scorer
from sklearn import metrics as sk

from lesion.errors import DataError, SettingError
from lesion.metrics import (
    METRICS,
    bootstrap,
    calibration_table,
    confusion_matrix,
    curves,
    metric_named,
    metrics_of,
    objectives,
    official_categories,
    official_scores,
    official_weights,
    report,
    summary,
)

ISIC_2017 = ("melanoma", "seborrheic_keratosis", "nevus")
CLOSE = {"rel": 1e-12, "abs": 1e-12}


def drawn(rows=120, classes=3, seed=0, kind="random"):
    """Probabilities and labels in which every class occurs."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(classes, size=rows - classes)])
    probabilities = rng.dirichlet(np.ones(classes), rows)
    if kind == "learnt":
        probabilities = 0.8 * probabilities + 0.2 * np.eye(classes)[labels]
    elif kind == "one-hot":
        probabilities = np.eye(classes)[rng.integers(classes, size=rows)]
    elif kind == "perfect":
        probabilities = np.eye(classes)[labels]
    elif kind == "tied":
        probabilities = rng.integers(0, 3, (rows, classes)) / 2
    elif kind == "constant":
        probabilities = np.full((rows, classes), 0.5)
    return probabilities, labels


KINDS = ("random", "learnt", "one-hot", "perfect", "tied", "constant")


def names(classes):
    return tuple(f"class{k}" for k in range(classes))


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
    assert_equals_isic(
        official_scores(probabilities, labels, classes), scored_by_isic(probabilities, labels, classes)
    )


def test_official_scores_equal_the_official_scorer_with_weights():
    probabilities, labels = drawn(classes=7, kind="learnt")
    weights = np.random.default_rng(1).choice([0.0, 0.5, 1.0, 2.0], len(labels))
    ours = official_scores(probabilities, labels, names(7), weights)
    assert_equals_isic(ours, scored_by_isic(probabilities, labels, names(7), weights))


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_official_scores_equal_the_official_scorer_on_any_ties(data):
    rows = data.draw(st.integers(6, 30))
    labels = np.array(
        [0, 1, 2, *data.draw(st.lists(st.integers(0, 2), min_size=rows - 3, max_size=rows - 3))]
    )
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
        scored_by_isic(
            probabilities, labels, names(3), metric=ClassificationMetric.BALANCED_ACCURACY
        ).overall,
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


@pytest.mark.parametrize("kind", ["random", "learnt", "tied"])
@pytest.mark.parametrize("weighted", [False, True])
def test_areas_equal_scikit_learn(kind, weighted):
    probabilities, labels = drawn(classes=4, kind=kind, seed=3)
    weights = np.random.default_rng(2).integers(0, 4, len(labels)).astype(float) if weighted else None
    ours = report(probabilities, labels, names(4), weights)
    truth = np.eye(4)[labels]
    for average in ("macro", "micro", "weighted"):
        theirs = sk.roc_auc_score(truth, probabilities, average=average, sample_weight=weights)
        assert ours[f"{average}_auc"] == pytest.approx(theirs, **CLOSE)
    ap = sk.average_precision_score(truth, probabilities, average="macro", sample_weight=weights)
    assert ours["macro_ap"] == pytest.approx(ap, **CLOSE)
    for k, label in enumerate(names(4)):
        auc = sk.roc_auc_score(truth[:, k], probabilities[:, k], sample_weight=weights)
        assert ours[f"auc_{label}"] == pytest.approx(auc, **CLOSE)


@pytest.mark.parametrize("weighted", [False, True])
def test_decisions_and_calibration_equal_scikit_learn(weighted):
    probabilities, labels = drawn(classes=4, kind="learnt", seed=4)
    weights = np.random.default_rng(2).uniform(0.5, 2, len(labels)) if weighted else None
    ours = report(probabilities, labels, names(4), weights)
    decided = probabilities.argmax(axis=1)
    rest = {"sample_weight": weights}
    assert ours["accuracy"] == pytest.approx(sk.accuracy_score(labels, decided, **rest), **CLOSE)
    balanced = sk.balanced_accuracy_score(labels, decided, **rest)
    assert ours["balanced_accuracy"] == pytest.approx(balanced, **CLOSE)
    assert ours["log_loss"] == pytest.approx(sk.log_loss(labels, probabilities, **rest), **CLOSE)
    distance = ((probabilities - np.eye(4)[labels]) ** 2).sum(axis=1)
    assert ours["brier"] == pytest.approx(np.average(distance, weights=weights), **CLOSE)
    precision, recall, f1, _ = sk.precision_recall_fscore_support(labels, decided, **rest)
    assert ours["macro_f1"] == pytest.approx(f1.mean(), **CLOSE)
    specificity = sk.recall_score(1 - np.eye(4)[labels], 1 - np.eye(4)[decided], average=None, **rest)
    for k, label in enumerate(names(4)):
        assert ours[f"precision_{label}"] == pytest.approx(precision[k], **CLOSE)
        assert ours[f"sensitivity_{label}"] == pytest.approx(recall[k], **CLOSE)
        assert ours[f"specificity_{label}"] == pytest.approx(specificity[k], **CLOSE)
        assert ours[f"f1_{label}"] == pytest.approx(f1[k], **CLOSE)


@pytest.mark.parametrize("kind", ["learnt", "tied", "perfect", "constant"])
def test_specificity_is_that_of_the_first_point_with_the_sensitivity(kind):
    probabilities, labels = drawn(kind=kind, seed=5)
    ours = report(probabilities, labels, ISIC_2017)
    for k, label in enumerate(ISIC_2017):
        fpr, tpr, _ = sk.roc_curve(labels == k, probabilities[:, k], drop_intermediate=False)
        for percent in (82, 89, 95):
            expected = 1 - fpr[np.flatnonzero(tpr >= percent / 100)[0]]
            assert ours[f"specificity_at_{percent}_{label}"] == pytest.approx(expected, **CLOSE)


def test_mean_auc_leaves_nevus_out_for_2017_only():
    probabilities, labels = drawn(kind="learnt")
    scores = summary(probabilities, labels, ISIC_2017)
    official = (scores["auc_melanoma"] + scores["auc_seborrheic_keratosis"]) / 2
    assert scores["mean_auc"] == pytest.approx(official, **CLOSE)
    other = summary(probabilities, labels, names(3))
    assert other["mean_auc"] == other["macro_auc"] != scores["mean_auc"]


def test_an_exact_tie_is_wrong():
    probabilities, labels = np.array([[0.5, 0.5], [0.5, 0.5], [0.9, 0.1]]), np.array([0, 1, 0])
    scores = summary(probabilities, labels, names(2))
    assert scores["accuracy"] == pytest.approx(1 / 3)
    assert scores["balanced_accuracy"] == pytest.approx(1 / 4)
    assert confusion_matrix(probabilities, labels, names(2)).tolist() == [[1, 0, 1], [0, 0, 1]]


def test_confusion_matrix_equals_scikit_learn():
    probabilities, labels = drawn(classes=4, kind="learnt")
    expected = sk.confusion_matrix(labels, probabilities.argmax(axis=1))
    ours = confusion_matrix(probabilities, labels, names(4))
    assert (ours[:, :-1] == expected).all()
    assert ours[:, -1].sum() == 0


def test_an_absent_class_is_undefined_and_never_perfect():
    probabilities, labels = drawn(classes=3, kind="learnt")
    present = labels != 2
    scores = report(probabilities[present], labels[present], ISIC_2017)
    for name in ("auc_nevus", "macro_auc", "sensitivity_nevus", "ap_nevus", "specificity_at_82_nevus"):
        assert np.isnan(scores[name]), name
    assert np.isfinite(scores["mean_auc"])  # melanoma and keratosis occur
    recalls = [scores["sensitivity_melanoma"], scores["sensitivity_seborrheic_keratosis"]]
    assert scores["balanced_accuracy"] == pytest.approx(np.mean(recalls))


def test_calibration_error_is_the_gap_between_confidence_and_success():
    probabilities = np.array([[0.8, 0.2]] * 10)
    labels = np.array([0] * 6 + [1] * 4)
    assert summary(probabilities, labels, names(2))["ece"] == pytest.approx(0.2)
    table = calibration_table(probabilities, labels, names(2))
    assert table.shape == (15, 3)
    assert table[11] == pytest.approx([10, 0.8, 0.6])  # (11/15, 12/15] holds 0.8
    assert np.isnan(table[0, 1:]).all()


def test_calibration_table_gives_the_calibration_error():
    probabilities, labels = drawn(kind="learnt", classes=5)
    table = calibration_table(probabilities, labels, names(5))
    full = table[table[:, 0] > 0]
    error = (full[:, 0] * np.abs(full[:, 1] - full[:, 2])).sum() / len(labels)
    assert summary(probabilities, labels, names(5))["ece"] == pytest.approx(error)


def test_a_certain_mistake_has_a_finite_log_loss():
    assert summary([[1.0, 0.0], [1.0, 0.0]], [0, 1], names(2))["log_loss"] == pytest.approx(
        sk.log_loss([0, 1], [[1.0, 0.0], [1.0, 0.0]])
    )


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_the_catalogue_within_its_bounds(kind):
    probabilities, labels = drawn(classes=3, kind=kind)
    assert set(summary(probabilities, labels, ISIC_2017)) == set(objectives(ISIC_2017))
    scores = report(probabilities, labels, ISIC_2017)
    catalogue = metrics_of(ISIC_2017)
    assert set(scores) == set(catalogue)
    assert set(METRICS) <= set(catalogue)
    for name, value in scores.items():
        assert np.isnan(value) or catalogue[name].low <= value <= catalogue[name].high + 1e-12, name
        assert catalogue[name].description


def test_an_unknown_metric_names_the_nearest():
    with pytest.raises(SettingError, match=r"no metric 'mean_auk'.*did you mean 'mean_auc'"):
        metric_named("mean_auk")


BAD = [
    ([[0.5, 0.5]], [0, 1], "labels are int64 (2,), must be integers (1,)"),
    ([0.5, 0.5], [0, 1], "probabilities are (2,), must be (images, 2)"),
    (np.zeros((0, 2)), np.zeros(0, int), "with at least one image"),
    ([[0.5, np.nan]], [0], "probabilities of row 0 are [0.5, nan], must be from 0 to 1"),
    ([[0.5, 0.5], [1.5, 0.0]], [0, 0], "probabilities of row 1 are"),
    ([[0.5, 0.5]], [2], "labels go from 2 to 2, must be from 0 to 1"),
    ([[0.5, 0.5]], [0.0], "labels are float64"),
]


@pytest.mark.parametrize(("probabilities", "labels", "message"), BAD, ids=[m for _, _, m in BAD])
def test_arguments_that_do_not_fit_are_named(probabilities, labels, message):
    with pytest.raises(DataError) as error:
        summary(probabilities, labels, names(2))
    assert message in str(error.value)


@pytest.mark.parametrize("weights", [[1.0], [0.0, 0.0], [1.0, -1.0], [1.0, np.inf]])
def test_bad_weights_are_refused(weights):
    with pytest.raises(DataError, match="weights are"):
        summary([[0.5, 0.5], [0.1, 0.9]], [0, 1], names(2), weights)


def test_bootstrap_samples_are_the_report_of_the_drawn_rows():
    probabilities, labels = drawn(kind="tied")
    counts = np.random.default_rng(0).integers(0, 3, len(labels))
    rows = np.repeat(np.arange(len(labels)), counts)
    weighted = report(probabilities, labels, ISIC_2017, counts)
    assert report(probabilities[rows], labels[rows], ISIC_2017) == pytest.approx(
        weighted, nan_ok=True, **CLOSE
    )


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


def test_bootstrap_in_portions_equals_the_whole(monkeypatch):
    probabilities, labels = drawn(rows=30)
    monkeypatch.setattr("lesion.metrics.intervals.CELLS", 30 * 3 * 7)
    intervals = bootstrap(probabilities, labels, ISIC_2017, samples=20, seed=0)
    assert np.isfinite(intervals["mean_auc"].low)


def test_a_ranking_shares_thresholds_between_equal_scores():
    ranking = curves.rank(np.array([0.5, 0.5]), np.array([True, False]), np.ones((1, 2)))
    assert ranking.tpr.tolist() == [[0.0, 1.0]]
    assert curves.auc(ranking).tolist() == [0.5]
