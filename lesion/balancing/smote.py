"""SMOTE and Tomek links: synthetic images between neighbours, and pairs of neighbours of two classes taken out.

What imbalanced-learn's SMOTE and SMOTETomek do, with their defaults; here a synthetic row is not made but told: an
image, its neighbour, and how far between.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray

from lesion.balancing.draws import Draws, Part, Positions, balancings
from lesion.balancing.neighbours import Span, require_neighbour_memory
from lesion.errors import SettingError
from lesion.registry import Range

On = Literal["features", "pixels"]
Neighbours = Annotated[int, Range(1, 1000)]


@balancings.register(corrects=lambda settings: True)
def smote(
    part: Part, draws: Draws, rng: np.random.Generator, *, neighbours: Neighbours = 5, on: On = "features"
) -> Draws:
    """Add synthetic images to every class up to the largest, between an image and one of its nearest of the class.

    Chawla et al. 2002, doi:10.1613/jair.953. Neighbours are sought by the embeddings of a frozen backbone
    (`features`) or by the pixels at the trial's image_size, which makes ghosts. Raises SettingError where a class has
    no more images than `neighbours`, and with the estimate where memory does not suffice.
    """
    return _smote(part, draws, rng, neighbours, on, "smote")[0]


@balancings.register(corrects=lambda settings: True)
def smote_tomek(
    part: Part, draws: Draws, rng: np.random.Generator, *, neighbours: Neighbours = 5, on: On = "features"
) -> Draws:
    """SMOTE, then Tomek links are taken out of all classes, synthetic or not.

    Batista, Prati & Monard 2004, doi:10.1145/1007730.1007735. Settings and errors as of smote.
    """
    synthesised, span = _smote(part, draws, rng, neighbours, on, "smote_tomek")
    return synthesised.take(~tomek_links(span, synthesised.labels(part)))


@balancings.register
def tomek(part: Part, draws: Draws, rng: np.random.Generator, *, on: On = "features") -> Draws:
    """Take out the pairs of images that are each other's nearest and of two classes (Tomek 1976).

    Raises SettingError with the estimate where memory does not suffice.
    """
    require_neighbour_memory(part, draws, on, "tomek")
    return draws.take(~tomek_links(Span.of(part.vectors_on(on), draws), draws.labels(part)))


def tomek_links(span: Span, labels: Positions) -> NDArray[np.bool_]:
    """Which draws (M,) are mutual nearest neighbours with one of another class."""
    everyone = np.arange(len(labels))
    if len(labels) < 2:
        return np.zeros(len(labels), bool)
    nearest = span.nearest(everyone, 1)[:, 0]
    links: NDArray[np.bool_] = (nearest[nearest] == everyone) & (labels[nearest] != labels)
    return links


def _smote(
    part: Part, draws: Draws, rng: np.random.Generator, neighbours: int, on: On, name: str
) -> tuple[Draws, Span]:
    _check(part, draws, neighbours, name)
    require_neighbour_memory(part, draws, on, name)
    labels = draws.labels(part)
    largest = int(np.bincount(labels).max())
    span = Span.of(part.vectors_on(on), draws)
    chosen = [
        _between(span, members, largest - len(members), neighbours, rng)
        for members in (np.flatnonzero(labels == label) for label in np.unique(labels))
        if len(members) < largest
    ]
    if not chosen:
        return draws, span
    one, other, blend = (np.concatenate(each) for each in zip(*chosen, strict=True))
    partner = draws.take(other)
    new = replace(draws.take(one), partner=partner.row, partner_copy=partner.copy, blend=blend)
    return draws.concatenate(new), span.between(one, other, blend)


def _between(
    span: Span, members: Positions, count: int, neighbours: int, rng: np.random.Generator
) -> tuple[Positions, Positions, NDArray[np.float32]]:
    """`count` draws of `members`, for each one of its nearest, and how far to go: (count,) each."""
    nearest = span.nearest(members, neighbours)  # (n, neighbours)
    drawn = rng.integers(nearest.size, size=count)
    one, which = np.divmod(drawn, neighbours)
    return members[one], members[nearest[one, which]], rng.random(count).astype(np.float32)


def _check(part: Part, draws: Draws, neighbours: int, name: str) -> None:
    if draws.synthetic.any():
        raise SettingError(f"{name} goes between images, not between synthetic ones: one smote is enough for a chain")
    counts = np.bincount(draws.labels(part), minlength=len(part.classes))
    scarce = [f"{part.classes[k]} has {n}" for k, n in enumerate(counts) if 0 < n <= neighbours and n < counts.max()]
    if scarce:
        raise SettingError(
            f"{name} with {neighbours} neighbours needs {neighbours + 1} images of a class, {', '.join(scarce)}: "
            "set fewer neighbours, or put copies before it"
        )
