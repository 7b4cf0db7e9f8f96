"""What is measured of every image: its grey levels, and how sharp it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lesion.data.decoding import Progress, silent
from lesion.data.packed import PackedDataset

GREYS = 256
SHARE = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles of the sharpness that are reported."""


@dataclass(frozen=True, eq=False)
class Measures:
    """`sharpness` (N,) of each image, and the grey levels of all pixels of a class: (classes, 256)."""

    sharpness: NDArray[np.float64]
    grey_levels: NDArray[np.int64]


def measure(data: PackedDataset, progress: Progress = silent) -> Measures:
    """Look at every packed image once."""
    labels = data.labels
    sharpness = np.zeros(len(data))
    levels = np.zeros((len(data.classes), GREYS), dtype=np.int64)
    for row, image in enumerate(data.images):
        grey = to_grey(np.asarray(image))
        levels[labels[row]] += np.bincount(grey.ravel(), minlength=GREYS)
        sharpness[row] = variance_of_laplacian(grey)
        progress(row + 1, len(data), "looking at images")
    return Measures(sharpness, levels)


def to_grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Luma (H, W) of an RGB image (H, W, 3): 0.299 R + 0.587 G + 0.114 B."""
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)


def variance_of_laplacian(grey: NDArray[np.uint8]) -> float:
    """How sharp a grey image (H, W) is: the variance of its Laplacian, of the kernel 0 1 0, 1 -4 1, 0 1 0.

    It depends on the size: a photo that is made smaller gets sharper (Pech-Pacheco et al. 2000,
    doi:10.1109/ICPR.2000.903548).
    """
    _, deviation = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))  # at most 4 × 255, so 16 bits hold it exactly
    return float(deviation.item()) ** 2


def counts(labels: NDArray[np.int64], classes: Sequence[str]) -> dict[str, int]:
    """Images of each class."""
    return dict(zip(classes, np.bincount(labels, minlength=len(classes)).tolist(), strict=True))


def class_counts(data: PackedDataset, split_name: str | None = None) -> dict[str, Any]:
    """Images of each class, by part of the source and by side of a split, the default one unless named."""
    labels, split = data.labels, data.split(split_name)
    parts = data.table["part"]
    return {
        "parts": {str(part): counts(labels[(parts == part).to_numpy()], data.classes) for part in parts.unique()},
        "split": split.name,
        "train": counts(labels[split.train], data.classes),
        "validation": counts(labels[split.validation], data.classes),
    }


def blur(sharpness: NDArray[np.float64], data: PackedDataset, below: float) -> dict[str, Any]:
    """Which images have a sharpness (N,) under `below`, how many of each part and class, and the quantiles of all."""
    blurred = sharpness < below
    parts, labels = data.table["part"], data.labels
    order = np.flatnonzero(blurred)[np.argsort(sharpness[blurred], kind="stable")]
    return {
        "below": below,
        "images": int(blurred.sum()),
        "of": len(blurred),
        "parts": {str(part): _share(blurred[(parts == part).to_numpy()]) for part in parts.unique()},
        "classes": {name: _share(blurred[labels == k]) for k, name in enumerate(data.classes)},
        "quantiles": {f"{share:g}": float(np.quantile(sharpness, share)) for share in SHARE},
        "blurred": [str(image) for image in data.table["image"].iloc[order]],
    }


def grey_summary(levels: NDArray[np.int64], classes: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Mean, standard deviation and counts of the grey levels (classes, 256) of each class."""
    found: dict[str, Mapping[str, Any]] = {}
    for name, histogram in zip(classes, levels, strict=True):
        mean = np.average(np.arange(GREYS), weights=histogram) if histogram.any() else np.nan
        spread = np.average((np.arange(GREYS) - mean) ** 2, weights=histogram) ** 0.5 if histogram.any() else np.nan
        found[name] = {"mean": float(mean), "deviation": float(spread), "pixels": histogram.tolist()}
    return found


def _share(blurred: NDArray[np.bool_]) -> dict[str, int]:
    return {"images": int(blurred.sum()), "of": len(blurred)}
