"""Temperature, decision weights and operating point: three questions, three answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from lesion.calibration import TEMPERATURES, cautious_temperature, fitted_temperature, tempered
from lesion.errors import DataError, SettingError
from lesion.rules import OperatingPoint, Rules, operating_point, reweighted

CLASSES = ("melanoma", "keratosis", "nevus")


def drawn(seed, images, overconfidence=1.0):
    """Labels drawn from true probabilities, and what a model says that is `overconfidence` times as sure."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(images, 3)) * 2
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(3, p=row) for row in true])
    return tempered(true, 1 / overconfidence), labels


@pytest.mark.parametrize("overconfidence", [0.5, 1.0, 2.0, 3.0])
def test_the_temperature_that_was_planted_is_found(overconfidence):
    p, labels = drawn(1, 6000, overconfidence)
    assert fitted_temperature(p, labels) == pytest.approx(overconfidence, rel=0.06)
    assert cautious_temperature(p, labels) == pytest.approx(overconfidence, rel=0.12)


@settings(deadline=None, max_examples=30, derandomize=True, database=None)
@given(st.integers(0, 2**32 - 1), st.integers(5, 80), st.floats(0.3, 4.0))
def test_no_other_temperature_has_less_log_loss(seed, images, overconfidence):
    p, labels = drawn(seed, images, overconfidence)
    best = fitted_temperature(p, labels)

    def loss(temperature):
        return log_loss(labels, tempered(p, temperature), labels=[0, 1, 2])

    others = np.geomspace(*TEMPERATURES, 40)
    assert loss(best) <= min(map(loss, others)) + 1e-9
    cautious = cautious_temperature(p, labels)
    assert min(1.0, best) - 1e-9 <= cautious <= max(1.0, best) + 1e-9
    assert loss(cautious) <= loss(1.0) + 1e-12


def test_a_few_images_do_not_move_the_temperature():
    p, labels = drawn(3, 6000, 2.0)
    assert cautious_temperature(p[:8], labels[:8]) == 1.0
    assert cautious_temperature(p[:1], labels[:1]) == 1.0
    assert fitted_temperature(np.eye(3) * 0.7 + 0.1, [0, 1, 2]) == pytest.approx(TEMPERATURES[0])


def test_a_temperature_keeps_every_ranking_within_a_photo_and_decision_weights_keep_the_probabilities():
    p, labels = drawn(4, 300)
    rules = Rules(1.7, (3.0, 1.0, 0.5))
    calibrated = rules.calibrated(p)
    np.testing.assert_array_equal(calibrated.argsort(axis=1), p.argsort(axis=1))
    np.testing.assert_allclose(rules.decisive(calibrated), reweighted(calibrated, (6.0, 2.0, 1.0)))
    assert (rules.decisive(calibrated).argmax(axis=1) != p.argmax(axis=1)).any()
    assert Rules().calibrated(p) is p
    assert Rules().decisive(p) is p
    two = p[:, :2] / p[:, :2].sum(axis=1, keepdims=True)
    some = labels < 2
    before, after = (roc_auc_score(labels[some], q[some, 1]) for q in (two, tempered(two, 2.5)))
    assert before == after


def test_an_operating_point_reaches_the_sensitivity_with_the_highest_threshold_that_does():
    p, labels = drawn(5, 400)
    point = operating_point(p, labels, CLASSES, ("melanoma",), 0.9)
    positive = labels == 0
    assert (point.images, point.positives) == (400, positive.sum())
    flagged = point.flagged(p, CLASSES)
    assert flagged[positive].mean() == point.sensitivity >= 0.9
    assert 1 - flagged[~positive].mean() == pytest.approx(point.specificity)
    higher = p[:, 0] > point.threshold
    assert higher[positive].mean() < 0.9


def test_several_classes_are_looked_for_together():
    p, labels = drawn(6, 200)
    point = operating_point(p, labels, CLASSES, ("melanoma", "keratosis"), 1.0)
    assert point.sensitivity == 1.0
    np.testing.assert_array_equal(point.flagged(p, CLASSES), p[:, 0] + p[:, 1] >= point.threshold)
    assert "melanoma or keratosis at" in str(point)


def test_what_an_operating_point_cannot_be_set_on():
    p, labels = drawn(7, 20)
    with pytest.raises(SettingError, match=r"no class 'melanom'; known: .* \(did you mean 'melanoma'\?\)"):
        operating_point(p, labels, CLASSES, ("melanom",), 0.9)
    with pytest.raises(DataError, match="0 of 20 validation images are of melanoma"):
        operating_point(p, np.ones(20, int), CLASSES, ("melanoma",), 0.9)


def test_thirty_positives_at_nine_in_ten_are_twenty_seven():
    p = np.linspace(1, 0, 30)
    rows = np.stack([p, 1 - p], axis=1)[[*range(30), 29]]
    point = operating_point(rows, [0] * 30 + [1], ("mel", "rest"), ("mel",), 0.9)
    assert isinstance(point, OperatingPoint)
    assert point.sensitivity == pytest.approx(27 / 30)
