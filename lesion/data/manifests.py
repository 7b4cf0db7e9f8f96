"""Own data: a folder or zip of images and a CSV manifest that names them.

Columns ``image,label`` and, where known, ``part,lesion,patient,age,sex,site``. `image` is the path of a file within
the folder or zip, or its name, with or without suffix; `part` is train, validation or test, for every image or none;
or external, for any: such a photo is learnt from alone (`lesion.data.external`).
"""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path, PurePosixPath

from lesion.data.archives import Member, images, members, read
from lesion.data.listing import PARTS, Listing, assemble, plain_name
from lesion.data.official import owner, refuse_piece
from lesion.data.packed import EXTERNAL
from lesion.data.records import UNKNOWN, Mistakes, Record, age, read_records, sex
from lesion.errors import DataError, counted, unknown

MANIFEST_REQUIRED = ("image", "label")
MANIFEST_OPTIONAL = ("part", "lesion", "patient", "age", "sex", "site")
_EXPECTED = (
    "expected ISIC 2017 Part 3 (ISIC-2017_Training_Data.zip, …) or ISIC 2018 Task 3 "
    "(ISIC2018_Task3_Training_Input.zip, …), each with its ground truth CSV, or images with a CSV manifest "
    "(columns image,label and optionally "
    f"{','.join(MANIFEST_OPTIONAL)})"
)


def read_manifest(source: Path) -> Listing:
    """Listing of a CSV file, or of a folder or zip with one CSV manifest in it."""
    if source.suffix.lower() == ".csv" and source.is_file():
        folder, manifest, data = source.parent, source, source.read_bytes()
        found, name = _everything(folder), plain_name(source.stem)
    elif source.is_dir() or source.suffix.lower() == ".zip":
        found, name = _everything(source), plain_name(source.stem if source.is_file() else source.resolve().name)
        manifest, data = _find(source, found)
    else:
        raise DataError(f"{source}: {_EXPECTED}")
    mistakes = Mistakes()
    records = read_records(manifest.name, data, MANIFEST_REQUIRED, MANIFEST_OPTIONAL, mistakes)
    classes = _classes(manifest.name, records, mistakes)
    photos = images(found)
    places = _places(photos)
    rows: list[tuple[dict[str, object], Member]] = []
    missing: list[str] = []
    used: dict[Member, Record] = {}
    for record in records:
        row = _row(record, classes, mistakes)
        at = places.get(record["image"], [])
        if not at:
            missing.append(f"{record.file}:{record.line}: {record['image']} has no image in {source.name}")
        elif len(at) > 1:
            mistakes.add(
                record.file, f"{record['image']} may be {at[0].name} or {at[1].name}: give the path", record.line
            )
        elif at[0] in used:
            mistakes.add(record.file, f"{at[0].name} stands already in line {used[at[0]].line}", record.line)
        elif row is not None:
            used[at[0]] = record
            rows.append((row, at[0]))
    _check_parts(manifest.name, records, mistakes)
    files = sorted({m.container for m in photos} | ({manifest} if manifest.is_file() else set()))
    named = {m for r in records for m in places.get(r["image"], [])}
    extra = [str(m) for m in photos if m not in named]
    return assemble(name, "manifest", classes, rows, files, missing, extra, mistakes)


def _everything(container: Path) -> list[Member]:
    """Files of a folder or zip, and of the zips that lie in the folder."""
    found = members(container)
    inner = sorted(container.glob("*.zip")) if container.is_dir() else []
    return [*found, *(m for p in inner for m in members(p))]


def _find(source: Path, found: list[Member]) -> tuple[Path, bytes]:
    """The only CSV file of the top folders whose header has the required columns, or else the only one at all."""
    tables = [m for m in found if m.name.lower().endswith(".csv") and m.name.count("/") <= 1]
    fitting = [m for m in tables if _has_columns(read(m))]
    if not fitting:
        _refuse_official(source, found)
    chosen = fitting or tables
    if len(chosen) > 1:
        raise DataError(
            f"{source}: which CSV is the manifest: {', '.join(m.name for m in chosen)}? Give that file as the source"
        )
    if not chosen:
        raise DataError(f"{source}: nothing known in here; {_EXPECTED}")
    return chosen[0].container / chosen[0].name, read(chosen[0])


def _refuse_official(source: Path, found: list[Member]) -> None:
    """Raise DataError for a piece of an official data set, and where one lies deeper than its reader looks."""
    refuse_piece(source)
    for member in found:
        *folders, name = PurePosixPath(member.name).parts
        at = next((i for i, part in enumerate([*folders, name]) if owner(part)), None)
        if at is not None and (official := owner([*folders, name][at])):
            inside = "/".join(folders[:at])
            said = f"{source} holds {official.name}" + (f" in {inside}" if inside else "")
            if source.is_dir():
                raise DataError(f"{said}: give {source / inside} as the source")
            raise DataError(f"{said}, in one zip: unpack it, and give the folder in which its files lie then")


def _has_columns(data: bytes) -> bool:
    header = next(csv.reader(data[:4096].decode("utf-8-sig", "replace").splitlines()), [])
    return {name.strip() for name in header} >= set(MANIFEST_REQUIRED)


def _classes(file: str, records: list[Record], mistakes: Mistakes) -> tuple[str, ...]:
    """The labels in order: of their numbers if all are whole numbers, else of the alphabet."""
    for record in records:
        if not record["label"] or record["label"].lower() == "nan":
            mistakes.add(file, f"{record['image']}: label is {record['label'] or 'empty'}", record.line)
    labels = {r["label"] for r in records if r["label"] and r["label"].lower() != "nan"}
    if records and len(labels) < 2:
        mistakes.add(file, f"has one class only ({', '.join(labels)}): nothing can be told apart")
    whole = all(label.isdecimal() for label in labels)
    return tuple(sorted(labels, key=lambda label: (int(label) if whole else 0, label)))


def _places(photos: list[Member]) -> dict[str, list[Member]]:
    """Every spelling under which a manifest may name an image."""
    places: dict[str, list[Member]] = {}
    for member in photos:
        bare = member.name.rpartition(".")[0]
        for spelling in {member.name, bare, member.name.rsplit("/", 1)[-1], member.id}:
            places.setdefault(spelling, []).append(member)
    exact = {member.name: [member] for member in photos if places[member.name][1:]}
    return places | exact


def _row(record: Record, classes: tuple[str, ...], mistakes: Mistakes) -> dict[str, object] | None:
    if record["label"] not in classes:
        return None
    if record["part"] not in ("", *PARTS, EXTERNAL):
        mistakes.add(record.file, unknown("part", record["part"], (*PARTS, EXTERNAL)), record.line)
        return None
    return {
        "image": record["image"],
        "label": classes.index(record["label"]),
        "lesion": _known(record["lesion"]),
        "patient": _known(record["patient"]),
        "part": record["part"],
        "age": age(record, "age", mistakes),
        "sex": sex(record, "sex", mistakes),
        "site": _known(record["site"]) or "unknown",
    }


def _known(value: str) -> str:
    return "" if value.lower() in (*UNKNOWN, "nan") else value


def _check_parts(file: str, records: list[Record], mistakes: Mistakes) -> None:
    counts = Counter(r["part"] for r in records if r["part"] != EXTERNAL)
    if counts[""] and len(counts) > 1:
        told = "give it for every image or for none, those of part external aside"
        mistakes.add(file, f"part is empty in {counted(counts[''], 'line')}: {told}")
    elif records and counts.keys() <= set(PARTS) and not counts["train"]:  # else a word that is none is told
        mistakes.add(file, "no image is of part train")
