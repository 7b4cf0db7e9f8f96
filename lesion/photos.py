"""Photos from anywhere, decoded in portions beside each other: what predicting has in place of a packed data set."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from lesion.data.decode import Geometry, decode
from lesion.errors import DataError

Pixels = npt.NDArray[np.uint8]
Photo = str | Path | bytes | Pixels
"""A file, the content of a file, or decoded RGB pixels (H, W, 3)."""

Square = tuple[int, Geometry]
"""What a photo is decoded to: pixels a side, and how it becomes a square."""

ENDINGS = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")
"""Of files that are taken for photos where a folder is searched."""
PORTION = 64
"""Photos that are decoded and held at once."""
MAX_FILE = 500_000_000
"""Bytes of the largest photo file that is read."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """A photo as one (size, size, 3) array for each square asked for, or the problem with it."""

    name: str
    squares: tuple[Pixels, ...] = ()
    problem: str = ""


def decoded(photos: Iterable[Photo], squares: Sequence[Square]) -> Iterator[list[Decoded]]:
    """Decode photos in portions, in their order; what cannot be read comes with its `problem`."""
    numbered = enumerate(photos)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        while portion := list(islice(numbered, PORTION)):
            yield list(pool.map(lambda item: _decoded(item[0], item[1], squares), portion))


def _decoded(index: int, photo: Photo, squares: Sequence[Square]) -> Decoded:
    name = str(photo) if isinstance(photo, str | Path) else f"image {index}"
    try:
        content = _content(photo)
        return Decoded(name, tuple(decode(content, size, geometry) for size, geometry in squares))
    except OSError as problem:
        return Decoded(name, problem=f"cannot be read: {problem.strerror or problem}")
    except DataError as problem:
        return Decoded(name, problem=str(problem))


def _content(photo: Photo) -> bytes:
    if isinstance(photo, bytes):
        return photo
    if isinstance(photo, np.ndarray):
        return _encoded(photo)
    path = Path(photo)
    if path.exists() and not path.is_file():  # a device or a pipe may never end
        raise DataError("is no file")
    if path.stat().st_size > MAX_FILE:
        raise DataError(f"has {path.stat().st_size:,} bytes, at most {MAX_FILE:,} are read")
    return path.read_bytes()


def _encoded(pixels: Pixels) -> bytes:
    """Pixels as a lossless file, so that arrays go through the same door as files."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise DataError(f"is {pixels.dtype} {pixels.shape}, must be uint8 (height, width, 3) RGB")
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=0)
    return file.getvalue()
