"""Photos of one lesion under two ids, found by their looks: ISIC 2017 has no lesion ids, and has such pairs.

A photo is shrunk to 16 × 16 pixels, its mean is taken off, and two photos are compared by the cosine, in all eight
flips and quarter turns. How far that can be trusted is known from ISIC 2018, which has lesion ids: of the pairs above
0.995 all 82 show one lesion, above 0.99 only 114 of 131. In ISIC 2017 twelve pairs are above 0.995, six of the same
bytes and six more; four of the twelve have one photo in the training part and one in the test part.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lesion.data.decoding import Progress, silent

ALIKE = 0.995
MOST = 50_000
"""More images than this are not compared: the work grows with their square."""

_SIDE = 16
_COARSE = 0.985  # at 8 × 8 pixels, a quarter of the work: no pair above ALIKE was below this
_BLOCK = 1024

Pair = tuple[int, int, float]


def look_alike(
    images: NDArray[np.uint8], rows: Sequence[int], *, least: float = ALIKE, progress: Progress = silent
) -> list[Pair]:
    """Pairs among `rows` of `images` (N, size, size, 3) that look alike: positions in `rows`, cosine; best first."""
    if not 2 <= len(rows) <= MOST:
        return []
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow resizes without Python's lock
        small = np.stack([*pool.map(lambda row: _shrunk(images[row]), rows)])  # (n, 16, 16, 3)
    coarse = small.reshape(len(rows), 8, 2, 8, 2, 3).mean((2, 4))
    ours = _unit(coarse)
    turned = [_unit(view) for view in _views(coarse)]
    found: list[Pair] = []
    for start in range(0, len(rows), _BLOCK):
        block, rest = ours[start : start + _BLOCK], slice(start, None)  # each pair once
        best = block @ turned[0][rest].T
        for view in turned[1:]:
            np.maximum(best, block @ view[rest].T, out=best)
        for a, b in start + np.argwhere(np.triu(best > _COARSE, 1)):
            cosine = _cosine(small[a], small[b])
            if cosine >= least:
                found.append((int(a), int(b), cosine))
        progress(min(start + _BLOCK, len(rows)), len(rows), "comparing")
    return sorted(found, key=lambda pair: -pair[2])


def _shrunk(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    # Not a box filter: where 16 does not divide the size, Pillow's is not symmetric, and a turned photo differs.
    small = Image.fromarray(np.asarray(image)).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    return np.asarray(small, dtype=np.float32)


def _views(images: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for flipped in (images, images[:, :, ::-1]):
        for turns in range(4):
            yield np.rot90(flipped, turns, (1, 2))


def _unit(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, features) without their mean, of length 1; a flat image is like nothing."""
    flat = images.reshape(len(images), -1)
    flat = flat - flat.mean(1, keepdims=True)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-3))


def _cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    ours = _unit(one[None])[0]
    return max(float(ours @ _unit(view)[0]) for view in _views(other[None]))
