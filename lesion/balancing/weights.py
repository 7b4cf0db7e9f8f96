"""Balancing by weight: every image stays, classes count differently or are drawn more often.

One exponent leads from none of it (0) to all of it (1): a search finds how much, which winners disagree on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

import numpy as np

from lesion.balancing.draws import Draws, Part, balancings
from lesion.losses import class_weights as inverse_frequency
from lesion.registry import Range, Value

Exponent = Annotated[float, Range(0.0, 2.0)]


def _unless_zero(settings: Mapping[str, Value]) -> bool:
    return settings.get("exponent", 1.0) != 0.0


@balancings.register(corrects=_unless_zero)
def class_weights(part: Part, draws: Draws, rng: np.random.Generator, *, exponent: Exponent = 1.0) -> Draws:
    """Weigh each class in the loss, whichever it is, by (N / (K n_c))^exponent.

    N images of K classes, n_c of the class, as they are drawn so far; a class that is not drawn weighs nothing.
    """
    weights = inverse_frequency(draws.counts(part), exponent)
    return replace(draws, class_weights=weights if draws.class_weights is None else draws.class_weights * weights)


@balancings.register(corrects=_unless_zero)
def balanced_sampler(part: Part, draws: Draws, rng: np.random.Generator, *, exponent: Exponent = 1.0) -> Draws:
    """Draw with replacement, an image of class c in proportion to n_c^-exponent: 1 draws all classes equally often."""
    chance = inverse_frequency(draws.counts(part), exponent)[draws.labels(part)]
    before = np.ones(len(draws)) if draws.chance is None else draws.chance
    return replace(draws, chance=chance * before / (chance * before).sum())
