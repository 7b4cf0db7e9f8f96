"""What a data set looks like, before anything learns from it: numbers as JSON, pictures, and a page of all of it.

The test part is never opened: a packed set does not hold it, and of a source only the photos that the packed set names
are read.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from lesion.data.decoding import Progress, silent
from lesion.data.packed import PackedDataset
from lesion.exploration import charts, pictures
from lesion.exploration.duplicates import find_duplicates
from lesion.exploration.groups import count_groups
from lesion.exploration.measures import Measures, blur, class_counts, colour_summary, grey_summary, measure
from lesion.exploration.originals import Originals, common_sizes, read_originals
from lesion.exploration.page import Look, render
from lesion.exploration.people import count_people
from lesion.figures import write_png
from lesion.writing import write_atomically

REPORT, PAGE = "exploration.json", "exploration.html"

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
    """Write exploration.html, exploration.json and pictures into `folder`, which is made; returns what the JSON holds.

    Sharpness is measured on the packed images and, with the `source` that `data` was prepared from, on the photos at
    full size, whose sizes are then known too: a packed set does not keep them. `per_class` images of every class,
    drawn by `seed`, are shown. Raises DataError where `source` is another one.
    """
    originals = None if source is None else read_originals(data, source, progress)
    measures = measure(data, progress)
    report = describe(data, measures, originals, blurred_below, progress)
    folder.mkdir(parents=True, exist_ok=True)
    shown = pictures.samples(data, per_class, seed)
    drawn = _charts(data, report, measures, originals)
    sheets = _sheets(data, report, measures, originals)
    sheets["samples"] = pictures.samples_figure(data, shown)
    files = [write_png(folder / f"{name}.png", figure).name for name, figure in {**drawn, **sheets}.items()]
    report |= {"page": PAGE, "pictures": files}
    sharpness = {"packed": measures.sharpness} | ({} if originals is None else {"originals": originals.sharpness})
    write_atomically(folder / PAGE, render(Look(data, report, drawn, shown, sharpness)).encode())
    write_atomically(folder / REPORT, json.dumps(report, indent=1, ensure_ascii=False).encode())
    return report


def describe(
    data: PackedDataset,
    measures: Measures,
    originals: Originals | None,
    blurred_below: float = BLURRED,
    progress: Progress = silent,
) -> dict[str, Any]:
    """What exploration.json holds, but for the names of page and pictures; `sizes` is None without `originals`.

    Of the test part only what the manifest of `data` says: how many images, and how many of each class.
    """
    of_test = data.manifest.get("test") or {}
    packed = {"measured_at": f"{data.size} × {data.size} pixels, {data.geometry}"}
    sharp = {"packed": packed | blur(measures.sharpness, data, blurred_below)}
    if originals is not None:
        full = {"measured_at": "photos at their own size"}
        sharp["originals"] = full | blur(originals.sharpness, data, blurred_below)
    return {
        "data": data.name,
        "content_hash": data.content_hash,
        "pixels": data.size,
        "geometry": data.geometry,
        "classes": list(data.classes),
        "images": len(data),
        "test_images": int(of_test.get("images", 0)),
        # Counted by `prepare`; None where there is no test part or an older version packed the data.
        "test_classes": of_test.get("classes"),
        "counts": class_counts(data),
        "people": count_people(data),
        "groups": count_groups(data),
        "duplicates": find_duplicates(data, progress),
        "files": files_and_labels(data, originals),
        "sizes": None if originals is None else common_sizes(originals.sizes),
        "blur": sharp,
        "colours": colour_summary(measures, data),
        "grey_levels": grey_summary(measures.grey_levels, data.classes),
    }


def _charts(
    data: PackedDataset, report: dict[str, Any], measures: Measures, originals: Originals | None
) -> dict[str, Figure]:
    """The charts by name, those of what nothing is known left out."""
    drawn = {"class_counts": charts.class_counts_figure(report["counts"], data.name, report["test_classes"])}
    if report["sizes"] is not None:
        drawn["sizes"] = charts.sizes_figure(report["sizes"], data.name)
    for what, found in report["people"].items():
        if found["known"]:
            drawn[f"{what}_by_class"] = charts.values_figure(found, what, data.name)
    seen: list[dict[str, int]] = []
    for what, plural in (("lesion", "lesions"), ("patient", "patients"), ("together", "groups kept together")):
        found = report["groups"][what]
        if found["groups"] < found["images"] and found["by_images"] not in seen:
            seen.append(found["by_images"])
            drawn[f"images_per_{what}"] = charts.groups_figure(found, plural, data.name)
    for where, suffix, looked in (("packed", "", measures), ("originals", "_originals", originals)):
        if looked is not None:
            found = report["blur"][where]
            drawn[f"sharpness{suffix}"] = charts.sharpness_figure(
                looked.sharpness, data.labels, data.classes, found["below"], found["measured_at"]
            )
    drawn["colours"] = charts.colours_figure(report["colours"], data.name)
    drawn["grey_levels"] = charts.grey_levels_figure(measures.grey_levels, data.classes, data.name)
    return drawn


def _sheets(
    data: PackedDataset, report: dict[str, Any], measures: Measures, originals: Originals | None
) -> dict[str, Figure]:
    """Contact sheets by name."""
    where = report["blur"]["packed"]["measured_at"]
    sheets = {"least_sharp": pictures.least_sharp_figure(data, measures.sharpness, where)}
    if originals is not None:
        where = report["blur"]["originals"]["measured_at"]
        sheets["least_sharp_originals"] = pictures.least_sharp_figure(data, originals.sharpness, where)
    titles = {"identical": "the same bytes under two ids", "alike": "photos that look alike"}
    for kind, title in titles.items():
        if report["duplicates"][kind]:
            sheets[kind] = pictures.pairs_figure(data, report["duplicates"][kind], title)
    return sheets


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
