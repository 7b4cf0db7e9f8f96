"""The order in which a training sees its examples, as a pure function of seed and epoch.

What balancing lets be drawn is passed over again and again, shuffled anew each time, and an epoch is the next piece of
that endless row. Nothing about the order has to be saved to continue it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from lesion.augment import Augmenter, resize
from lesion.balancing import AUGMENTED, VIEWS, Draws, blended, shown
from lesion.embeddings import Embeddings

Indices = NDArray[np.int64]


class ExampleOrder:
    """Which of the draws epoch `e` shows: `length` of them, from shuffled passes over all of them.

    Draws that have a chance are drawn by it, with replacement.
    """

    def __init__(self, draws: Draws, length: int, seed: int) -> None:
        self._draws, self._length, self._seed = draws, length, seed

    def epoch(self, epoch: int) -> Indices:
        """Indices into the draws that epoch `epoch`, counted from 0, shows: (length,)."""
        count = len(self._draws)
        if self._draws.chance is not None:
            rng = np.random.default_rng((self._seed, epoch))
            return rng.choice(count, self._length, p=self._draws.chance)
        start, stop = epoch * self._length, (epoch + 1) * self._length
        passes = range(start // count, (stop - 1) // count + 1)
        passed = np.concatenate([self._shuffled(number) for number in passes])
        offset = start - passes.start * count
        return passed[offset : offset + self._length]

    def _shuffled(self, number: int) -> Indices:
        return np.random.default_rng((self._seed, number)).permutation(len(self._draws))


class Source(Protocol):
    """Where the examples of a draw come from."""

    def example(self, index: int, epoch: int, position: int) -> torch.Tensor:
        """What the model sees of draw `index` at place `position` of epoch `epoch`."""


class Photos:
    """Augmented images of draws from a training part: uint8 (S, S, 3).

    `images` are those of the whole packed set, `rows` where the training part stands in it; a synthetic draw is
    blended from two images of `size` pixels and then augmented like any other. Where some images are there once more,
    augmented (`lesion.balancing.AUGMENTED`), all others are shown as they are.
    """

    def __init__(self, images: NDArray[np.uint8], rows: Indices, draws: Draws, size: int, augmenter: Augmenter) -> None:
        self._images, self._rows, self._draws, self._size = images, rows, draws, size
        self._augmenter = augmenter
        extra = draws.copy == AUGMENTED
        self._augmented = extra if extra.any() else np.ones(len(draws), dtype=np.bool_)

    def example(self, index: int, epoch: int, position: int) -> torch.Tensor:
        """The image of draw `index`, augmented where it is to be."""
        image = self._drawn(index)
        # Seeded by position: an image that balancing repeats is augmented differently each time.
        image = self._augmenter(image, epoch, position) if self._augmented[index] else resize(image, self._size)
        # A photo that nothing had to be done to is still the mapped file, which no tensor may stand on.
        return torch.from_numpy(np.require(image, requirements=("C", "W")))

    def _drawn(self, index: int) -> NDArray[np.uint8]:
        draws = self._draws
        image = self._photo(draws.row[index], draws.copy[index])
        if not draws.blend[index]:
            return image
        partner = self._photo(draws.partner[index], draws.partner_copy[index])
        return blended(resize(image, self._size), resize(partner, self._size), float(draws.blend[index]))

    def _photo(self, row: int, copy: int) -> NDArray[np.uint8]:
        return shown(np.asarray(self._images[self._rows[row]]), int(copy))


class StoredMaps:
    """Feature maps of draws, as a frozen backbone made them once: float32 (C, H, W).

    `rows` says where the training part stands among the embeddings. No augmentation takes part: what is shown differs
    from epoch to epoch by its order alone.
    """

    def __init__(self, embeddings: Embeddings, rows: Indices, draws: Draws) -> None:
        self._draws = draws
        # Opened here: a loading worker must not make maps, nor check them anew every epoch.
        copies = np.unique([draws.copy, draws.partner_copy])
        self._maps = {int(copy): embeddings.shown(rows, VIEWS[int(copy)], turned_first=True) for copy in copies}

    def example(self, index: int, epoch: int, position: int) -> torch.Tensor:
        """The map of draw `index`, or what lies between two."""
        draws = self._draws
        shown = self._map(draws.row[index], draws.copy[index])
        if draws.blend[index]:
            shown += float(draws.blend[index]) * (self._map(draws.partner[index], draws.partner_copy[index]) - shown)
        return torch.from_numpy(shown)

    def _map(self, row: int, copy: int) -> NDArray[np.float32]:
        stored: NDArray[np.float32] = self._maps[int(copy)][row].astype(np.float32)
        return stored


class Epoch(Dataset[tuple[torch.Tensor, int]]):
    """The examples of one epoch in order, each with the index of its draw."""

    def __init__(self, source: Source, indices: Indices, epoch: int) -> None:
        self._source, self._indices, self._epoch = source, indices, epoch

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, int]:
        index = int(self._indices[position])
        return self._source.example(index, self._epoch, position), index


def batches(
    epoch: Epoch, batch_size: int, *, share: slice | None = None, workers: int, pinned: bool
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches in order: examples (B, …) and the indices of their draws (B,); the same whatever `workers` is.

    With `share` only those places of each batch, whose examples are what they are in the whole.
    """
    starts = range(0, len(epoch), batch_size)
    places = [list(range(start, min(start + batch_size, len(epoch))))[share or slice(None)] for start in starts]
    loader = DataLoader(
        epoch,
        batch_sampler=places,
        num_workers=workers,
        pin_memory=pinned,
        generator=torch.Generator(),  # its own, or it would draw from the one that dropout uses
    )
    yield from loader
