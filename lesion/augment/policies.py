"""Policies of our own, from nothing to a lot."""

from __future__ import annotations

from typing import Annotated

import albumentations as A

from lesion.augment.augmenter import Policy, augmentations
from lesion.augment.transforms import Resize, jitter
from lesion.augment.warp import BORDER, Dihedral, Ranges, Warp
from lesion.registry import Range

Strength = Annotated[float, Range(0.0, 3.0)]


@augmentations.register
def none(size: int) -> Policy:
    """The image as it is."""
    return [Resize(size)]


@augmentations.register
def dihedral(size: int) -> Policy:
    """One of the eight flips and quarter turns: a lesion has no upright."""
    return [Resize(size), Dihedral()]


@augmentations.register
def colour(size: int, *, strength: Strength = 1.0) -> Policy:
    """Dihedral, then brightness, contrast and saturation ×(1 ± 0.2 strength), hue ± 0.02 strength."""
    return [Resize(size), Dihedral(), even_jitter(strength)]


@augmentations.register
def geometric(
    size: int,
    *,
    scale: Annotated[float, Range(0.0, 0.9)] = 0.3,
    shear: Annotated[float, Range(0.0, 45.0)] = 10.0,
    shift: Annotated[float, Range(0.0, 0.5)] = 0.1,
) -> Policy:
    """Any rotation, flips, zoom ×(1 ± scale), shear up to `shear` degrees, shift up to a fraction of the side."""
    return [any_turn(size, scale, shear, shift)]


@augmentations.register
def strong(size: int, *, strength: Strength = 1.0) -> Policy:
    """Rotation, zoom, shear, colour, and at times a blur, a local distortion or a hole, all by one strength."""
    return [
        any_turn(size, scale=0.3 * min(strength, 2.0), shear=10 * strength, shift=0.1),
        even_jitter(strength),
        A.OneOf(
            [
                A.GaussianBlur(blur_limit=(3, 5)),
                A.GridDistortion(distort_limit=0.2, border_mode=BORDER),
                A.CLAHE(clip_limit=2.0),
            ],
            p=0.2,
        ),
        hole(0.1, 0.3, p=0.3 * min(strength, 2.0)),
    ]


def any_turn(size: int, scale: float, shear: float, shift: float = 0.0) -> A.BasicTransform:
    """Flips, any rotation, zoom ×(1 ± scale) of either axis, shear of both, shift up to a share of the side."""
    zoom = (1 - scale, 1 + scale)
    return Warp(size, Ranges((-180, 180), zoom, zoom, shear, shear, shift, dihedral=True))


def even_jitter(strength: float) -> A.BasicTransform:
    """Brightness, contrast and saturation ×(1 ± 0.2 strength), 0.9 at most, and hue ± 0.02 strength."""
    span = min(0.2 * strength, 0.9)
    return jitter(span, span, span, 0.02 * strength)


def hole(smallest: float, largest: float, p: float) -> A.BasicTransform:
    """Cutout: one black rectangle, its sides shares of the image's (DeVries & Taylor 2017, arXiv:1708.04552)."""
    sides = (smallest, largest)
    return A.CoarseDropout(num_holes_range=(1, 1), hole_height_range=sides, hole_width_range=sides, p=p)
