"""What a source of images holds, as one table, before a pixel is decoded.

Images and labels are joined by id, never by the order of files. What is wrong is collected, not raised:
``data check`` reports it, ``prepare`` refuses it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lesion.data.archives import Member
from lesion.data.findings import crossing
from lesion.data.packed import EXTERNAL
from lesion.data.records import Mistakes
from lesion.errors import DataError

COLUMNS = ("image", "label", "lesion", "patient", "part", "age", "sex", "site")
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class External:
    """External photos of a source: its name, their ids, and which of its classes became which of the data set.

    `left_out` counts its other photos by the reason.
    """

    source: str
    images: frozenset[str]
    classes: Mapping[str, str]
    left_out: Mapping[str, int]


@dataclass(frozen=True)
class Listing:
    """What a source holds, before a pixel is decoded.

    `table` has one row an image that is there, with `COLUMNS` (part is "" where the source gives none), sorted by
    part and id; `members` says where the bytes of each row are. `missing` are labels without an image,
    `extra` images without a label; both by name. `external` says where external photos come from, as far as they are
    of other sources than this.
    """

    name: str
    layout: str
    classes: tuple[str, ...]
    table: pd.DataFrame
    members: tuple[Member, ...]
    files: tuple[Path, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    mistakes: Mistakes
    external: tuple[External, ...] = ()

    def refuse(self) -> None:
        """Raise DataError, with all that is wrong, unless it can be packed."""
        for line in self.missing:
            self.mistakes.lines.append(line)
        for who, parts in crossing(self.table).items():
            self.mistakes.lines.append(f"{who} stands in parts {' and '.join(parts)}: move it to one of them")
        self.mistakes.refuse(f"source {self.name}")
        if self.table.empty:
            raise DataError(f"source {self.name}: no image has a label")


def by_id(photos: list[Member], mistakes: Mistakes) -> dict[str, Member]:
    """Photos by file name without suffix; two of one name are a mistake."""
    counts = Counter(m.id for m in photos)
    for name in (n for n, count in counts.items() if count > 1):
        mistakes.add(str(photos[0].container), f"{counts[name]} files are called {name}")
    return {m.id: m for m in photos}


def assemble(
    name: str, layout: str, classes: tuple[str, ...], rows: list[tuple[dict[str, object], Member]],
    files: list[Path], missing: list[str], extra: list[str], mistakes: Mistakes,
) -> Listing:  # fmt: skip
    """Listing with its rows sorted by part and id, so that the order of lines in a CSV has no meaning."""
    order = {part: i for i, part in enumerate(("", *PARTS, EXTERNAL))}
    rows = sorted(rows, key=lambda r: (order[str(r[0].get("part", ""))], str(r[0]["image"])))
    blank: dict[str, object] = {"lesion": "", "patient": "", "part": "", "age": math.nan, "sex": "unknown"}
    blank["site"] = "unknown"
    table = pd.DataFrame([blank | row for row, _ in rows], columns=list(COLUMNS))
    table = table.astype({"label": "int64", "age": "float64"})
    return Listing(
        name, layout, classes, table, tuple(m for _, m in rows), tuple(files), tuple(missing), tuple(extra), mistakes
    )


def plain_name(text: str) -> str:
    """A folder's name as the name of a data set: letters, digits, dot, dash and underscore."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._") or "data"
