"""What policies are made of, beside the geometry of `lesion.augment.warp`."""

from __future__ import annotations

import albumentations as A
import cv2
import numpy as np

from lesion.augment.augmenter import Image


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
