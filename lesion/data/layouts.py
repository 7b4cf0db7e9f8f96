"""A source of images, recognised by the names of its files and read into one table.

Three layouts: ISIC 2017 Part 3 and ISIC 2018 Task 3 as the challenge archive offers them (zips or unpacked
folders), and any folder or zip of images with a CSV manifest. Images and labels are joined by id, never by the order
of files. What is wrong is collected, not raised: ``data check`` reports it, ``prepare`` refuses it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from lesion.data.archives import Member, images, members, read
from lesion.data.records import UNKNOWN, Mistakes, Record, age, number, read_records, sex
from lesion.errors import DataError

COLUMNS = ("image", "label", "lesion", "patient", "part", "age", "sex", "site")
PARTS = ("train", "validation", "test")
MANIFEST_REQUIRED = ("image", "label")
MANIFEST_OPTIONAL = ("part", "lesion", "patient", "age", "sex", "site")


@dataclass(frozen=True)
class Listing:
    """What a source holds, before a pixel is decoded.

    `table` has one row an image that is there, with `COLUMNS` (part is "" where the source gives none), sorted by
    part and id; `members` says where the bytes of each row are. `missing` are labels without an image,
    `extra` images without a label; both by name.
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


@dataclass(frozen=True)
class OfficialPart:
    """Names of one part of an official data set, without ``.zip``."""

    part: str
    images: str
    truth: str


@dataclass(frozen=True)
class Official:
    """An official data set. The last class is what all zeros mean where `truth` has one column less."""

    name: str
    prefix: str
    id: str
    classes: tuple[str, ...]
    truth: tuple[str, ...]
    parts: tuple[OfficialPart, ...]


ISIC2017 = Official(
    "isic2017",
    "ISIC-2017_",
    "image_id",
    ("melanoma", "seborrheic_keratosis", "nevus"),
    ("melanoma", "seborrheic_keratosis"),
    tuple(
        OfficialPart(part, f"ISIC-2017_{name}_Data", f"ISIC-2017_{name}_Part3_GroundTruth.csv")
        for part, name in zip(PARTS, ("Training", "Validation", "Test_v2"), strict=True)
    ),
)
_2018 = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
ISIC2018 = Official(
    "isic2018",
    "ISIC2018_Task3_",
    "image",
    _2018,
    _2018,
    tuple(
        OfficialPart(part, f"ISIC2018_Task3_{name}_Input", f"ISIC2018_Task3_{name}_GroundTruth.csv")
        for part, name in zip(PARTS, ("Training", "Validation", "Test"), strict=True)
    ),
)
OFFICIAL = {o.name: o for o in (ISIC2017, ISIC2018)}
LESIONS_2018 = "ISIC2018_Task3_Training_LesionGroupings.csv"
METADATA_2018 = "HAM10000_metadata.csv"


def read_listing(source: Path) -> Listing:
    """Recognise `source` (a folder, a zip or a CSV manifest) and read its table.

    Raises DataError only where nothing can be listed: no such path, no layout that fits, a damaged zip.
    """
    source = Path(source)
    if not source.exists():
        raise DataError(f"{source}: no such file or folder")
    if source.is_dir():
        names = [p.name for p in source.iterdir()]
        fitting = [o for o in OFFICIAL.values() if any(_belongs(o, name) for name in names)]
        if len(fitting) > 1:
            raise DataError(f"{source} holds files of ISIC 2017 and of ISIC 2018: keep each in a folder of its own")
        if fitting:
            return _Reader(source, fitting[0]).listing()
    from lesion.data.manifests import read_manifest  # noqa: PLC0415  (it builds on this module)

    return read_manifest(source)


def _belongs(official: Official, name: str) -> bool:
    bare = name.removesuffix(".zip")
    return any(bare in (p.images, p.truth) for p in official.parts)


