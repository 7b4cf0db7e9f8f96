"""How unsure a model is of a photo: the entropy of what it says, and how far its parts are from agreeing.

Both are shares of the largest that they could be, 0 to 1:

>>> spread = [[[0.9, 0.1]], [[0.1, 0.9]]]                     # two parts that contradict each other
>>> agreed = [[[0.5, 0.5]], [[0.5, 0.5]]]                     # two that both do not know
>>> entropy([[0.5, 0.5]]), disagreement(spread).round(2), disagreement(agreed)
(array([1.]), array([0.53]), array([0.]))

High entropy with little disagreement is a photo that looks like several classes; much disagreement is a photo that the
members did not learn to judge (Lakshminarayanan et al. 2017, arXiv:1612.01474; Smith & Gal 2018, arXiv:1803.08533).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def entropy(probabilities: npt.ArrayLike) -> Floats:
    """Predictive entropy of each row (…, classes) over that of not knowing at all, log(classes): (…)."""
    p = np.asarray(probabilities, np.float64)
    logs = np.log(p, out=np.zeros_like(p), where=p > 0)
    return np.asarray(np.clip(-(p * logs).sum(axis=-1) / np.log(p.shape[-1]), 0.0, 1.0), np.float64)


def disagreement(parts: npt.ArrayLike) -> Floats:
    """Entropy of the mean of the parts less the mean of their entropies, over log(classes): (N,).

    `parts` (members × views, N, classes) are probabilities. It is the mutual information between the prediction and the
    part that makes it, 0 where all say the same.
    """
    p = np.asarray(parts, np.float64)
    return np.asarray(np.clip(entropy(p.mean(axis=0)) - entropy(p).mean(axis=0), 0.0, 1.0), np.float64)
