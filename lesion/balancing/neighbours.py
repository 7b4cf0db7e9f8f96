"""Nearest neighbours among draws, from the inner products of the images that they lie between.

SMOTE never leaves the lines between images, so every distance follows from the images' own inner products: a synthetic
row costs no vector, and memory goes with the square of the number of images, whatever their size. (A matrix of
vectors has rows for the synthetic ones too, and 49 152 numbers in each at 128 pixels.) The products of pixels
are exact, so neighbours do not depend on the machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lesion.balancing.draws import Draws, Part, Positions, Vectors
from lesion.balancing.memory import require_memory

Floats = NDArray[np.float64]

READ_BYTES, ASKED_BYTES = 1 << 28, 1 << 27
"""What a block of vectors may take, of which two are held, as may two of products; and one of distances, of five."""
EXACT = 1024
"""Products summed in float32: of whole numbers up to 128, so many are exact (2^10 · 2^14 = 2^24)."""


@dataclass(frozen=True, eq=False)
class Span:
    """Draws as points between images: `products` (B, B) of the images, and where each draw (M,) lies.

    A draw is (1 − blend) · image[start] + blend · image[end].
    """

    products: Floats
    start: Positions
    end: Positions
    blend: Floats

    @classmethod
    def of(cls, vectors: Vectors, draws: Draws) -> Span:
        """The span of draws, whose images are read in blocks."""
        row, copy, start, end = _images(draws)
        return cls(_products(vectors, row, copy), start, end, draws.blend.astype(np.float64))

    def between(self, one: Positions, other: Positions, blend: NDArray[np.float32]) -> Span:
        """These draws, then those `blend` of the way from draw `one` to draw `other`, which must be real."""
        return replace(
            self,
            start=np.concatenate([self.start, self.start[one]]),
            end=np.concatenate([self.end, self.start[other]]),
            blend=np.concatenate([self.blend, blend.astype(np.float64)]),
        )

    def nearest(self, members: Positions, count: int) -> Positions:
        """The `count` nearest of draws `members` (n,) to each of them, nearest first, itself left out: (n, count).

        As positions in `members`, by Euclidean distance.
        """
        found = np.empty((len(members), count), np.int64)
        norms = self._squared_norms()[members]
        step = max(1, ASKED_BYTES // (8 * (len(self.products) + len(members))))
        for block in _blocks(len(members), step):
            # Without the draw's own norm, which is the same for all its neighbours.
            distances = self._products_of(members[block], members)  # (block, n)
            distances *= -2.0
            distances += norms
            distances[np.arange(len(distances)), np.arange(block.start, block.stop)] = np.inf
            found[block] = _smallest(distances, count)
        return found

    def _products_of(self, one: Positions, other: Positions) -> Floats:
        """Inner products of draws `one` (a,) with draws `other` (b,): (a, b)."""
        rows = self.products[self.start[one]]  # (a, B)
        # Images, which are most draws as a rule, lie at their start: half the numbers to look up.
        if len(between := np.flatnonzero(self.blend[one])):
            ends = self.products[self.end[one[between]]]
            rows[between] = _mixed(rows[between], ends, self.blend[one[between], None])
        found = np.take(rows, self.start[other], axis=1)
        if len(between := np.flatnonzero(self.blend[other])):
            ends = np.take(rows, self.end[other[between]], axis=1)
            found[:, between] = _mixed(found[:, between], ends, self.blend[other[between]])
        return found

    def _squared_norms(self) -> Floats:
        own = self.products.diagonal()
        cross = self.products[self.start, self.end]
        return _mixed(_mixed(own[self.start], cross, self.blend), _mixed(cross, own[self.end], self.blend), self.blend)


def require_neighbour_memory(part: Part, draws: Draws, on: str, purpose: str) -> None:
    """Raise SettingError, with the estimate, unless neighbours of `draws` can be sought in the memory at hand."""
    images = len(_images(draws)[0])
    require_memory(
        needed_bytes(images, part.vectors_on(on).width),
        part.memory(),
        f"{purpose} on {on} with neighbours among {images} images",
        "cap the largest class before" if on == "features" else "seek on features, or cap the largest class before",
    )


def needed_bytes(images: int, width: int) -> int:
    """Bytes that a span of `images` with vectors of `width` numbers needs while it is made and asked."""
    return 8 * images**2 + min(3 * READ_BYTES, 16 * images * (width + 8 * images))


def _images(draws: Draws) -> tuple[Positions, NDArray[np.int8], Positions, Positions]:
    """The different images of draws: their rows (B,) and copies (B,), and each draw's start and end among them."""
    pairs = np.stack(
        [np.concatenate([draws.row, draws.partner]), np.concatenate([draws.copy, draws.partner_copy])], axis=1
    )
    images, index = np.unique(pairs, axis=0, return_inverse=True)
    start, end = np.split(index.reshape(-1), 2)
    return images[:, 0], images[:, 1].astype(np.int8), start, end


def _products(vectors: Vectors, row: Positions, copy: NDArray[np.int8]) -> Floats:
    """Inner products (B, B) of the vectors of images, read in blocks, each pair of blocks once."""
    products = np.empty((len(row), len(row)))
    step = max(1, min(READ_BYTES // (4 * vectors.width), math.isqrt(READ_BYTES // 16)))
    for block in _blocks(len(row), step):
        one = vectors.read(row[block], copy[block])
        for other in _blocks(block.stop, step):
            same = other.start == block.start
            two = one if same else vectors.read(row[other], copy[other])
            products[block, other] = _inner(one, two)
            products[other, block] = products[block, other].T
    return products


def _inner(one: NDArray[np.floating], other: NDArray[np.floating]) -> Floats:
    """Inner products (a, b), summed in float64 after so many columns as float32 holds exactly for pixels."""
    total = np.zeros((len(one), len(other)))
    for start in range(0, one.shape[1], EXACT):
        total += one[:, start : start + EXACT] @ other[:, start : start + EXACT].T
    return total


def _smallest(distances: Floats, count: int) -> Positions:
    """Columns of the `count` smallest of each row, smallest first: (a, count)."""
    if count == 1:
        nearest: Positions = np.argmin(distances, axis=1)[:, None]
        return nearest
    near = np.argpartition(distances, count - 1, axis=1)[:, :count]
    order = np.argsort(np.take_along_axis(distances, near, axis=1), axis=1, kind="stable")
    return np.take_along_axis(near, order, axis=1)


def _mixed(one: Floats, other: Floats, blend: Floats) -> Floats:
    return one + blend * (other - one)


def _blocks(count: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, count)) for start in range(0, count, step))
