"""What is measured of every image: its colours and grey levels, and how sharp it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lesion.data.decoding import Progress, silent
from lesion.data.packed import EXTERNAL, PackedDataset

GREYS = 256
SIDES = ("train", "validation", EXTERNAL)
"""Sides of a split as they are shown: external photos are trained on too, and counted apart."""
SHARE = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles of the sharpness that are reported."""


@dataclass(frozen=True, eq=False)
class Measures:
    """`sharpness` (N,) of each image, and the grey levels of all pixels of a class: (classes, 256).

    `colour` (N, 3) and `colour_squared` (N, 3) are the means of the pixels of R, G, B, and of their squares; from 0 to
    255, and to its square.
    """

    sharpness: NDArray[np.float64]
    grey_levels: NDArray[np.int64]
    colour: NDArray[np.float64]
    colour_squared: NDArray[np.float64]


def measure(data: PackedDataset, progress: Progress = silent) -> Measures:
    """Look at every packed image once."""
    labels = data.labels
    sharpness = np.zeros(len(data))
    levels = np.zeros((len(data.classes), GREYS), dtype=np.int64)
    colour, squared = np.zeros((len(data), 3)), np.zeros((len(data), 3))
    for row, image in enumerate(data.images):
        mean, deviation = cv2.meanStdDev(np.asarray(image))
        colour[row], squared[row] = mean[:, 0], mean[:, 0] ** 2 + deviation[:, 0] ** 2
        grey = to_grey(np.asarray(image))
        levels[labels[row]] += np.bincount(grey.ravel(), minlength=GREYS)
        sharpness[row] = variance_of_laplacian(grey)
        progress(row + 1, len(data), "looking at images")
    return Measures(sharpness, levels, colour, squared)


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


def parts(data: PackedDataset) -> dict[str, NDArray[np.bool_]]:
    """Which rows (N,) are of each part of the source."""
    column = data.table["part"]
    return {str(part): (column == part).to_numpy() for part in column.unique()}


def divisions(data: PackedDataset) -> dict[str, NDArray[np.bool_]]:
    """Which rows (N,) are of each part of the source or, where it has only one, on each side of the default split.

    External photos are beside either.
    """
    found = parts(data)
    return found if len(found.keys() - {EXTERNAL}) > 1 else sides(data)


def sides(data: PackedDataset, split_name: str | None = None) -> dict[str, NDArray[np.bool_]]:
    """Which rows (N,) are on each of `SIDES` of a split, the default one unless named."""
    validates = np.isin(np.arange(len(data)), data.split(split_name).validation)
    external = parts(data).get(EXTERNAL, np.zeros(len(data), dtype=bool))
    found = {"train": ~validates & ~external, "validation": validates}
    return found | ({EXTERNAL: external} if external.any() else {})


def by_side(counted: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Of what `class_counts` gives, the images of each class on each side."""
    return {side: counted[side] for side in SIDES if side in counted}


def class_counts(data: PackedDataset, split_name: str | None = None) -> dict[str, Any]:
    """Images of each class, by part of the source and by side of a split, the default one unless named."""
    labels = data.labels
    return {
        "parts": {part: counts(labels[chosen], data.classes) for part, chosen in parts(data).items()},
        "split": data.split(split_name).name,
        **{side: counts(labels[chosen], data.classes) for side, chosen in sides(data, split_name).items()},
    }


def blur(sharpness: NDArray[np.float64], data: PackedDataset, below: float) -> dict[str, Any]:
    """Which images have a sharpness (N,) under `below`, how many of each part and class, and the quantiles of all."""
    blurred = sharpness < below
    labels = data.labels
    order = np.flatnonzero(blurred)[np.argsort(sharpness[blurred], kind="stable")]
    return {
        "below": below,
        "images": int(blurred.sum()),
        "of": len(blurred),
        "parts": {part: _share(blurred[chosen]) for part, chosen in parts(data).items()},
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


def colour_summary(measures: Measures, data: PackedDataset) -> dict[str, Any]:
    """Mean and standard deviation of R, G, B over all pixels, from 0 to 255, of all images, each class and part."""
    classes = {name: data.labels == k for k, name in enumerate(data.classes)}
    return {
        "all": _colours(measures, np.ones(len(data), dtype=bool)),
        "classes": {name: _colours(measures, chosen) for name, chosen in classes.items()},
        "parts": {name: _colours(measures, chosen) for name, chosen in divisions(data).items()},
    }


def _colours(measures: Measures, chosen: NDArray[np.bool_]) -> dict[str, list[float] | None]:
    """Every image has as many pixels as the next, so means of means are those of all pixels."""
    if not chosen.any():
        return {"mean": None, "deviation": None}
    mean = measures.colour[chosen].mean(axis=0)
    variance = np.maximum(measures.colour_squared[chosen].mean(axis=0) - mean**2, 0)  # not below 0 by rounding
    return {"mean": mean.tolist(), "deviation": np.sqrt(variance).tolist()}


def _share(blurred: NDArray[np.bool_]) -> dict[str, int]:
    return {"images": int(blurred.sum()), "of": len(blurred)}
