"""Which photos are meant: files, folders of them, and CSV lists that also know labels and patients.

A list is a CSV with a column `image` (a path, from the list's folder; without an ending, as challenges write ids, the
photo of that name) and any of the columns of a manifest for `data prepare`, so that one file serves both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from lesion.data.records import Mistakes, read_records
from lesion.errors import DataError
from lesion.people import FACTS, people_of, person, read_people, stem
from lesion.photos import ENDINGS

OTHERS = ("label", "part", "lesion", "patient")


@dataclass(frozen=True, eq=False)
class PhotoList:
    """Photos in the order in which they were given, each once; `labels` by file, where a list tells them."""

    files: tuple[Path, ...]
    people: pd.DataFrame | None = None
    labels: Mapping[Path, str] = field(default_factory=dict)


def gather(given: Iterable[Path], people: Path | None = None) -> PhotoList:
    """The photos that `given` files, folders (and all below them) and lists mean.

    `people` is a CSV of ages, sexes and sites, which overrules the lists'. Raises DataError for a folder without
    photos, and with every mistake of a list.
    """
    files: list[Path] = []
    labels: dict[Path, str] = {}
    known: list[pd.DataFrame] = []
    for path in map(Path.expanduser, given):
        if path.suffix.lower() == ".csv":
            listed, named, facts = _listed(path)
            files += listed
            labels |= named
            known += facts
        else:
            files += _inside(path) if path.is_dir() else [path]
    if people is not None:
        known.append(read_people(people))
    files = list(dict.fromkeys(files))
    if not known:
        return PhotoList(tuple(files), None, labels)
    table = pd.concat(known)
    return PhotoList(tuple(files), people_of(files, table[~table.index.duplicated(keep="last")]), labels)


def _inside(folder: Path) -> list[Path]:
    found = sorted(file for file in folder.rglob("*") if file.suffix.lower() in ENDINGS and file.is_file())
    if not found:
        raise DataError(f"{folder}: no photo in this folder ({', '.join(ENDINGS)})")
    return found


def _listed(path: Path) -> tuple[list[Path], dict[Path, str], list[pd.DataFrame]]:
    """Photos, their labels, and what is known of people, of one list."""
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise DataError(f"{path} cannot be read: {problem.strerror or problem}") from problem
    mistakes = Mistakes()
    records = read_records(str(path), content, ("image",), (*OTHERS, *FACTS), mistakes)
    files = [_photo(path.parent, record["image"]) for record in records]
    people = {stem(file): person(record, mistakes) for file, record in zip(files, records, strict=True)}
    mistakes.refuse(f"{path} cannot be used")
    labels = {file: record["label"] for file, record in zip(files, records, strict=True) if record["label"]}
    tells = bool(records) and any(fact in records[0].values for fact in FACTS)
    return files, labels, [pd.DataFrame.from_dict(people, orient="index", columns=list(FACTS))] if tells else []


def _photo(folder: Path, name: str) -> Path:
    """The file of a name; where there is none, the name as it stands, which is then told to be missing."""
    file = folder / name
    if file.suffix.lower() in ENDINGS or file.exists():
        return file
    return next((found for ending in ENDINGS if (found := file.with_name(file.name + ending)).exists()), file)
