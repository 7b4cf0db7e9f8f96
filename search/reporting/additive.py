"""What each part of a setting adds to a value: a Bayesian additive model, drawn from by Gibbs sampling.

    value = level + Σ effects of a trial's options + Σ curves of its numbers + validation noise + the rest

A batch is what belongs together, such as the options of `loss`. Its coefficients share a variance that is learnt
(Gelman 2005, "Analysis of variance: why it is more important than ever") below a half-Cauchy prior (Gelman 2006, whose
redundant multiplier also keeps the sampler moving near zero): where trials tell nothing, effects shrink to nothing,
which keeps thirty comparisons at a time from finding a false one (Gelman, Hill & Yajima 2012). The rest has the tails
of a Student t with 4 degrees of freedom, so that a trial that collapsed does not speak for its options. Whether the
intervals hold is tried out in `benchmarks/effects.py`.

>>> import numpy as np
>>> options = np.repeat(np.eye(2), 20, axis=0)
>>> value = options @ [0.0, 1.0] + 0.1 * np.random.default_rng(0).normal(size=40)
>>> fit = posterior(value, [options], draws=500, seed=0)
>>> bool(abs((fit.batches[0][:, 1] - fit.batches[0][:, 0]).mean() - 1) < 0.1)
True
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

FREEDOM = 4.0
"""Degrees of freedom of the rest."""
WIDTH = 0.5
"""Width of the half-Cauchy prior of a batch's standard deviation, in standard deviations of the values."""
REST = 0.05
"""Scale of the prior of the rest's variance, inverse-gamma of shape 1: keeps more columns than trials from explaining
everything."""
TINY = 1e-9


@dataclass(frozen=True, eq=False)
class Posterior:
    """Draws of the coefficients, a (draws, columns) array a batch, and of the share of variance they explain."""

    batches: tuple[Floats, ...]
    explained: Floats


def posterior(
    values: npt.ArrayLike,
    batches: Sequence[Floats],
    noise: Floats | None = None,
    *,
    draws: int = 2000,
    burn_in: int = 500,
    seed: int,
) -> Posterior:
    """Draw from the posterior of the batches' coefficients, in units of `values` (n,).

    `batches` are design matrices (n, columns); `noise` (n, any) has known columns of random effects whose coefficients
    have variance 1, so that noise @ noise.T is a known covariance of the values.
    """
    y = np.asarray(values, np.float64)
    spread = float(y.std())
    if spread < TINY or not batches:
        nothing = tuple(np.zeros((draws, batch.shape[1])) for batch in batches)
        return Posterior(nothing, np.zeros(draws))
    known = np.zeros((len(y), 0)) if noise is None else noise / spread
    X = np.hstack([np.ones((len(y), 1)), *batches, known])
    widths = [batch.shape[1] for batch in batches]
    sampled = _gibbs((y - np.median(y)) / spread, X, widths, draws, burn_in, np.random.default_rng(seed))
    ends = np.cumsum([1, *widths])
    effects = tuple(sampled[:, start:end] * spread for start, end in pairwise(ends))
    told = sampled[:, 1 : ends[-1]] @ X[:, 1 : ends[-1]].T  # (draws, n)
    left = (y - np.median(y)) / spread - told - sampled[:, :1]
    # Share of variance by draws (Gelman, Goodrich, Gabry & Vehtari 2019, equation 3).
    return Posterior(effects, told.var(axis=1) / (told.var(axis=1) + left.var(axis=1) + TINY))


def _gibbs(y: Floats, X: Floats, widths: Sequence[int], draws: int, burn_in: int, rng: np.random.Generator) -> Floats:
    """Draws of all coefficients, (draws, columns of X): level, batches, known noise.

    A batch's coefficients are a multiplier, normal, times directions, normal with an inverse-gamma variance.
    """
    batch = np.repeat(np.arange(len(widths)), widths)
    members = (batch[:, None] == np.arange(len(widths))).astype(np.float64)  # (coefficients, batches)
    level, own, known = X[:, :1], X[:, 1 : 1 + len(batch)], X[:, 1 + len(batch) :]
    flat, unit = np.array([1e-4]), np.ones(known.shape[1])
    multipliers, variances, rest = np.ones(len(widths)), np.full(len(widths), WIDTH**2), 0.5
    weights = np.ones(len(y))
    kept = np.empty((draws, X.shape[1]))
    for turn in range(burn_in + draws):
        design = np.hstack([level, own * multipliers[batch], known])
        precision = np.concatenate([flat, 1 / variances[batch], unit])
        directions = _coefficients(y, design, weights / rest, precision, rng)[1 : 1 + len(batch)]
        design = np.hstack([level, (own * directions) @ members, known])
        drawn = _coefficients(y, design, weights / rest, np.concatenate([flat, np.ones(len(widths)), unit]), rng)
        multipliers = drawn[1 : 1 + len(widths)]
        beta = np.concatenate([drawn[:1], multipliers[batch] * directions, drawn[1 + len(widths) :]])
        squares = np.bincount(batch, directions**2, minlength=len(widths))
        variances = _inverse_gamma(rng, (1 + np.asarray(widths)) / 2, (WIDTH**2 + squares) / 2)
        left = (y - X @ beta) ** 2
        rest = float(_inverse_gamma(rng, 1 + len(y) / 2, REST + (weights * left).sum() / 2))
        weights = rng.gamma((FREEDOM + 1) / 2, 2 / (FREEDOM + left / rest))
        if turn >= burn_in:
            kept[turn - burn_in] = beta
    return kept


def _coefficients(y: Floats, X: Floats, weights: Floats, precision: Floats, rng: np.random.Generator) -> Floats:
    """One draw of all coefficients given everything else: normal, by the Cholesky factor of its precision."""
    weighted = X * weights[:, None]
    factor = np.linalg.cholesky(X.T @ weighted + np.diag(precision))
    half = np.linalg.solve(factor, weighted.T @ y)
    drawn: Floats = np.linalg.solve(factor.T, half + rng.normal(size=len(half)))
    return drawn


def _inverse_gamma(rng: np.random.Generator, shape: Floats | float, rate: Floats | float) -> Floats:
    return np.asarray(rate / rng.gamma(shape), np.float64)
