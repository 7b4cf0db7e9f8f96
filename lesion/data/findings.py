"""What is odd about a data set, though it can be used: remembered in its manifest and shown by ``data check``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from lesion.data.packed import EXTERNAL
from lesion.errors import counted


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


def disagreeing(table: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """Known lesions whose images have different labels, with the ids of these images."""
    known = table[table["lesion"] != ""]
    labels = known.groupby("lesion")["label"].nunique()
    rows = known[known["lesion"].isin(labels.index[labels > 1])]
    return {str(name): tuple(map(str, ids)) for name, ids in rows.groupby("lesion")["image"]}


def alike(table: pd.DataFrame, pairs: Sequence[tuple[int, int, float]]) -> list[Finding]:
    """Findings for pairs of rows that look alike and are not known to show one lesion."""
    found = []
    for a, b, cosine in pairs:
        one, other = table.iloc[a], table.iloc[b]
        if one["digest"] == other["digest"] or (one["lesion"] and one["lesion"] == other["lesion"]):
            continue
        ids = (str(one["image"]), str(other["image"]))
        where = _where((one["part"], other["part"]))
        labels = "" if one["label"] == other["label"] else ", under different labels"
        found.append(Finding("alike", f"{' ~ '.join(ids)}: look alike ({cosine:.4f}){labels}{where}", ids))
    return found


def crossing(table: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """Lesions (and patients) that stand in more than one part, with these parts.

    External photos are in none: those of a lesion that stands elsewhere are left out.
    """
    found: dict[str, tuple[str, ...]] = {}
    for key in ("lesion", "patient"):
        known = table[(table[key] != "") & ~table["part"].isin(("", EXTERNAL))]
        parts = known.groupby(key)["part"].unique()
        found |= {f"{key} {name}": tuple(p) for name, p in parts.items() if len(p) > 1}
    return found


def findings(table: pd.DataFrame, digests: Sequence[str], extra: Sequence[str]) -> list[Finding]:
    """Everything odd about a readable data set."""
    part = dict(zip(table["image"], table["part"], strict=True))
    found = []
    for ids in identical(table, digests):
        where = _where(part[i] for i in ids)
        found.append(Finding("identical", f"{' = '.join(ids)}: the same bytes under {len(ids)} ids{where}", ids))
    found += [
        Finding("conflict", f"{' = '.join(ids)}: the same bytes under different labels", ids)
        for ids in conflicting(table, digests)
    ]
    found += [
        Finding("conflict", f"{' and '.join(ids)}: one lesion ({name}) under different labels", ids)
        for name, ids in disagreeing(table).items()
    ]
    if extra:
        found.append(Finding("extra", f"left out without a label: {counted(len(extra), 'image')}", tuple(extra)))
    return found


def _where(parts: Iterable[str]) -> str:
    """In which parts of a data set images stand, where these are several."""
    names = sorted(set(parts))
    return f", in parts {' and '.join(names)}" if len(names) > 1 else ""
