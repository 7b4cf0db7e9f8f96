"""Everything that can be said about a source before it is packed: counts, and whatever is wrong or odd."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lesion.data.decoding import Decoded, Progress, examine_all, silent
from lesion.data.external import leaking
from lesion.data.findings import Finding, conflicting, crossing, findings, identical
from lesion.data.layouts import read_listing
from lesion.data.listing import PARTS, Listing
from lesion.data.packed import EXTERNAL, MANIFEST, PackedDataset
from lesion.data.packing import check_splits
from lesion.data.prepare import cores
from lesion.data.splits import group_rows
from lesion.errors import DataError


@dataclass(frozen=True)
class Report:
    """What `check` found.

    `counts` is part → class → images that are there and labelled; `lesions` counts the known lesion ids. `mistakes`,
    `missing` (labels without an image) and `broken` (image, reason) keep a data set from being prepared, and so does
    `crossing` (a lesion in several parts); of `extra` (images without a label), `identical` and `conflicting` (by their
    bytes) its manifest has findings, and so has it of lesions under different labels: `findings`, in its words.
    `leaking` are external photos of a lesion, a patient or of bytes that other photos have too: `prepare` leaves them
    out, and those that look like others.
    """

    source: str
    layout: str
    classes: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    images: int
    lesions: int
    mistakes: tuple[str, ...]
    missing: tuple[str, ...]
    broken: tuple[tuple[str, str], ...]
    crossing: Mapping[str, tuple[str, ...]]
    extra: tuple[str, ...]
    identical: tuple[tuple[str, ...], ...]
    conflicting: tuple[tuple[str, ...], ...]
    leaking: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether `prepare` would take it as it is, with the usual folds and test part."""
        return not (self.mistakes or self.missing or self.broken or self.crossing)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"ok": self.ok}


def check(source: Path, *, workers: int | None = None, progress: Progress = silent) -> Report:
    """Read and decode everything in `source`, a source of images or a packed data set.

    Raises DataError only for what cannot be listed at all, or for a packed set whose content is not its manifest's.
    """
    source = Path(source)
    if (source / MANIFEST).exists():
        return _check_packed(source)
    listing = read_listing(source)
    seen = examine_all(listing.members, workers=workers or cores(), progress=progress)
    rows = sorted(seen.digests)
    broken = tuple((str(listing.members[row]), why) for row, why in sorted(seen.broken.items()))
    return _report(
        str(source), listing.layout, listing.classes, listing.table, listing.table.iloc[rows],
        [seen.digests[row] for row in rows], mistakes=(*listing.mistakes.lines, *_unsplittable(listing, seen)),
        missing=listing.missing, broken=broken, extra=listing.extra,
    )  # fmt: skip


def _unsplittable(listing: Listing, seen: Decoded) -> list[str]:
    """Why there are too few lesions for the usual splits, once every label has its image and is understood."""
    if listing.mistakes.lines or listing.missing:
        return []
    try:
        check_splits(listing, digests=[seen.digests.get(row, "") for row in range(len(listing.members))])
    except DataError as error:
        return [str(error)]
    return []


def _check_packed(path: Path) -> Report:
    data = PackedDataset.open(path)
    data.verify()
    return _report(str(path), "packed", data.classes, data.table, data.table, list(data.table["digest"]))


def _report(
    source: str, layout: str, classes: tuple[str, ...], table: pd.DataFrame, readable: pd.DataFrame,
    digests: Sequence[str], *, mistakes: tuple[str, ...] = (), missing: tuple[str, ...] = (),
    broken: tuple[tuple[str, str], ...] = (), extra: tuple[str, ...] = (),
) -> Report:  # fmt: skip
    return Report(
        source=source,
        layout=layout,
        classes=classes,
        counts=_counts(table, classes),
        images=len(table),
        lesions=int(table.loc[table["lesion"] != "", "lesion"].nunique()),
        mistakes=mistakes,
        missing=missing,
        broken=broken,
        crossing=crossing(table),
        extra=extra,
        identical=tuple(identical(readable, digests)),
        conflicting=tuple(conflicting(readable, digests)),
        leaking=_leaking(readable, digests),
        findings=tuple(findings(readable, digests, ())),
    )


def _leaking(table: pd.DataFrame, digests: Sequence[str]) -> tuple[str, ...]:
    grouped = table.assign(group=group_rows(table["lesion"], table["patient"], digests))
    return tuple(str(image) for image in table["image"][leaking(grouped)])


def _counts(table: pd.DataFrame, classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """Images by part ("all" where the source has no parts) and class."""
    return {
        part or "all": {name: int((rows["label"] == i).sum()) for i, name in enumerate(classes)}
        for part in ("", *PARTS, EXTERNAL)
        if len(rows := table[table["part"] == part])
    }
