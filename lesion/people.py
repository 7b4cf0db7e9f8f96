"""Who the photos are of: a CSV of ages, sexes and body sites beside the photos that a model is to judge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lesion.data.records import Mistakes, Record, age, read_records, sex
from lesion.errors import DataError
from lesion.metadata import SITES, UNKNOWN
from lesion.photos import ENDINGS

FACTS = ("age", "sex", "site")


def read_people(path: Path) -> pd.DataFrame:
    """The table in a CSV with a column `image` and any of age, sex and site; its index is the image's name.

    What is empty, ``unknown`` or has no column is not known. Raises DataError with every mistake and its line.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as problem:
        raise DataError(f"{path} cannot be read: {problem.strerror or problem}") from problem
    mistakes = Mistakes()
    rows = {}
    for record in read_records(str(path), content, ("image",), FACTS, mistakes):
        rows[stem(record["image"])] = person(record, mistakes)
    mistakes.refuse(f"{path} cannot be used")
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(FACTS))


def people_of(photos: Sequence[str | Path], known: pd.DataFrame) -> pd.DataFrame:
    """Age, sex and site (N rows) of `photos`, by file name without its ending; unknown where `known` has no row."""
    people = known.reindex([stem(photo) for photo in photos])
    return people.assign(sex=people["sex"].fillna(UNKNOWN), site=people["site"].fillna(UNKNOWN)).reset_index(drop=True)


def person(record: Record, mistakes: Mistakes) -> tuple[float, str, str]:
    """Age, sex and site in a line of a CSV; what is wrong with them is added to `mistakes`."""
    site = record["site"] or UNKNOWN
    if site not in SITES:
        mistakes.add(record.file, f"site is {site!r}; known: {', '.join(SITES)}", record.line)
    return age(record, "age", mistakes), sex(record, "sex", mistakes), site


def stem(name: str | Path) -> str:
    """A photo's name without folder and ending, by which people are known."""
    file = Path(name)
    return file.stem if file.suffix.lower() in ENDINGS else file.name
