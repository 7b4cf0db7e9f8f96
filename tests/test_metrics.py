"""Scores of the search against scikit-learn, and what is undefined or refused."""

import numpy as np
import pytest
from drawn_predictions import CLOSE, ISIC_2017, KINDS, drawn, names
from sklearn import metrics as sk

from lesion.errors import DataError, SettingError
from lesion.metrics import (
    METRICS,
    calibration_table,
    confusion_matrix,
    curves,
    decisions,
    metric_named,
    metrics_of,
    objectives,
    of_every_epoch,
    report,
    summary,
)


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
    ours = summary(probabilities, labels, names(4), weights)
    assert report(probabilities, labels, names(4), weights).items() >= ours.items()
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
    assert decisions(probabilities, names(2)) == ["undecided", "undecided", "class0"]


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


def test_precision_of_what_is_never_called_is_undefined_and_no_objective():
    scores = summary([[0.8, 0.2], [0.7, 0.3]], [0, 1], names(2))
    precision, f1 = (scores[f"{metric}_{names(2)[1]}"] for metric in ("precision", "f1"))
    assert np.isnan(precision)
    assert f1 == 0.0
    assert not [name for name in objectives(names(2)) if name.startswith("precision")]


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_the_catalogue_within_its_bounds(kind):
    probabilities, labels = drawn(classes=3, kind=kind)
    assert set(summary(probabilities, labels, ISIC_2017)) == set(of_every_epoch(ISIC_2017)) > set(objectives(ISIC_2017))
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


def test_a_ranking_shares_thresholds_between_equal_scores():
    ranking = curves.rank(np.array([0.5, 0.5]), np.array([True, False]), np.ones((1, 2)))
    assert ranking.tpr.tolist() == [[0.0, 1.0]]
    assert curves.auc(ranking).tolist() == [0.5]
