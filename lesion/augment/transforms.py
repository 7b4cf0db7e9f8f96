"""What policies are made of.

Whatever a turn, a shift or a distortion brings in from outside the photo is the photo mirrored: a black corner would
be a mark that no test image has.
"""

from __future__ import annotations

import albumentations as A
import cv2
import numpy as np

from lesion.augment.augmenter import Image

BORDER = cv2.BORDER_REFLECT_101


def resize(image: Image, size: int) -> Image:
    """Square image of `size` pixels; area averaging when it shrinks, so that fine texture does not alias."""
    if image.shape[0] == size and image.shape[1] == size:
        return image
    shrinks = size < image.shape[0]
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR).astype(
        np.uint8
    )


class Resize(A.ImageOnlyTransform):  # type: ignore[misc]
    """`resize` as a transform, so that training and validation shrink an image in the same way."""

    def __init__(self, size: int) -> None:
        super().__init__(p=1.0)
        self.size = size

    def apply(self, img: Image, **params: object) -> Image:
        """The resized image."""
        return resize(img, self.size)


def affine(
    rotate: tuple[float, float],
    scale: tuple[float, float] | dict[str, tuple[float, float]],
    shear: dict[str, tuple[float, float]],
    shift: float = 0.0,
) -> A.BasicTransform:
    """Scale, turn (degrees), shear (degrees) and shift (up to a share of the side), always."""
    return A.Affine(
        rotate=rotate, scale=scale, shear=shear, translate_percent=(-shift, shift), border_mode=BORDER, p=1.0
    )


def jitter(
    brightness: float = 0.0, contrast: float = 0.0, saturation: float = 0.0, hue: float = 0.0
) -> A.BasicTransform:
    """Brightness, contrast and saturation × (1 ± what is given), hue ± a share of the circle; in random order."""
    return A.ColorJitter(
        brightness=(1 - brightness, 1 + brightness),
        contrast=(1 - contrast, 1 + contrast),
        saturation=(1 - saturation, 1 + saturation),
        hue=(-hue, hue),
        p=1.0,
    )
