"""Balancing by rows: images repeated, left out, or added once more as copies."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from lesion.balancing.copies import AUGMENTED, DETERMINISTIC
from lesion.balancing.draws import Draws, Part, Positions, balancings
from lesion.errors import SettingError
from lesion.registry import Range

MINORITY = "minority"


@balancings.register
def none(part: Part, draws: Draws, rng: np.random.Generator) -> Draws:
    """Every image once."""
    return draws


@balancings.register(corrects=lambda settings: settings.get("ratio", 1.0) != 0.0)
def oversample(
    part: Part, draws: Draws, rng: np.random.Generator, *, ratio: Annotated[float, Range(0.0, 1.0)] = 1.0
) -> Draws:
    """Repeat images of every class below `ratio` × the largest class up to that count.

    Each image of a class is repeated equally often, but for a remainder that is drawn without replacement.
    """
    members = _members(part, draws)
    target = round(ratio * max(len(m) for m in members))
    return draws.take(np.sort(np.concatenate([_repeat(m, max(len(m), target), rng) for m in members])))


@balancings.register(corrects=lambda settings: True)
def downsample(
    part: Part, draws: Draws, rng: np.random.Generator, *, ratio: Annotated[float, Range(1.0, None)] = 1.0
) -> Draws:
    """Leave out images of every class above `ratio` × the smallest class, down to that count."""
    members = _members(part, draws)
    return _down_to(draws, members, round(ratio * min(len(m) for m in members)), rng)


@balancings.register(corrects=lambda settings: True)
def cap(
    part: Part,
    draws: Draws,
    rng: np.random.Generator,
    *,
    count: Annotated[int, Range(1, None)] | None = None,
    fraction: Annotated[float, Range(0.001, 1.0)] | None = None,
    of_class: str | None = None,
) -> Draws:
    """Leave out images of every class above a ceiling, down to it; half the largest class if none is set.

    The ceiling is `count` images, a `fraction` of the largest class, or the size of the class `of_class`, one of the
    three; classes are counted as they are drawn so far.
    """
    given = [name for name, value in (("count", count), ("fraction", fraction), ("of_class", of_class)) if value]
    if len(given) > 1:
        raise SettingError(f"cap has {' and '.join(given)}; it takes one of count, fraction, of_class")
    counts = _sizes(part, draws)
    if of_class is not None:
        ceiling = int(counts[part.label(of_class)])
    else:
        ceiling = count or max(1, int((fraction or 0.5) * counts.max()))
    if ceiling == 0:
        raise SettingError(f"cap.of_class is {of_class}, of which no image is drawn: nothing would be left")
    return _down_to(draws, _members(part, draws), ceiling, rng)


@balancings.register(corrects=lambda settings: True)
def copies(part: Part, draws: Draws, rng: np.random.Generator, *, of: str = MINORITY) -> Draws:
    """Add the four deterministic copies of every image of some classes: ×5.

    `of` is "minority", every class but the largest, or names of classes joined by commas. Flipped left-right, up-down,
    turned by 90° and by 180°.
    """
    chosen = draws.take(_of(part, draws, of))
    if chosen.copy.any() or chosen.synthetic.any():
        raise SettingError("copies are made of images, not of copies; put copies first in the chain, and once")
    return draws.concatenate(*(chosen.copied(copy) for copy in DETERMINISTIC))


@balancings.register(corrects=lambda settings: True)
def positives(part: Part, draws: Draws, rng: np.random.Generator, *, of: str = MINORITY) -> Draws:
    """Show every image of some classes once more, augmented: system A's positives.

    `of` as for copies. An image counts once however often it is drawn, so after `twice` it is there three times: once
    as it is and twice augmented. The augmentation touches the added images alone, in the whole training part.
    """
    return draws.concatenate(_once_more(draws, _of(part, draws, of)))


@balancings.register
def twice(part: Part, draws: Draws, rng: np.random.Generator) -> Draws:
    """Show every image once more, augmented: system A's whole set; what was there is shown as it is."""
    return draws.concatenate(_once_more(draws, np.arange(len(draws))))


def _once_more(draws: Draws, indices: Positions) -> Draws:
    real = indices[~draws.synthetic[indices]]
    _, first = np.unique(draws.row[real], return_index=True)
    return draws.take(real[first]).copied(AUGMENTED)


def _of(part: Part, draws: Draws, names: str) -> Positions:
    """Indices of the draws whose class `names` tells."""
    if names == MINORITY:
        counts = _sizes(part, draws)
        labels = np.flatnonzero(counts < counts.max())
    else:
        labels = np.array([part.label(name.strip()) for name in names.split(",")])
    return np.flatnonzero(np.isin(draws.labels(part), labels))


def _sizes(part: Part, draws: Draws) -> Positions:
    return np.bincount(draws.labels(part), minlength=len(part.classes))


def _members(part: Part, draws: Draws) -> list[Positions]:
    labels = draws.labels(part)
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def _repeat(members: Positions, target: int, rng: np.random.Generator) -> Positions:
    rounds, rest = divmod(target, len(members))
    return np.concatenate([np.tile(members, rounds), rng.choice(members, rest, replace=False)])


def _down_to(draws: Draws, members: list[Positions], ceiling: int, rng: np.random.Generator) -> Draws:
    kept = [rng.choice(m, min(len(m), ceiling), replace=False) for m in members]
    return draws.take(np.sort(np.concatenate(kept)))
