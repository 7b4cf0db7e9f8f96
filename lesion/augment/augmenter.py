"""Policies by name, and how one is drawn from."""

from __future__ import annotations

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray

from lesion.registry import Registry

augmentations = Registry("augmentation")

Image = NDArray[np.uint8]
Policy = list[A.BasicTransform]

cv2.setNumThreads(0)  # an image is small; OpenCV's threads would only fight with torch's


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
