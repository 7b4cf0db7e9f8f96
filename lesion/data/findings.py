"""What is odd about a data set, though it can be used: remembered in its manifest and shown by ``data check``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class Finding:
    """One oddity: its kind, a sentence, and the images or files concerned."""

    kind: str
    message: str
    images: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"images": list(self.images)}


def identical(table: pd.DataFrame, digests: Sequence[str]) -> list[tuple[str, ...]]:
    """Ids of images with the same bytes, a tuple for each set of two or more."""
    found = pd.Series(table["image"].to_numpy()).groupby(list(digests), sort=False).agg(tuple)
    return [ids for ids in found if len(ids) > 1]


def conflicting(table: pd.DataFrame, digests: Sequence[str]) -> list[tuple[str, ...]]:
    """Ids of images with the same bytes and different labels."""
    label = dict(zip(table["image"], table["label"], strict=True))
    return [ids for ids in identical(table, digests) if len({label[i] for i in ids}) > 1]


def alike(table: pd.DataFrame, pairs: Sequence[tuple[int, int, float]]) -> list[Finding]:
    """Findings for pairs of rows that look alike and are not known to show one lesion."""
    found = []
    for a, b, cosine in pairs:
        one, other = table.iloc[a], table.iloc[b]
        if one["digest"] == other["digest"] or (one["lesion"] and one["lesion"] == other["lesion"]):
            continue
        ids = (str(one["image"]), str(other["image"]))
        parts = sorted({one["part"], other["part"]})
        where = f", in parts {' and '.join(parts)}" if len(parts) > 1 else ""
        labels = "" if one["label"] == other["label"] else ", under different labels"
        found.append(Finding("alike", f"{' ~ '.join(ids)}: look alike ({cosine:.4f}){labels}{where}", ids))
    return found


def crossing(table: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """Lesions (and patients) that stand in more than one part, with these parts."""
    found: dict[str, tuple[str, ...]] = {}
    for key in ("lesion", "patient"):
        known = table[(table[key] != "") & (table["part"] != "")]
        parts = known.groupby(key)["part"].unique()
        found |= {f"{key} {name}": tuple(p) for name, p in parts.items() if len(p) > 1}
    return found


def findings(table: pd.DataFrame, digests: Sequence[str], extra: Sequence[str]) -> list[Finding]:
    """Everything odd about a readable data set."""
    part = dict(zip(table["image"], table["part"], strict=True))
    found = []
    for ids in identical(table, digests):
        parts = sorted({part[i] for i in ids})
        where = f", in parts {' and '.join(parts)}" if len(parts) > 1 else ""
        found.append(Finding("identical", f"{' = '.join(ids)}: the same bytes under {len(ids)} ids{where}", ids))
    found += [
        Finding("conflict", f"{' = '.join(ids)}: the same bytes under different labels", ids)
        for ids in conflicting(table, digests)
    ]
    if extra:
        found.append(Finding("extra", f"{len(extra)} images have no label and were left out", tuple(extra)))
    return found
