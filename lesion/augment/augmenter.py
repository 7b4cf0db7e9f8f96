"""Policies by name, and how one is drawn from."""

from __future__ import annotations

import random

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
    """A policy whose every draw is named by (seed, epoch, position).

    All its transforms draw from the same two generators (albumentations has one of either kind), one after the other.
    Each with a seed of its own, as a seeded ``Compose`` has them, would be each with the same: a photo that is blurred
    at ``u < 0.2`` would always get the hole that comes at ``u < 0.3``.
    """

    def __init__(self, policy: Policy, seed: int) -> None:
        self._policy, self._seed = policy, seed
        self._words, self._generator = random.Random(), np.random.Generator(np.random.PCG64())
        for transform in policy:
            transform.set_random_state(self._generator, self._words)

    def __call__(self, image: Image, epoch: int, position: int) -> Image:
        """Augment `image` as epoch `epoch` shows it at `position`, its place in the order of that epoch."""
        self._seek(epoch, position)
        for transform in self._policy:
            image = transform(image=image)["image"]
        return image

    def _seek(self, epoch: int, position: int) -> None:
        """Set both generators to the place of one draw; in place, a tenth of the cost of making new ones."""
        words = np.random.SeedSequence((self._seed, epoch, position)).generate_state(5, np.uint64).tolist()
        self._words.seed(words[4])
        state = {"state": words[0] << 64 | words[1], "inc": words[2] << 64 | words[3] | 1}  # an increment is odd
        self._generator.bit_generator.state = {
            "bit_generator": "PCG64", "state": state, "has_uint32": 0, "uinteger": 0,
        }  # fmt: skip