@dataclass
class _Reader:
    """Collects the parts of an official source."""

    folder: Path
    official: Official
    mistakes: Mistakes = field(default_factory=Mistakes)
    files: list[Path] = field(default_factory=list)
    rows: list[tuple[dict[str, object], Member]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)

    def listing(self) -> Listing:
        lesions = self._lesions() if self.official is ISIC2018 else {}
        people = self._people_2018() if self.official is ISIC2018 else {}
        for part in self.official.parts:
            container, truth = self._container(part.images), self.folder / part.truth
            if container is None and not truth.exists() and part.part != "train":
                continue
            if container is None:
                self.mistakes.add(str(self.folder), f"{part.images}.zip (or folder {part.images}) is missing")
            if not truth.exists():
                self.mistakes.add(str(self.folder), f"{part.truth} is missing")
            if container is not None and truth.exists():
                self._read_part(part, container, truth, lesions, people)
        self._check_lesions()
        return assemble(
            self.official.name, self.official.name, self.official.classes, self.rows, self.files,
            self.missing, self.extra, self.mistakes,
        )  # fmt: skip

    def _container(self, name: str) -> Path | None:
        """The folder if it is there, or else the zip; having both is a mistake, because they may differ."""
        folder, archive = self.folder / name, self.folder / f"{name}.zip"
        if folder.is_dir() and archive.exists():
            self.mistakes.add(str(self.folder), f"both {name}.zip and the folder {name} are there: keep one")
        return folder if folder.is_dir() else archive if archive.exists() else None

    def _read_part(
        self, part: OfficialPart, container: Path, truth: Path, lesions: dict[str, str],
        people: dict[str, dict[str, object]],
    ) -> None:  # fmt: skip
        found = members(container)
        photos = by_id(images(found), self.mistakes)
        if self.official is ISIC2017:
            people = self._people_2017(container, found)
        self.files += [container, truth]
        columns = (self.official.id, *self.official.truth)
        records = read_records(truth.name, truth.read_bytes(), columns, (), self.mistakes)
        for record in records:
            image = record[self.official.id].removesuffix(".jpg")
            label = self._label(record)
            if image not in photos:
                self.missing.append(f"{record.file}:{record.line}: {image} has no image in {container.name}")
            elif label is not None:
                row: dict[str, object] = dict(
                    image=image, label=label, lesion=lesions.get(image, ""), part=part.part, **people.get(image, {})
                )
                self.rows.append((row, photos[image]))
        labelled = {r[self.official.id].removesuffix(".jpg") for r in records}
        self.extra += [str(m) for name, m in photos.items() if name not in labelled]

    def _label(self, record: Record) -> int | None:
        values = [number(record, name, self.mistakes) for name in self.official.truth]
        if None in values:
            return None
        if any(v not in (0.0, 1.0) for v in values):
            self.mistakes.add(record.file, f"{record.id}: labels must be 0.0 or 1.0, not {values}", record.line)
            return None
        ones = [i for i, v in enumerate(values) if v]
        spare = len(self.official.classes) > len(values)
        if len(ones) > 1 or (not ones and not spare):
            said = " and ".join(self.official.truth[i] for i in ones) or "none of the labels"
            wanted = "at most one" if spare else "exactly one"
            self.mistakes.add(record.file, f"{record.id}: {said} is 1, {wanted} can be", record.line)
            return None
        return ones[0] if ones else len(values)

    def _people_2017(self, container: Path, found: list[Member]) -> dict[str, dict[str, object]]:
        """Age and sex by image: the file stands inside the zip, or beside where somebody unpacked it so."""
        name = f"{container.name.removesuffix('.zip')}_metadata.csv"
        inside = next((m for m in found if m.name.rsplit("/", 1)[-1] == name), None)
        beside = self.folder / name
        if inside is None and not beside.exists():
            return {}
        data = read(inside) if inside else beside.read_bytes()
        records = read_records(name, data, ("image_id", "age_approximate", "sex"), (), self.mistakes)
        return {
            r["image_id"]: {
                "age": age(r, "age_approximate", self.mistakes),
                "sex": sex(r, "sex", self.mistakes),
            }
            for r in records
        }

    def _lesions(self) -> dict[str, str]:
        path = self.folder / LESIONS_2018
        if not path.exists():
            return {}
        self.files.append(path)
        columns = ("image", "lesion_id")
        records = read_records(path.name, path.read_bytes(), columns, ("diagnosis_confirm_type",), self.mistakes)
        return {r["image"]: r["lesion_id"] for r in records}

    def _people_2018(self) -> dict[str, dict[str, object]]:
        path = self.folder / METADATA_2018
        if not path.exists():
            return {}
        self.files.append(path)
        columns = ("image_id", "age", "sex", "localization")
        optional = ("lesion_id", "dx", "dx_type", "dataset")
        records = read_records(path.name, path.read_bytes(), columns, optional, self.mistakes)
        return {
            r["image_id"]: {
                "age": age(r, "age", self.mistakes),
                "sex": sex(r, "sex", self.mistakes),
                "site": r["localization"] or "unknown",
            }
            for r in records
        }

    def _check_lesions(self) -> None:
        """Splitting HAM10000 by image flatters every result, so its lesion ids are not optional."""
        if self.official is not ISIC2018:
            return
        bare = [str(row["image"]) for row, _ in self.rows if row["part"] == "train" and not row["lesion"]]
        if bare and not (self.folder / LESIONS_2018).exists():
            self.mistakes.add(str(self.folder), f"{LESIONS_2018} is missing: without it one lesion gets on both sides")
        elif bare:
            self.mistakes.add(LESIONS_2018, f"{len(bare)} images have no line, among them {', '.join(bare[:5])}")


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
    order = {part: i for i, part in enumerate(("", *PARTS))}
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


def site(record: Record) -> str:
    """Place on the body, or ``unknown``."""
    return "unknown" if record["site"].lower() in UNKNOWN else record["site"]
