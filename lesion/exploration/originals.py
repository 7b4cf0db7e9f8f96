"""The photos that a data set was packed from: their sizes, and their sharpness at full size.

A packed set does not keep them, so the source has to be given again. Of a source, only images of the training and
validation parts are read: the packed set names them, and the test part is not in it.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesion.data.archives import Member, read
from lesion.data.decode import decode_whole
from lesion.data.decoding import Progress, silent
from lesion.data.layouts import read_listing
from lesion.data.packed import EXTERNAL, PackedDataset
from lesion.errors import DataError
from lesion.exploration.measures import to_grey, variance_of_laplacian


@dataclass(frozen=True, eq=False)
class Originals:
    """Of each row of a data set the photo's `sizes` (N, 2), width and height, and `sharpness` (N,).

    `missing` are labels of the source without an image, `extra` images without a label; by name.
    """

    source: str
    sizes: NDArray[np.int64]
    sharpness: NDArray[np.float64]
    missing: tuple[str, ...]
    extra: tuple[str, ...]


def read_originals(data: PackedDataset, source: Path, progress: Progress = silent) -> Originals:
    """Decode the photos of `data` at their own size; DataError unless `source` has each, byte for byte."""
    listing = read_listing(source)
    places = dict(zip(listing.table["image"], listing.members, strict=True))
    images = [str(image) for image in data.table["image"]]
    _refuse_absent(data, source, [image for image in images if image not in places])
    sizes, sharpness = np.zeros((len(images), 2), dtype=np.int64), np.zeros(len(images))
    changed = []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        seen = pool.map(_look, (places[image] for image in images))
        for row, (digest, size, sharp) in enumerate(seen):
            sizes[row], sharpness[row] = size, sharp
            if digest != data.table["digest"].iloc[row]:
                changed.append(images[row])
            progress(row + 1, len(images), "reading photos")
    if changed:
        raise DataError(
            f"{source}: {len(changed)} photos have other bytes than when data set {data.name} was prepared "
            f"({some(changed)}): give the source that it was prepared from, or prepare it again"
        )
    return Originals(str(source), sizes, sharpness, listing.missing, listing.extra)


def common_sizes(sizes: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Sizes (N, 2) and how many photos have each, the most frequent first."""
    found = Counter(map(tuple, sizes.tolist()))
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return [{"width": width, "height": height, "images": count} for (width, height), count in ordered]


def _look(member: Member) -> tuple[str, tuple[int, int], float]:
    """Digest of the file, (width, height) and sharpness of the photo."""
    content = read(member)
    try:
        photo = decode_whole(content)
    except DataError as problem:
        raise DataError(f"{member} {problem}") from problem
    sharpness = variance_of_laplacian(to_grey(photo))
    return hashlib.sha256(content).hexdigest(), (photo.shape[1], photo.shape[0]), sharpness


def _refuse_absent(data: PackedDataset, source: Path, absent: Sequence[str]) -> None:
    if absent:
        several = "its external photos are of another source, so leave --source out"
        hint = several if data.manifest.get(EXTERNAL) else "give the source that it was prepared from"
        raise DataError(
            f"{source}: {len(absent)} photos of data set {data.name} are not in it ({some(absent)}): {hint}"
        )


def some(names: Sequence[str]) -> str:
    """The first three of them.

    >>> some(["a", "b", "c", "d"])
    'a, b, c, …'
    """
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
