"""Geometry in one pass: crop, flip or quarter turn, zoom, turn, shear, shift and resize as one affine warp.

One after the other, each of them goes over the photo at the size it is stored in. The product of their matrices goes
over it once, at the size that the model sees. What shrinks would alias, so the photo is read from a pyramid of halves,
between the two levels that are nearest to the size wanted (Williams 1983, doi:10.1145/964967.801126).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray

from lesion.augment.augmenter import Image

BORDER = cv2.BORDER_REFLECT_101
"""What comes in from outside the photo is the photo mirrored: a black corner would be a mark that no test image has."""
SHARPER = 0.3
"""Levels, of half the side each, that a warp reads above the one that would surely not alias. With it the texture of
dermoscopic photos lies between that of a warp at full size that is then shrunk, and that of a photo only shrunk."""

Matrix = tuple[tuple[float, float], tuple[float, float]]
DIHEDRAL: tuple[Matrix, ...] = tuple(
    matrix for a in (-1.0, 1.0) for b in (-1.0, 1.0) for matrix in (((a, 0.0), (0.0, b)), ((0.0, a), (b, 0.0)))
)
"""The eight flips and quarter turns of a square."""
FLIPPED: tuple[int | None, ...] = (None, 0, 1, -1)
"""OpenCV's codes of the four flips; with and without a transposition before they are the eight of `DIHEDRAL`."""


@dataclass(frozen=True)
class Ranges:
    """What a warp draws: `turn` and shears in degrees, factors of the zoom along x and y.

    `shift` is up to a share of the side; at most `crop` of the side is cut off every edge; `dihedral` also flips and
    turns by quarters.
    """

    turn: tuple[float, float]
    zoom_x: tuple[float, float]
    zoom_y: tuple[float, float]
    shear_x: float
    shear_y: float
    shift: float = 0.0
    crop: float = 0.0
    dihedral: bool = False


class Warp(A.ImageOnlyTransform):  # type: ignore[misc]
    """A photo (H, H, 3) as (size, size, 3), moved by a matrix drawn uniformly from `ranges`; always."""

    def __init__(self, size: int, ranges: Ranges) -> None:
        super().__init__(p=1.0)
        self.size, self.ranges = size, ranges

    def get_params(self) -> dict[str, object]:
        """What is drawn, as arguments of `warped`."""
        ranges, draw = self.ranges, self.py_random.uniform
        shift = (draw(-ranges.shift, ranges.shift), draw(-ranges.shift, ranges.shift))
        shear = (draw(-ranges.shear_x, ranges.shear_x), draw(-ranges.shear_y, ranges.shear_y))
        zoom = (draw(*ranges.zoom_x), draw(*ranges.zoom_y))
        linear = matrix(draw(*ranges.turn), zoom, shear)
        if ranges.dihedral:
            linear = _product(linear, self.py_random.choice(DIHEDRAL))
        return {"linear": linear, "shift": shift, "crop": draw(0.0, ranges.crop)}

    def apply(self, img: Image, linear: Matrix, shift: tuple[float, float], crop: float, **params: object) -> Image:
        """The moved image."""
        return warped(img, self.size, linear, shift, crop)


class Dihedral(A.ImageOnlyTransform):  # type: ignore[misc]
    """One of the eight flips and quarter turns, each as likely; exact, and without a pass over the pixels in NumPy."""

    def __init__(self) -> None:
        super().__init__(p=1.0)

    def get_params(self) -> dict[str, object]:
        """Whether rows become columns, and what is flipped."""
        return {"transposes": self.py_random.random() < 0.5, "flips": self.py_random.choice(FLIPPED)}

    def apply(self, img: Image, transposes: bool, flips: int | None, **params: object) -> Image:
        """The turned image."""
        turned = cv2.transpose(img) if transposes else img
        return np.asarray(turned if flips is None else cv2.flip(turned, flips), np.uint8)


def matrix(turn: float, zoom: tuple[float, float], shear: tuple[float, float]) -> Matrix:
    """Zoom, then turn to the left, then shear; in degrees, of columns and rows.

    >>> matrix(0.0, (2.0, 1.0), (0.0, 0.0))
    ((2.0, 0.0), (0.0, 1.0))
    """
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    across, down = math.tan(math.radians(shear[0])), math.tan(math.radians(shear[1]))
    turned = ((cos * zoom[0], sin * zoom[1]), (-sin * zoom[0], cos * zoom[1]))
    return _product(((1.0, across), (down, 1.0)), turned)


def warped(
    image: Image, size: int, linear: Matrix, shift: tuple[float, float] = (0.0, 0.0), crop: float = 0.0
) -> Image:
    """`image` (H, H, 3) without `crop` of H at every edge, moved about its middle, as (size, size, 3).

    `shift` is in shares of the side.
    """
    cut = int(crop * image.shape[0])
    level: Image = image[cut : image.shape[0] - cut, cut : image.shape[1] - cut]
    (a, b), (c, d) = linear
    shrinks = level.shape[0] / size / math.sqrt(max(abs(a * d - b * c), 1e-6))
    height = max(0.0, math.log2(shrinks) - SHARPER)
    for _ in range(int(height)):
        level = _halved(level)
    drawn = _moved(level, size, linear, shift)
    rest = height - int(height)
    if rest == 0.0:
        return drawn
    above = _moved(_halved(level), size, linear, shift)
    return np.asarray(cv2.addWeighted(drawn, 1 - rest, above, rest, 0), np.uint8)


def _moved(image: Image, size: int, linear: Matrix, shift: tuple[float, float]) -> Image:
    """One warp, bilinear; about the middle of the pixels, which is half a pixel from the middle of the side."""
    height, width = image.shape[:2]
    scale = np.array([size / width, size / height])
    whole: NDArray[np.float64] = np.empty((2, 3))
    whole[:, :2] = scale[:, None] * np.array(linear)
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    whole[:, 2] = (size - 1) / 2 + np.array(shift) * size - whole[:, :2] @ middle
    moved = cv2.warpAffine(image, whole, (size, size), flags=cv2.INTER_LINEAR, borderMode=BORDER)
    return np.asarray(moved, np.uint8)


def _halved(image: Image) -> Image:
    height, width = (max(1, side // 2) for side in image.shape[:2])
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _product(left: Matrix, right: Matrix) -> Matrix:
    (a, b), (c, d) = left
    (e, f), (g, h) = right
    return ((a * e + b * g, a * f + b * h), (c * e + d * g, c * f + d * h))
