"""Balancing: which rows of the training part are drawn, and how often.

A balancing takes the labels of the training part (N,) and a generator, and returns positions into that
part, repeated or left out. It never sees the validation part, so no copy of a lesion can reach it.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from lesion.registry import Range, Registry

balancings = Registry("balancing")

Positions = NDArray[np.int64]


@balancings.register
def none(labels: Positions, rng: np.random.Generator) -> Positions:
    """Every image once."""
    return np.arange(len(labels))


@balancings.register(corrects=lambda settings: True)
def oversample(
    labels: Positions, rng: np.random.Generator, *, ratio: Annotated[float, Range(0.0, 1.0)] = 1.0
) -> Positions:
    """Repeat images of every class below `ratio` × the largest class up to that count.

    Each image of a class is repeated equally often, but for a remainder that is drawn without replacement.
    """
    members = _members(labels)
    target = round(ratio * max(len(m) for m in members))
    return np.sort(np.concatenate([_repeat(m, max(len(m), target), rng) for m in members]))


@balancings.register(corrects=lambda settings: True)
def downsample(
    labels: Positions, rng: np.random.Generator, *, ratio: Annotated[float, Range(1.0, None)] = 1.0
) -> Positions:
    """Leave out images of every class above `ratio` × the smallest class, down to that count."""
    members = _members(labels)
    target = round(ratio * min(len(m) for m in members))
    kept = [rng.choice(m, min(len(m), target), replace=False) for m in members]
    return np.sort(np.concatenate(kept))


def _members(labels: Positions) -> list[Positions]:
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def _repeat(members: Positions, target: int, rng: np.random.Generator) -> Positions:
    rounds, rest = divmod(target, len(members))
    return np.concatenate([np.tile(members, rounds), rng.choice(members, rest, replace=False)])
