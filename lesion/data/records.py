"""CSV files of labels and metadata, read strictly: every mistake is kept with its file and line.

A researcher who mends one line at a time gives up; so nothing is raised until everything has been read.
"""

from __future__ import annotations

import contextlib
import csv
import io
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from lesion.errors import DataError, counted

UNKNOWN = ("", "unknown")
SEXES = ("male", "female")


ALIKE, MOST = 5, 100
"""Lines of a file that say the same, be it of other images, and lines in all, that are shown."""


@dataclass
class Mistakes:
    """What is wrong in a source, as ``file:line: message``."""

    lines: list[str] = field(default_factory=list)

    def add(self, file: str, message: str, line: int | None = None) -> None:
        """Note one mistake of `file`, counted from line 1, which is the header."""
        self.lines.append(f"{file}:{line}: {message}" if line else f"{file}: {message}")

    def refuse(self, what: str) -> None:
        """Raise DataError with all of them, if there are any."""
        if self.lines:
            raise DataError("\n".join([f"{what}: {counted(len(self.lines), 'mistake')}", *self.told()]))

    def told(self) -> list[str]:
        """The lines a terminal has room for: the first `ALIKE` that say the same, `MOST` in all, and how many more."""
        kinds = Counter(map(_kind, self.lines))
        seen: Counter[str] = Counter()
        kept = []
        for line in self.lines:
            kind = _kind(line)
            seen[kind] += 1
            if kinds[kind] <= ALIKE + 1 or seen[kind] <= ALIKE:
                kept.append(line)
            elif seen[kind] == ALIKE + 1:
                kept.append(f"  and {kinds[kind] - ALIKE} more lines like these")
        return kept if len(kept) <= MOST + 1 else [*kept[:MOST], f"and {len(kept) - MOST} more"]


def _kind(line: str) -> str:
    """A mistake without the number of its line and the word behind it, where the id of an image stands."""
    return re.sub(r":\d+: \S+", ": ", line, count=1)


@dataclass(frozen=True)
class Record:
    """One line of a CSV file."""

    file: str
    line: int
    values: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.values.get(column, "")

    @property
    def id(self) -> str:
        """What stands in the first column."""
        return next(iter(self.values.values()))


def read_records(
    file: str, data: bytes, required: Sequence[str], optional: Sequence[str], mistakes: Mistakes
) -> list[Record]:
    """Records of a CSV file with a header line; each has an id in the first of the `required` columns.

    Columns outside `required` and `optional`, ragged lines and ids that are empty or given twice are mistakes.
    """
    try:
        rows = list(_rows(data))
    except (UnicodeDecodeError, csv.Error) as error:
        mistakes.add(file, f"is no CSV in UTF-8 ({error}): save it again as 'CSV UTF-8'")
        return []
    if not rows:
        mistakes.add(file, "is empty")
        return []
    header = [name.strip() for name in rows[0][1]]
    if not _check_header(file, header, required, optional, mistakes):
        return []
    records = [
        Record(file, line, dict(zip(header, (v.strip() for v in values), strict=True)))
        for line, values in rows[1:]
        if _check_width(file, line, values, header, mistakes)
    ]
    if not records:
        mistakes.add(file, "has a header but no lines")
    return _unique(records, required[0], mistakes)


def _rows(data: bytes) -> list[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
    return [(reader.line_num, row) for row in reader if any(v.strip() for v in row)]


def _check_header(
    file: str, header: list[str], required: Sequence[str], optional: Sequence[str], mistakes: Mistakes
) -> bool:
    known = [*required, *optional]
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        mistakes.add(file, f"the columns {header[0]!r} are not separated by commas", 1)
        return False
    missing = [name for name in required if name not in header]
    extra = [name for name in header if name not in known]
    twice = sorted({name for name in header if header.count(name) > 1})
    for names, what in ((missing, "missing"), (extra, "unknown"), (twice, "repeated")):
        if names:
            shown = ", ".join(repr(n) for n in names)
            mistakes.add(file, f"{what} columns {shown}; known: {', '.join(known)}", 1)
    return not (missing or extra or twice)


def _check_width(file: str, line: int, values: list[str], header: list[str], mistakes: Mistakes) -> bool:
    if len(values) != len(header):
        mistakes.add(file, f"has {len(values)} values under {len(header)} columns", line)
    return len(values) == len(header)


def _unique(records: list[Record], key: str, mistakes: Mistakes) -> list[Record]:
    first: dict[str, Record] = {}
    for record in records:
        value = record[key]
        if not value or value.lower() == "nan":
            mistakes.add(record.file, f"no {key} is given ({value or 'empty'})", record.line)
        elif value in first:
            mistakes.add(record.file, f"{value} stands already in line {first[value].line}", record.line)
        else:
            first[value] = record
    return list(first.values())


def number(record: Record, column: str, mistakes: Mistakes) -> float | None:
    """The finite number in a column, or None and a mistake."""
    text = record[column]
    value: float | None = None
    with contextlib.suppress(ValueError):
        value = float(text)
    if value is None or not math.isfinite(value):
        said = "is NaN" if text.lower() in ("", "nan") else f"is {text!r}, must be a number"
        mistakes.add(record.file, f"{record.id}: {column} {said}", record.line)
        return None
    return value


def age(record: Record, column: str, mistakes: Mistakes) -> float:
    """Age in years, 0 to 120; NaN where it is empty or ``unknown``."""
    if record[column].lower() in UNKNOWN:
        return math.nan
    value = number(record, column, mistakes)
    if value is not None and not 0 <= value <= 120:
        mistakes.add(record.file, f"{column} is {value:g}, must be from 0 to 120 or 'unknown'", record.line)
    return math.nan if value is None else value


def sex(record: Record, column: str, mistakes: Mistakes) -> str:
    """``male``, ``female`` or ``unknown``."""
    value = record[column].lower()
    if value not in (*SEXES, *UNKNOWN):
        mistakes.add(record.file, f"{column} is {value!r}; known: male, female, unknown", record.line)
    return value if value in SEXES else "unknown"
