"""What a data set looks like, before anything learns from it: numbers as JSON, and pictures.

The test part is never opened: a packed set does not hold it, and of a source only the photos that the packed set names
are read.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lesion.checkpoints import write_atomically
from lesion.data.decoding import Progress, silent
from lesion.data.packed import PackedDataset
from lesion.exploration.measures import Measures, blur, class_counts, grey_summary, measure
from lesion.exploration.originals import Originals, common_sizes, read_originals
from lesion.exploration.pictures import (
    class_counts_figure,
    grey_levels_figure,
    least_sharp_figure,
    samples_figure,
    sharpness_figure,
    sizes_figure,
)
from lesion.figures import write_png

REPORT = "exploration.json"

BLURRED = 70.0
"""Photos with a variance of the Laplacian below this are called blurred, as in the published exploration."""


def explore(
    data: PackedDataset,
    folder: Path,
    *,
    source: Path | None = None,
    blurred_below: float = BLURRED,
    per_class: int = 8,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Write exploration.json and pictures into `folder`, which is made; returns what the JSON holds.

    Sharpness is measured on the packed images and, with the `source` that `data` was prepared from, on the photos at
    full size, whose sizes are then known too: a packed set does not keep them. `per_class` images of every class,
    drawn by `seed`, are shown. Raises DataError where `source` is another one.
    """
    originals = None if source is None else read_originals(data, source, progress)
    measures = measure(data, progress)
    report = describe(data, measures, originals, blurred_below)
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {
        "class_counts": class_counts_figure(report["counts"], data.name),
        "samples": samples_figure(data, per_class, seed),
        "grey_levels": grey_levels_figure(measures.grey_levels, data.classes, data.name),
        **_blur_pictures(data, measures.sharpness, report["blur"]["packed"], ""),
    }
    if originals is not None:
        pictures["sizes"] = sizes_figure(report["sizes"], data.name)
        pictures |= _blur_pictures(data, originals.sharpness, report["blur"]["originals"], "_originals")
    report["pictures"] = [write_png(folder / f"{name}.png", picture).name for name, picture in pictures.items()]
    write_atomically(folder / REPORT, json.dumps(report, indent=1, ensure_ascii=False).encode())
    return report


def describe(
    data: PackedDataset, measures: Measures, originals: Originals | None, blurred_below: float = BLURRED
) -> dict[str, Any]:
    """What exploration.json holds, but for the names of the pictures; `sizes` is None without `originals`."""
    packed = {"measured_at": f"{data.size} × {data.size} pixels, {data.geometry}"}
    sharp = {"packed": packed | blur(measures.sharpness, data, blurred_below)}
    if originals is not None:
        full = {"measured_at": "photos at full size"}
        sharp["originals"] = full | blur(originals.sharpness, data, blurred_below)
    return {
        "data": data.name,
        "content_hash": data.content_hash,
        "pixels": data.size,
        "geometry": data.geometry,
        "classes": list(data.classes),
        "images": len(data),
        "test_images": int((data.manifest.get("test") or {}).get("images", 0)),
        "counts": class_counts(data),
        "files": files_and_labels(data, originals),
        "sizes": None if originals is None else common_sizes(originals.sizes),
        "blur": sharp,
        "grey_levels": grey_summary(measures.grey_levels, data.classes),
    }


def _blur_pictures(
    data: PackedDataset, sharpness: NDArray[np.float64], found: Mapping[str, Any], suffix: str
) -> dict[str, Figure]:
    below, where = found["below"], found["measured_at"]
    return {
        f"sharpness{suffix}": sharpness_figure(sharpness, data.labels, data.classes, below, where),
        f"least_sharp{suffix}": least_sharp_figure(data, sharpness, where),
    }


def files_and_labels(data: PackedDataset, originals: Originals | None) -> dict[str, Any]:
    """Files against labels, both ways, and whatever else was found when the data set was prepared.

    A source with labels that have no image cannot be prepared, so a packed set has none.
    """
    findings: dict[str, list[str]] = defaultdict(list)
    unlabelled: list[str] = []
    for finding in data.manifest.get("findings", []):
        findings[finding["kind"]].append(finding["message"])
        if finding["kind"] == "extra":
            unlabelled += finding["images"]
    return {
        "seen": "when prepared" if originals is None else originals.source,
        "labels_without_image": [] if originals is None else list(originals.missing),
        "images_without_label": unlabelled if originals is None else list(originals.extra),
        "findings": dict(findings),
    }
