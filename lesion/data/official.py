"""ISIC 2017 Part 3 and ISIC 2018 Task 3, as the challenge archive offers them: zips or unpacked folders."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lesion.data.archives import Member, images, members, read
from lesion.data.listing import PARTS, Listing, assemble, by_id
from lesion.data.records import Mistakes, Record, age, number, read_records, sex
from lesion.errors import DataError, counted


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


def belongs(official: Official, name: str) -> bool:
    """Whether a file or folder of this name is one of the data set's."""
    bare = name.removesuffix(".zip").removesuffix(".csv")
    return any(bare in (p.images, p.truth.removesuffix(".csv")) for p in official.parts)


def owner(name: str) -> Official | None:
    """The official data set of which a file or folder of this name is one."""
    beside = {LESIONS_2018: ISIC2018, METADATA_2018: ISIC2018}
    return next((o for o in OFFICIAL.values() if belongs(o, name)), beside.get(name))


def refuse_piece(source: Path) -> None:
    """Raise DataError where `source` is called like one file or folder of an official data set."""
    if official := owner(source.resolve().name):
        raise DataError(
            f"{source} is a piece of {official.name}: give the folder in which it lies, with the images and the "
            "ground truth CSV of each part"
        )


def read_official(folder: Path, official: Official) -> Listing:
    """Listing of a folder that holds files of an official data set."""
    return _Reader(folder, official).listing()


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
            container, truth = self._container(part.images), self._truth(part.truth)
            if container is None and truth is None and part.part != "train":
                continue
            if container is None:
                self.mistakes.add(str(self.folder), f"{part.images}.zip (or folder {part.images}) is missing")
            if truth is None:
                emptily = (self.folder / part.truth).is_dir()
                said = "is a folder without the file of that name" if emptily else "is missing"
                self.mistakes.add(str(self.folder), f"{part.truth} {said}")
            if container is not None and truth is not None:
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

    def _truth(self, name: str) -> tuple[Path, bytes] | None:
        """A ground truth and the file it stands in: the CSV, or the zip or folder in which 2018's is offered.

        Some programs unpack a zip into a folder that is called like the CSV.
        """
        plain = self.folder / name
        if plain.is_file():
            return plain, plain.read_bytes()
        bare = name.removesuffix(".csv")
        for container in (plain, self.folder / bare, self.folder / f"{bare}.zip"):
            inside = members(container) if container.exists() else []
            for member in inside:
                if member.name.rsplit("/", 1)[-1] == name:
                    return (container / member.name if container.is_dir() else container), read(member)
        return None

    def _read_part(
        self, part: OfficialPart, container: Path, truth: tuple[Path, bytes], lesions: dict[str, str],
        people: dict[str, dict[str, object]],
    ) -> None:  # fmt: skip
        found = members(container)
        photos = by_id(images(found), self.mistakes)
        if self.official is ISIC2017:
            people = self._people_2017(container, found)
        self.files += [container, truth[0]]
        columns = (self.official.id, *self.official.truth)
        records = read_records(part.truth, truth[1], columns, (), self.mistakes)
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
            said = f"{' and '.join(self.official.truth[i] for i in ones)} are 1" if ones else "no label is 1"
            wanted = "at most one" if spare else "exactly one"
            self.mistakes.add(record.file, f"{record.id}: {said}, {wanted} must be", record.line)
            return None
        return ones[0] if ones else len(values)

    def _people_2017(self, container: Path, found: list[Member]) -> dict[str, dict[str, object]]:
        """Age and sex by image: the file stands inside the zip, or beside where somebody unpacked it so."""
        name = f"{container.name.removesuffix('.zip')}_metadata.csv"
        inside = next((m for m in found if m.name.rsplit("/", 1)[-1] == name), None)
        beside = self.folder / name
        if inside is None and not beside.is_file():
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
        if not path.is_file():
            return {}
        self.files.append(path)
        columns = ("image", "lesion_id")
        records = read_records(path.name, path.read_bytes(), columns, ("diagnosis_confirm_type",), self.mistakes)
        return {r["image"]: r["lesion_id"] for r in records}

    def _people_2018(self) -> dict[str, dict[str, object]]:
        path = self.folder / METADATA_2018
        if not path.is_file():
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
        if bare and not (self.folder / LESIONS_2018).is_file():
            self.mistakes.add(str(self.folder), f"{LESIONS_2018} is missing: without it one lesion gets on both sides")
        elif bare:
            self.mistakes.add(
                LESIONS_2018,
                f"has no line for {counted(len(bare), 'image')}: {', '.join(bare[:5])}"
                + (" …" if len(bare) > 5 else ""),
            )
