"""Entropy and disagreement against scipy, and where they stand still."""

import numpy as np
import scipy.stats

from lesion.uncertainty import disagreement, entropy


def test_entropy_is_that_of_scipy_over_its_largest():
    p = np.random.default_rng(0).dirichlet([0.4] * 5, size=20)
    np.testing.assert_allclose(entropy(p), scipy.stats.entropy(p, axis=1) / np.log(5))
    np.testing.assert_array_equal(entropy(np.eye(4)), 0)


def test_disagreement_is_the_mean_divergence_of_the_parts_from_their_mean():
    parts = np.random.default_rng(1).dirichlet([1.0] * 3, size=(6, 10))
    mean = parts.mean(axis=0)
    divergences = [scipy.stats.entropy(part, mean, axis=1) for part in parts]
    np.testing.assert_allclose(disagreement(parts), np.mean(divergences, axis=0) / np.log(3))
    np.testing.assert_allclose(disagreement(parts[:1]), 0, atol=1e-15)
