"""Who the photos are of: a CSV of ages, sexes and body sites beside the photos that a model is to judge."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from lesion.data.records import Mistakes, Record, age, read_records, sex
from lesion.errors import DataError
from lesion.metadata import SITES, UNKNOWN
from lesion.photos import ENDINGS

FACTS = ("age", "sex", "site")
Person = tuple[float, str, str]
"""Age in years (NaN unknown), sex and site."""
NOBODY: Person = (math.nan, UNKNOWN, UNKNOWN)
INSTEAD = "tell age, sex and site in a CSV list of the photos, whose lines are known by path"


def people_of(photos: Sequence[Path], path: Path) -> dict[Path, Person]:
    """What a CSV with a column `image` and any of age, sex and site says of `photos`, by their names alone.

    Neither folder nor ending counts. Photos that it does not name are left out; what is empty, ``unknown`` or has no
    column is not known. Raises DataError with every mistake and its line: a name that stands twice, or that several of
    `photos` have, is one.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as problem:
        raise DataError(f"{path} cannot be read: {problem.strerror or problem}") from problem
    named: dict[str, list[Path]] = {}
    for photo in photos:
        named.setdefault(stem(photo), []).append(photo)
    mistakes = Mistakes()
    lines: dict[str, int] = {}
    found: dict[Path, Person] = {}
    for record in read_records(str(path), content, ("image",), FACTS, mistakes):
        name = stem(record["image"])
        meant = named.get(name, [])
        if name in lines:
            said = f"photo {name} stands already in line {lines[name]}; folder and ending do not count here"
            mistakes.add(record.file, f"{said}: {INSTEAD}", record.line)
        elif len(meant) > 1:
            several = f"{meant[0]} or {meant[1]}" + (f" or {len(meant) - 2} more" if len(meant) > 2 else "")
            mistakes.add(record.file, f"photo {name} may be {several}: {INSTEAD}", record.line)
        lines.setdefault(name, record.line)
        found |= dict.fromkeys(meant, person(record, mistakes))
    mistakes.refuse(f"{path} cannot be used")
    return found


def completed(person: Person, other: Person) -> Person:
    """`person`, with what is not known of it as `other` has it.

    >>> completed((33.0, "unknown", "back"), (70.0, "male", "unknown"))
    (33.0, 'male', 'back')
    """
    age, sex, site = person
    return (
        other[0] if math.isnan(age) else age,
        other[1] if sex == UNKNOWN else sex,
        other[2] if site == UNKNOWN else site,
    )


def table_of(people: Iterable[Person]) -> pd.DataFrame:
    """Columns age, sex and site, a row for each of `people`."""
    return pd.DataFrame(list(people), columns=list(FACTS)).astype({"age": "float64", "sex": "object", "site": "object"})


def person(record: Record, mistakes: Mistakes) -> Person:
    """Age, sex and site in a line of a CSV; what is wrong with them is added to `mistakes`."""
    site = record["site"] or UNKNOWN
    if site not in SITES:
        mistakes.add(record.file, f"site is {site!r}; known: {', '.join(SITES)}", record.line)
    return age(record, "age", mistakes), sex(record, "sex", mistakes), site


def stem(name: str | Path) -> str:
    """A photo's name without folder and ending."""
    file = Path(name)
    return file.stem if file.suffix.lower() in ENDINGS else file.name
