"""What is known of the patient, as numbers: age, sex and body site, each one-hot with a place for "unknown".

One value of each is always marked, so a model learns what not knowing means instead of being told that an unknown age
is 0 years:

>>> import pandas as pd
>>> table = pd.DataFrame({"age": [45.0, float("nan")], "sex": ["female", "unknown"], "site": ["back", "unknown"]})
>>> rows = encode(table)
>>> [[COLUMNS[i] for i in row.nonzero()[0]] for row in rows]
[['age 40-49', 'sex female', 'site back'], ['age unknown', 'sex unknown', 'site unknown']]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lesion.errors import DataError, unknown

UNKNOWN = "unknown"
DECADES = (*(f"{d}-{d + 9}" for d in range(0, 90, 10)), "90 and over", UNKNOWN)
SEXES = ("female", "male", UNKNOWN)
SITES = (
    "abdomen", "acral", "back", "chest", "ear", "face", "foot", "genital", "hand", "lower extremity", "neck", "scalp",
    "trunk", "upper extremity", UNKNOWN,
)  # fmt: skip
"""Body sites as HAM10000 calls them (Tschandl et al. 2018, column `localization`)."""

COLUMNS = (*(f"age {d}" for d in DECADES), *(f"sex {s}" for s in SEXES), *(f"site {s}" for s in SITES))
"""What each number of a row says."""

WIDTH = len(COLUMNS)


def encode(table: pd.DataFrame) -> NDArray[np.float32]:
    """Rows of a packed table (`age` in years, `sex`, `site`) as numbers (N, `WIDTH`), three of them 1, the others 0.

    NaN, None and "" mean unknown. Raises DataError for a sex or site that has no place, and for an age below 0.
    """
    marked = (decades(table["age"]), _positions("sex", table["sex"], SEXES), _positions("site", table["site"], SITES))
    sizes = (len(DECADES), len(SEXES), len(SITES))
    blocks = [np.eye(size, dtype=np.float32)[at] for size, at in zip(sizes, marked, strict=True)]
    return np.concatenate(blocks, axis=1)


def nothing_known(count: int) -> NDArray[np.float32]:
    """What `encode` gives for `count` patients of whom nothing is known."""
    known = {"age": [np.nan] * count, "sex": [UNKNOWN] * count, "site": [UNKNOWN] * count}
    return encode(pd.DataFrame(known))


def decades(ages: pd.Series) -> NDArray[np.int64]:
    """Positions (N,) in `DECADES` of ages in years, the last one where NaN; DataError for an age below 0."""
    years = ages.to_numpy(np.float64)
    if (years < 0).any():
        raise DataError(f"an age is {years[years < 0][0]:g}, must be at least 0, or NaN where it is not known")
    last, missing = len(DECADES) - 2, len(DECADES) - 1
    # NaN is no integer: what it is cast to differs between machines.
    known = np.minimum(np.nan_to_num(years, nan=0.0) // 10, last).astype(np.int64)
    return np.where(np.isnan(years), missing, known)


def _positions(what: str, column: pd.Series, known: Sequence[str]) -> NDArray[np.int64]:
    names = column.fillna(UNKNOWN).replace("", UNKNOWN)
    position = names.map({name: at for at, name in enumerate(known)})
    if position.isna().any():
        raise DataError(unknown(what, str(names[position.isna()].iloc[0]), known))
    return np.asarray(position, dtype=np.int64)
