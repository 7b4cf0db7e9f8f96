"""Augmentation: albumentations policies, drawn afresh for every image of every epoch.

A policy is built for the image size and maps an image (H, W, 3), uint8 RGB, to (S, S, 3). `Augmenter` seeds it
from (seed, epoch, position), so that the same place of the same epoch is drawn the same whoever loads it: with 0, 2
or 4 workers, and after a resume. (Left alone, albumentations draws the same in every worker and every epoch.)
"""

from __future__ import annotations

import os
from typing import Annotated

# Asks the package index for news when it is imported, and warns where there is no network, unless told not to.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray

from lesion.registry import Range, Registry

augmentations = Registry("augmentation")

Image = NDArray[np.uint8]
Policy = list[A.BasicTransform]
Strength = Annotated[float, Range(0.0, 3.0)]

cv2.setNumThreads(0)  # an image is small; OpenCV's threads would only fight with torch's


@augmentations.register
def none(size: int) -> Policy:
    """The image as it is."""
    return [_resize(size)]


@augmentations.register
def dihedral(size: int) -> Policy:
    """One of the eight flips and quarter turns: a lesion has no upright."""
    return [_resize(size), A.D4(p=1.0)]


@augmentations.register
def colour(size: int, *, strength: Strength = 1.0) -> Policy:
    """Dihedral, then brightness, contrast and saturation ×(1 ± 0.2 strength), hue ± 0.02 strength."""
    return [_resize(size), A.D4(p=1.0), _jitter(strength)]


@augmentations.register
def geometric(
    size: int,
    *,
    scale: Annotated[float, Range(0.0, 0.9)] = 0.3,
    shear: Annotated[float, Range(0.0, 45.0)] = 10.0,
    shift: Annotated[float, Range(0.0, 0.5)] = 0.1,
) -> Policy:
    """Any rotation, flips, zoom ×(1 ± scale), shear up to `shear` degrees, shift up to a fraction of the side."""
    return [A.D4(p=1.0), _affine(size, scale, shear, shift)]


@augmentations.register
def strong(size: int, *, strength: Strength = 1.0) -> Policy:
    """Rotation, zoom, shear, colour, and at times blur, a local distortion or a hole: what challenge winners use."""
    return [
        A.D4(p=1.0),
        _affine(size, scale=0.3 * min(strength, 2.0), shear=10 * strength, shift=0.1),
        _jitter(strength),
        A.OneOf(
            [A.GaussianBlur(blur_limit=(3, 5)), A.GridDistortion(distort_limit=0.2), A.CLAHE(clip_limit=2.0)],
            p=0.2,
        ),
        A.CoarseDropout(
            num_holes_range=(1, 1),
            hole_height_range=(0.1, 0.3),
            hole_width_range=(0.1, 0.3),
            p=0.3 * min(strength, 2.0),
        ),
    ]


class Augmenter:
    """A policy whose every draw is named by (seed, epoch, position)."""

    def __init__(self, policy: Policy, seed: int) -> None:
        self._compose = A.Compose(policy)
        self._seed = seed

    def __call__(self, image: Image, epoch: int, position: int) -> Image:
        """Augment `image` as epoch `epoch` shows it at `position`, its place in the order of that epoch."""
        words = np.random.SeedSequence((self._seed, epoch, position)).generate_state(1)
        self._compose.set_random_seed(int(words[0]))
        augmented: Image = self._compose(image=image)["image"]
        return augmented


def resize(image: Image, size: int) -> Image:
    """Square image of `size` pixels; area averaging when it shrinks, so that fine texture does not alias."""
    if image.shape[0] == size and image.shape[1] == size:
        return image
    shrinks = size < image.shape[0]
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR).astype(
        np.uint8
    )


class _Resize(A.ImageOnlyTransform):  # type: ignore[misc]
    """`resize` as a transform, so that training and validation shrink an image in the same way."""

    def __init__(self, size: int) -> None:
        super().__init__(p=1.0)
        self.size = size

    def apply(self, img: Image, **params: object) -> Image:
        return resize(img, self.size)


def _resize(size: int) -> A.BasicTransform:
    return _Resize(size)


def _affine(size: int, scale: float, shear: float, shift: float) -> A.BasicTransform:
    return A.Sequential(
        [
            A.Affine(
                rotate=(-180, 180),
                scale=(1 - scale, 1 + scale),
                shear={"x": (-shear, shear), "y": (-shear, shear)},
                translate_percent=(-shift, shift),
                border_mode=cv2.BORDER_REFLECT_101,
                p=1.0,
            ),
            _resize(size),
        ],
        p=1.0,
    )


def _jitter(strength: float) -> A.BasicTransform:
    span = min(0.2 * strength, 0.9)
    around_one = (1 - span, 1 + span)
    return A.ColorJitter(
        brightness=around_one,
        contrast=around_one,
        saturation=around_one,
        hue=(-0.02 * strength, 0.02 * strength),
        p=1.0,
    )
