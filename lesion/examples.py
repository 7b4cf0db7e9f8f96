"""The order in which a training sees its examples, as a pure function of seed and epoch.

The balanced training part is passed over again and again, shuffled anew each time, and an epoch is the next
piece of that endless row. Nothing about the order has to be saved to continue it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from lesion.augment import Augmenter

Rows = NDArray[np.int64]


class ExampleOrder:
    """Which rows epoch `e` shows: `length` of them, from shuffled passes over `rows`."""

    def __init__(self, rows: Rows, length: int, seed: int) -> None:
        self._rows, self._length, self._seed = rows, length, seed

    def epoch(self, epoch: int) -> Rows:
        """Rows of epoch `epoch`, counted from 0: (length,)."""
        start, stop = epoch * self._length, (epoch + 1) * self._length
        passes = range(start // len(self._rows), (stop - 1) // len(self._rows) + 1)
        shown = np.concatenate([self._shuffled(number) for number in passes])
        offset = start - passes.start * len(self._rows)
        return shown[offset : offset + self._length]

    def _shuffled(self, number: int) -> Rows:
        return np.random.default_rng((self._seed, number)).permutation(self._rows)


class Epoch(Dataset[tuple[torch.Tensor, int]]):
    """The augmented images and labels of one epoch; image uint8 (S, S, 3)."""

    def __init__(self, images: NDArray[np.uint8], labels: Rows, rows: Rows, augmenter: Augmenter, epoch: int) -> None:
        self._images, self._labels, self._rows = images, labels, rows
        self._augmenter, self._epoch = augmenter, epoch

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, int]:
        row = self._rows[position]
        # Seeded by position: an image that balancing repeats is augmented differently each time.
        image = self._augmenter(np.asarray(self._images[row]), self._epoch, position)
        return torch.from_numpy(np.ascontiguousarray(image)), int(self._labels[row])


def batches(
    epoch: Epoch, batch_size: int, *, workers: int, pinned: bool
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches in order: images uint8 (B, S, S, 3) and labels (B,); the same whatever `workers` is."""
    loader = DataLoader(
        epoch,
        batch_size=batch_size,
        num_workers=workers,
        pin_memory=pinned,
        generator=torch.Generator(),  # its own, or it would draw from the one that dropout uses
    )
    yield from loader
