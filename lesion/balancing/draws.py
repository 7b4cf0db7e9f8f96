"""What a balancing takes and gives: the draws of an epoch, out of the training part.

A draw is a position in the training part, a copy of its image (turned or flipped), and for a synthetic example a
partner and how far towards it: SMOTE's x + blend · (partner − x). So nothing is copied before it is shown, a balancing
is a function from draws to draws, and a chain of balancings is their composition. None ever sees the validation part,
so no copy of a lesion can reach it.

>>> part = Part(np.array([0, 0, 1]), ("nevus", "melanoma"))
>>> twice = Draws.everything(3).concatenate(Draws.everything(3))
>>> twice.counts(part)
array([4, 2])
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lesion.balancing.memory import available_memory
from lesion.errors import SettingError, unknown
from lesion.registry import Registry

balancings = Registry("balancing")
"""Each is built as `build(part, draws, rng, **settings)` and returns `Draws`."""

Positions = NDArray[np.int64]
Copies = NDArray[np.int8]


class Vectors(Protocol):
    """What neighbours are sought among: a vector for every copy of every image of the training part."""

    @property
    def key(self) -> str:
        """Names everything that the vectors are made of but the training part: sizes, weights."""

    @property
    def width(self) -> int:
        """Numbers in a vector."""

    def read(self, row: Positions, copy: Copies) -> NDArray[np.floating]:
        """Vectors (M, width) of the copies `copy` (M,) of the images at `row` (M,)."""


@dataclass(frozen=True, eq=False)
class Part:
    """A training part as a balancing sees it.

    `labels` (N,) index `classes`. `vectors` are those that neighbours can be sought among, by the name that the
    setting `on` gives them: features, pixels. `memory` tells the bytes at hand. `key` names the images (data and
    split), for what is computed once and shared.
    """

    labels: Positions
    classes: tuple[str, ...]
    vectors: Mapping[str, Vectors] = field(default_factory=dict)
    memory: Callable[[], int] = available_memory
    key: str = ""

    def __len__(self) -> int:
        return len(self.labels)

    def label(self, name: str) -> int:
        """Index of the class `name`; SettingError names the known ones."""
        if name not in self.classes:
            raise SettingError(unknown("class", name, self.classes))
        return self.classes.index(name)

    def vectors_on(self, on: str) -> Vectors:
        """The vectors called `on`; SettingError where this training has none of the name."""
        if on not in self.vectors:
            raise SettingError(
                f"on is {on}, but this training has no {on} to seek neighbours among; it has: "
                f"{', '.join(self.vectors) or 'none'} (features need a frozen backbone: trainable_stages 0)"
            )
        return self.vectors[on]


@dataclass(frozen=True, eq=False)
class Draws:
    """What an epoch draws from: M rows, each an image of the training part, a copy of one, or between two.

    `row` (M,) int64: position in the training part. `copy` (M,) int8: see `lesion.balancing.copies`. `partner` (M,)
    int64, `partner_copy` (M,) int8, `blend` (M,) float32 from 0 to 1: the image is x + blend · (partner − x); a real
    one has blend 0 and is its own partner. `chance` (M,) float64, or None: how likely each is drawn, with replacement,
    summing to 1; None shows every row once a pass. `class_weights` (classes,) float64, or None: factors for any loss.
    """

    row: Positions
    copy: Copies
    partner: Positions
    partner_copy: Copies
    blend: NDArray[np.float32]
    chance: NDArray[np.float64] | None = None
    class_weights: NDArray[np.float64] | None = None

    @classmethod
    def everything(cls, count: int) -> Draws:
        """Each of `count` images once, as it is."""
        row, none = np.arange(count, dtype=np.int64), np.zeros(count, np.int8)
        return cls(row, none, row, none, np.zeros(count, np.float32))

    def __len__(self) -> int:
        return len(self.row)

    @property
    def synthetic(self) -> NDArray[np.bool_]:
        """(M,): which rows lie between two images."""
        return self.blend > 0

    def labels(self, part: Part) -> Positions:
        """(M,) int64; between two images of one class it is that class."""
        labels: Positions = part.labels[self.row]
        return labels

    def counts(self, part: Part) -> Positions:
        """Rows of each class (classes,), or those that a pass is expected to draw where `chance` says how likely."""
        labels, classes = self.labels(part), len(part.classes)
        if self.chance is None:
            return np.bincount(labels, minlength=classes)
        expected = len(self) * np.bincount(labels, self.chance, minlength=classes)
        return np.rint(expected).astype(np.int64)

    def take(self, indices: NDArray[np.int64] | NDArray[np.bool_]) -> Draws:
        """The rows at `indices`, which may repeat, or those that a mask (M,) keeps."""
        taken = replace(self, **{name: getattr(self, name)[indices] for name in _BY_ROW})
        return taken if self.chance is None else replace(taken, chance=_normalised(self.chance[indices]))

    def copied(self, copy: int) -> Draws:
        """The same images as copy `copy` of them."""
        copies = np.full(len(self), copy, np.int8)
        return replace(self, copy=copies, partner_copy=copies)

    def concatenate(self, *others: Draws) -> Draws:
        """These rows, then those of `others`, which must have been taken from these: class weights are one's own."""
        everyone: Sequence[Draws] = (self, *others)
        joined = {name: np.concatenate([getattr(d, name) for d in everyone]) for name in _BY_ROW}
        if self.chance is None:
            return replace(self, **joined)
        # Each brings its share: a row is as likely as before beside the rows it came with.
        chance = np.concatenate([d.chance * len(d) for d in everyone if d.chance is not None])
        return replace(self, **joined, chance=_normalised(chance))


_BY_ROW = tuple(f.name for f in fields(Draws))[:5]


def _normalised(chance: NDArray[np.float64]) -> NDArray[np.float64]:
    normalised: NDArray[np.float64] = chance / chance.sum()
    return normalised
