"""Which photos are meant: files, folders of them, and CSV lists that also know labels and patients.

A list is a CSV with a column `image` (a path, from the list's folder; without an ending, as challenges write ids, the
photo of that name) and any of the columns of a manifest for `data prepare`, so that one file serves both. What a line
says is of the photo at its path, and of no other of the same name.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from lesion.data.records import Mistakes, read_records
from lesion.errors import DataError
from lesion.people import FACTS, NOBODY, Person, completed, people_of, person, table_of
from lesion.photos import ENDINGS

OTHERS = ("label", "part", "lesion", "patient")


@dataclass(frozen=True, eq=False)
class PhotoList:
    """Photos in the order in which they were given, each once; `labels` by file, where a list tells them."""

    files: tuple[Path, ...]
    people: pd.DataFrame | None = None
    labels: Mapping[Path, str] = field(default_factory=dict)

    def require_any(self) -> None:
        """Raise DataError where none of the files is there: a path was mistyped, and there is nothing to go on with."""
        if self.files and all(map(_absent, self.files)):
            rest = [f"and so it is with all {len(self.files)} photos that were given"] if len(self.files) > 1 else []
            raise DataError("\n".join([f"{self.files[0]}: no such file or folder", *rest]))


def gather(given: Iterable[Path], people: Path | None = None) -> PhotoList:
    """The photos that `given` files, folders (and all below them) and lists mean.

    `people` is a CSV of ages, sexes and sites by the photos' names; what it tells overrules the lists' lines. Raises
    DataError for a folder without photos, and with every mistake of a list.
    """
    files: list[Path] = []
    labels: dict[Path, str] = {}
    known: dict[str, Person] = {}
    for path in map(Path.expanduser, given):
        if path.suffix.lower() == ".csv":
            listed, named, facts = _listed(path)
            files += listed
            labels |= named
            known |= facts
        else:
            files += _inside(path) if path.is_dir() else [path]
    files = list(dict.fromkeys(files))
    if not known and people is None:
        return PhotoList(tuple(files), None, labels)
    found = {file: known.get(_place(file), NOBODY) for file in files}
    if people is not None:
        found |= {file: completed(person, found[file]) for file, person in people_of(files, people).items()}
    return PhotoList(tuple(files), table_of(found.values()), labels)


def _inside(folder: Path) -> list[Path]:
    found = sorted(file for file in folder.rglob("*") if file.suffix.lower() in ENDINGS and file.is_file())
    if not found:
        raise DataError(f"{folder}: no photo in this folder ({', '.join(ENDINGS)})")
    return found


def _listed(path: Path) -> tuple[list[Path], dict[Path, str], dict[str, Person]]:
    """Photos, their labels, and by place who they are of, of one list; the last is empty without a column for it."""
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise DataError(f"{path} cannot be read: {problem.strerror or problem}") from problem
    mistakes = Mistakes()
    records = read_records(str(path), content, ("image",), (*OTHERS, *FACTS), mistakes)
    files, people, lines = [], {}, dict[str, int]()
    for record in records:
        files.append(_photo(path.parent, record["image"]))
        place = _place(files[-1])
        if place in lines:
            mistakes.add(record.file, f"{files[-1]} stands already in line {lines[place]}", record.line)
        lines.setdefault(place, record.line)
        people[place] = person(record, mistakes)
    mistakes.refuse(f"{path} cannot be used")
    labels = {file: record["label"] for file, record in zip(files, records, strict=True) if record["label"]}
    tells = bool(records) and any(fact in records[0].values for fact in FACTS)
    return files, labels, people if tells else {}


def _absent(file: Path) -> bool:
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:  # it may be there
        return False
    return False


def _place(file: Path) -> str:
    """A file's absolute path, so that one that is given in two ways is one photo; links are photos of their own."""
    return os.path.abspath(file)  # noqa: PTH100 - Path.absolute keeps `..`


def _photo(folder: Path, name: str) -> Path:
    """The file of a name; where there is none, the name as it stands, which is then told to be missing."""
    file = folder / name
    if file.suffix.lower() in ENDINGS or file.exists():
        return file
    return next((found for ending in ENDINGS if (found := file.with_name(file.name + ending)).exists()), file)
