"""The vectors among which neighbours are sought: pixels, or the embeddings of a frozen backbone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lesion.augment import resize
from lesion.balancing.copies import VIEWS, shown
from lesion.balancing.draws import Copies, Positions
from lesion.embeddings import Embeddings


@dataclass(frozen=True, eq=False)
class Pixels:
    """The pixels of images at `size`, flattened; `rows` (N,) says where the training part stands in `images`."""

    images: NDArray[np.uint8]
    rows: Positions
    size: int

    @property
    def key(self) -> str:
        """The size, which is all that they depend on but the images."""
        return f"pixels {self.size}"

    @property
    def width(self) -> int:
        """Three channels of a square."""
        return 3 * self.size**2

    def read(self, row: Positions, copy: Copies) -> NDArray[np.float32]:
        """Whole numbers from -128 to 127 (M, width): distances do not change, and sums of products are exact."""
        vectors = np.empty((len(row), self.width), np.float32)
        for vector, at, which in zip(vectors, self.rows[row], copy, strict=True):
            vector[:] = resize(shown(np.asarray(self.images[at]), which), self.size).reshape(-1)
        vectors -= 128
        return vectors


@dataclass(frozen=True, eq=False)
class Features:
    """Feature maps averaged over their places; `rows` (N,) says where the training part stands in the embeddings."""

    embeddings: Embeddings
    rows: Positions

    @property
    def key(self) -> str:
        """That of the embeddings."""
        return self.embeddings.key

    @property
    def width(self) -> int:
        """Channels of the backbone."""
        return self.embeddings.channels

    def read(self, row: Positions, copy: Copies) -> NDArray[np.float64]:
        """Averages (M, width); a copy's are those of the turned or flipped image."""
        vectors = np.empty((len(row), self.width))
        for which in np.unique(copy):
            maps = self.embeddings.maps(VIEWS[int(which)])
            for at in np.flatnonzero(copy == which):
                vectors[at] = maps[self.rows[row[at]]].mean(axis=(1, 2), dtype=np.float64)
        return vectors
