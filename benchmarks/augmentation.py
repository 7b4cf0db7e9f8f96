"""Images a second on one core: packed photos and our policies, against JPEGs decoded and the same augmentation.

    OMP_NUM_THREADS=1 python benchmarks/augmentation.py ../shared/data/ham10000_600x450/images.zip --size 128

`jpeg` decodes a 600×450 photo with Pillow and augments it with the policy written in albumentations as its manual
does, one transform after another. `packed` maps photos of 256 pixels a side and augments them as a training does.
Processor time of one process, best of five rounds that take turns. Recorded on two cores of a Xeon, 2026-11-24:

| policy | JPEG, images/s | packed, images/s | ratio | augmentation alone, ms |
|---|---|---|---|---|
| none | 236 | 19373 | 82.1 | 0.04 |
| dihedral | 230 | 16451 | 71.5 | 0.05 |
| colour | 202 | 4407 | 21.9 | 0.21 |
| geometric | 138 | 2843 | 20.6 | 0.32 |
| strong | 125 | 1544 | 12.4 | 0.62 |

Before geometry was one warp and all transforms drew from one generator, the last column was 0.29 for dihedral, 0.49
for colour, 1.00 for geometric and 1.46 for strong.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import albumentations as A
import cv2
import numpy as np
from PIL import Image

from lesion.augment import Augmenter, augmentations, resize

PACKED, ROUNDS = 256, 5


def plain(size: int) -> dict[str, list[A.BasicTransform]]:
    """Three of the policies, with transforms of albumentations alone."""
    shrink = A.Resize(size, size, interpolation=cv2.INTER_AREA)
    turn = A.Affine(
        rotate=(-180, 180), scale=(0.7, 1.3), shear=(-10, 10), translate_percent=(-0.1, 0.1),
        border_mode=cv2.BORDER_REFLECT_101, p=1.0,
    )  # fmt: skip
    colour = A.ColorJitter((0.8, 1.2), (0.8, 1.2), (0.8, 1.2), (-0.02, 0.02), p=1.0)
    at_times = A.OneOf([A.GaussianBlur((3, 5)), A.GridDistortion(distort_limit=0.2), A.CLAHE(2.0)], p=0.2)
    hole = A.CoarseDropout((1, 1), (0.1, 0.3), (0.1, 0.3), p=0.3)
    return {
        "none": [shrink],
        "dihedral": [shrink, A.D4(p=1.0)],
        "colour": [shrink, A.D4(p=1.0), colour],
        "geometric": [A.D4(p=1.0), turn, shrink],
        "strong": [A.D4(p=1.0), turn, shrink, colour, at_times, hole],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="zip of JPEGs")
    parser.add_argument("--size", type=int, default=128, help="pixels a side of what a model sees")
    parser.add_argument("--images", type=int, default=64, help="photos used")
    parser.add_argument("--draws", type=int, default=200, help="images drawn in a round")
    arguments = parser.parse_args()
    files = _read(arguments.photos, arguments.images)
    with tempfile.TemporaryDirectory() as folder:
        packed = _packed(files, Path(folder))
        print("| policy | JPEG, images/s | packed, images/s | ratio | augmentation alone, ms |")
        print("|---|---|---|---|---|")
        for name, transforms in plain(arguments.size).items():
            stock = A.Compose(transforms)
            ours = Augmenter(augmentations[name].build(arguments.size), 0)
            held = [np.asarray(photo) for photo in packed]
            slow, fast, alone = _times(
                arguments.draws,
                lambda i, stock=stock: stock(image=_decoded(files[i % len(files)])),
                lambda i, ours=ours: ours(np.asarray(packed[i % len(packed)]), 0, i),
                lambda i, ours=ours, held=held: ours(held[i % len(held)], 0, i),
            )
            print(f"| {name} | {1 / slow:.0f} | {1 / fast:.0f} | {slow / fast:.1f} | {1000 * alone:.2f} |")


def _times(draws: int, *ways: Callable[[int], object]) -> list[float]:
    """Processor seconds of one draw in each way; rounds take turns, so that a busy minute hits all alike."""
    best = [float("inf")] * len(ways)
    for _ in range(ROUNDS):
        for place, way in enumerate(ways):
            start = time.process_time()
            for draw in range(draws):
                way(draw)
            best[place] = min(best[place], (time.process_time() - start) / draws)
    return best


def _read(photos: Path, count: int) -> list[bytes]:
    with zipfile.ZipFile(photos) as archive:
        return [archive.read(name) for name in archive.namelist() if name.lower().endswith(".jpg")][:count]


def _decoded(file: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))


def _packed(files: list[bytes], folder: Path) -> np.ndarray:
    """The photos as a packed set holds them: one array of squares, mapped."""
    np.save(folder / "images.npy", np.stack([resize(_decoded(file), PACKED) for file in files]))
    return np.load(folder / "images.npy", mmap_mode="r")


if __name__ == "__main__":
    main()
