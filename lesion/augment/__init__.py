"""Augmentation: albumentations policies, drawn afresh for every image of every epoch.

A policy is built for the image size and maps an image (H, W, 3), uint8 RGB, to (S, S, 3). `Augmenter` seeds it
from (seed, epoch, position), so that the same place of the same epoch is drawn the same whoever loads it: with 0, 2
or 4 workers, and after a resume. (Left alone, albumentations draws the same in every worker and every epoch.)
"""

from __future__ import annotations

import os

# Asks the package index for news when it is imported, and warns where there is no network, unless told not to.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

from lesion.augment import policies, published  # noqa: F401 - importing registers
from lesion.augment.augmenter import Augmenter, Image, Policy, augmentations
from lesion.augment.transforms import resize

__all__ = ["Augmenter", "Image", "Policy", "augmentations", "resize"]
