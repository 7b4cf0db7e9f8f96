"""Who the photos are of: ages, sexes and body sites of each class and part, with "unknown" a value of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from lesion.data.packed import PackedDataset
from lesion.exploration.measures import divisions
from lesion.metadata import DECADES, SEXES, SITES, UNKNOWN, decades


def count_people(data: PackedDataset) -> dict[str, Any]:
    """Of age (in decades), sex and site: images of which it is known, and images by value, of each class and part.

    `values` are in the order of `lesion.metadata`; those that no image has are left out. Age has the median of the
    known ages of each class, in years, None where none is known.
    """
    table = data.table
    ages_by_decade = pd.Series([DECADES[at] for at in decades(table["age"])])
    found = {
        "age": _spread(data, ages_by_decade, DECADES),
        "sex": _spread(data, table["sex"], SEXES),
        "site": _spread(data, table["site"], SITES),
    }
    known = [table["age"][data.labels == k].dropna() for k in range(len(data.classes))]
    found["age"]["medians"] = {
        name: float(ages.median()) if len(ages) else None for name, ages in zip(data.classes, known, strict=True)
    }
    return found


def _spread(data: PackedDataset, column: pd.Series, order: Sequence[str]) -> dict[str, Any]:
    values = column.fillna(UNKNOWN).replace("", UNKNOWN).astype(str).to_numpy()
    present = set(values.tolist()) | {UNKNOWN}
    # A place that is not in the list stands before "unknown", which is always last.
    others = sorted(present.difference(order))
    shown = [value for value in (*order[:-1], *others, UNKNOWN) if value in present]
    classes = {name: data.labels == k for k, name in enumerate(data.classes)}
    return {
        "known": int((values != UNKNOWN).sum()),
        "values": shown,
        "classes": {name: _counts(values[chosen], shown) for name, chosen in classes.items()},
        "parts": {name: _counts(values[chosen], shown) for name, chosen in divisions(data).items()},
    }


def _counts(values: Any, shown: Sequence[str]) -> list[int]:
    return [int((values == value).sum()) for value in shown]
