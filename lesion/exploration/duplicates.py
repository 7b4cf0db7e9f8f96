"""Photos that stand twice in a data set: of the same bytes, or so alike that they show one lesion.

What stands on both sides of a split makes its validation too good. Of pairs with the test part only the names are
told, as they were found when the data set was prepared: that part is not opened here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lesion.data.decoding import Progress, silent
from lesion.data.lookalikes import ALIKE, MOST, look_alike
from lesion.data.packed import PackedDataset

Pair = dict[str, Any]


def find_duplicates(data: PackedDataset, progress: Progress = silent) -> dict[str, Any]:
    """Pairs of the same bytes (`identical`) and pairs that look alike; those first that most need a look.

    A pair has `images`, `rows`, `classes`, `parts`, `sides` (of the default split), `cosine`, `one_lesion` (None where
    the source does not name it) and `across`: whether its images are in two parts or on two sides. Each image stands
    beside the first of its bytes, and only that first one is compared by looks.
    """
    digests = data.table["digest"]
    firsts = np.flatnonzero(~digests.duplicated().to_numpy())
    first_of = {digests.iloc[row]: int(row) for row in firsts}
    again = np.flatnonzero(digests.duplicated().to_numpy())
    validation = set(data.split().validation.tolist())
    same = [_pair(data, first_of[digests.iloc[row]], int(row), 1.0, validation) for row in again]
    found = look_alike(data.images, firsts.tolist(), progress=progress)
    alike = [_pair(data, int(firsts[a]), int(firsts[b]), cosine, validation) for a, b, cosine in found]
    return {
        "least_cosine": ALIKE,
        "compared": len(firsts) <= MOST,
        "identical": sorted(same, key=_urgency),
        "alike": sorted(alike, key=_urgency),
        "across": {"identical": sum(pair["across"] for pair in same), "alike": sum(pair["across"] for pair in alike)},
        "with_test": list(_with_test(data)),
    }


def _pair(data: PackedDataset, one: int, other: int, cosine: float, validation: set[int]) -> Pair:
    rows = [one, other]
    chosen = data.table.iloc[rows]
    lesions = chosen["lesion"].tolist()
    parts = [str(part) for part in chosen["part"]]
    sides = ["validation" if row in validation else "train" for row in rows]
    return {
        "images": [str(image) for image in chosen["image"]],
        "rows": rows,
        "classes": [data.classes[label] for label in chosen["label"]],
        "parts": parts,
        "sides": sides,
        "cosine": round(cosine, 6),
        "one_lesion": lesions[0] == lesions[1] if all(lesions) else None,
        "across": len(set(parts)) > 1 or len(set(sides)) > 1,
    }


def _urgency(pair: Pair) -> tuple[bool, bool, bool, float]:
    """Across parts, then under different labels, then not known to be one lesion, then by likeness."""
    return not pair["across"], len(set(pair["classes"])) == 1, bool(pair["one_lesion"]), -pair["cosine"]


def _with_test(data: PackedDataset) -> Iterator[dict[str, Any]]:
    """What `data prepare` found between an image of this set and one that is not in it."""
    ours = set(data.table["image"])
    for finding in data.manifest.get("findings", []):
        here = [image for image in finding["images"] if image in ours]
        if finding["kind"] in ("identical", "alike", "conflict") and 0 < len(here) < len(finding["images"]):
            yield {"kind": finding["kind"], "message": finding["message"], "images": here}
