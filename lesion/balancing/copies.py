"""The deterministic copies of an image, and the blend of two: what `Draws` says, done to pixels when they are shown.

Copies 0 to 4 are system B's "×5": the image, flipped left-right, flipped up-down, turned by 90° and by 180°. The extra
images of system A are `AUGMENTED`: how they differ from the original, which is shown as it is beside them, is drawn by
the augmentation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

AUGMENTED = -1
"""Copy number of an image that is there once more, for the augmentation to change."""

VIEWS: Mapping[int, int] = MappingProxyType({AUGMENTED: 0, 0: 0, 1: 1, 2: 5, 3: 2, 4: 4})
"""Which of the eight flips and quarter turns a copy is, as `lesion.prediction.dihedral` numbers them."""

_COPIES: Mapping[int, Callable[[Image], Image]] = MappingProxyType(
    {
        AUGMENTED: lambda image: image,
        0: lambda image: image,
        1: np.fliplr,
        2: np.flipud,
        3: lambda image: np.rot90(image, 1),
        4: lambda image: np.rot90(image, 2),
    }
)

DETERMINISTIC = (1, 2, 3, 4)


def shown(image: Image, copy: int) -> Image:
    """Copy number `copy` of an image (H, W, 3); a turn by 90° is counter-clockwise and swaps H and W."""
    return np.ascontiguousarray(_COPIES[int(copy)](image))


def blended(image: Image, partner: Image, blend: float) -> Image:
    """The image `blend` of the way from `image` to `partner`, both uint8 (H, W, 3) of one size; rounded."""
    mixed = image + np.float32(blend) * (partner.astype(np.float32) - image)
    return np.rint(mixed).astype(np.uint8)
