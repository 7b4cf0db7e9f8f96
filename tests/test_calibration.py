"""Factors that make decisions fair to rare classes, for probabilities of every kind."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesion.calibration import balancing_weights
from lesion.errors import DataError


def drawn(seed, classes, images, sharpness):
    """Probabilities of a model that is right more often than not and leans to the last class."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, images)])
    logits = rng.normal(size=(len(labels), classes)) * sharpness + np.linspace(0, 2, classes)
    logits[np.arange(len(labels)), labels] += sharpness
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True), labels


def balanced_means(p, labels, weights):
    """Mean adjusted probability of each class where every class weighs the same."""
    adjusted = p * weights
    adjusted /= adjusted.sum(axis=1, keepdims=True)
    return np.mean([adjusted[labels == label].mean(axis=0) for label in range(p.shape[1])], axis=0)


@settings(deadline=None, max_examples=40, derandomize=True, database=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 7), st.integers(10, 120), st.floats(0.1, 5.0))
def test_classes_become_equally_likely_and_the_factors_multiply_to_one(seed, classes, images, sharpness):
    p, labels = drawn(seed, classes, images, sharpness)
    weights = np.array(balancing_weights(p, labels))
    np.testing.assert_allclose(balanced_means(p, labels, weights), 1 / classes, atol=1e-6)
    assert weights.prod() == pytest.approx(1.0)


def test_the_odds_of_a_prior_are_taken_back():
    # Two groups of images whose balanced posterior is (0.8, 0.2) and (0.2, 0.8), seen at a prior of (0.1, 0.9).
    posterior = np.array([[0.8, 0.2], [0.2, 0.8]]) * [0.1, 0.9]
    posterior /= posterior.sum(axis=1, keepdims=True)
    p = np.repeat(posterior, [8 + 2 * 9, 2 + 8 * 9], axis=0)
    labels = np.repeat([0, 1, 0, 1], [8, 18, 2, 72])
    first, second = balancing_weights(p, labels)
    assert first / second == pytest.approx(9.0)


def test_how_many_images_a_class_has_does_not_matter():
    p, labels = drawn(0, 3, 60, 2.0)
    again = np.concatenate([np.arange(len(labels)), np.flatnonzero(labels == 1)])
    assert balancing_weights(p[again], labels[again]) == pytest.approx(balancing_weights(p, labels))


@pytest.mark.parametrize(
    ("p", "labels"),
    [
        ([[1, 0], [0, 1], [0, 1], [1, 0]], [0, 1, 1, 1]),
        ([[1, 0, 0], [1, 0, 0], [1, 0, 0]], [0, 1, 2]),
        ([[0.5, 0.5, 0], [0.5, 0.5, 0], [0.5, 0.5, 0]], [0, 1, 2]),
        ([[1 - 1e-300, 1e-300], [1, 0]], [0, 1]),
    ],
    ids=["certain and wrong", "always the first", "never the third", "next to nothing"],
)
def test_certain_predictions_get_factors_that_can_be_used(p, labels):
    p = np.array(p, dtype=float)
    weights = np.array(balancing_weights(p, labels))
    assert np.isfinite(weights).all()
    assert (weights > 1e-12).all()
    assert weights.prod() == pytest.approx(1.0)
    assert np.isfinite(p * weights / (p * weights).sum(axis=1, keepdims=True)).all()


def test_perfect_predictions_are_left_as_they_are():
    assert balancing_weights(np.eye(3)[[0, 1, 2, 2, 2]], [0, 1, 2, 2, 2]) == pytest.approx((1.0, 1.0, 1.0))


def test_a_class_without_images():
    with pytest.raises(DataError, match="class 1 has no validation image: decisions cannot be balanced"):
        balancing_weights(np.full((2, 3), 1 / 3), [0, 2])
