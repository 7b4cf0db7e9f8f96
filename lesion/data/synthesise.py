"""A small data set of drawn lesions in the layout of the official downloads, for demos and tests.

It has what real ones have and readers trip over: superpixel masks beside the photos, unknown ages and sexes, one
photo under two ids, text files in the zip, and in the 2018 layout several photos of one lesion.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from lesion.data.decoding import Progress, disk_full_explained, silent
from lesion.data.drawing import draw_lesion
from lesion.data.listing import PARTS
from lesion.data.official import LESIONS_2018, METADATA_2018, OFFICIAL, Official
from lesion.errors import DataError, unknown

DEFAULT_IMAGES = {"isic2017": (240, 60, 90), "isic2018": (300, 0, 0)}
"""Images of the training, validation and test part where none are asked for."""

_SHARES = {"isic2017": (0.25, 0.20, 0.55), "isic2018": (0.15, 0.35, 0.12, 0.10, 0.12, 0.08, 0.08)}
_MASKS = 12
_SITES = ("back", "lower extremity", "trunk", "upper extremity", "abdomen", "face", "unknown")
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class _Photo:
    """One image to be drawn, or the bytes of `like` again."""

    id: str
    lesion: str
    label: int
    lesion_seed: int
    age: str
    sex: str
    site: str
    like: str = ""


def synthesise(
    folder: Path,
    *,
    layout: str = "isic2017",
    images: tuple[int, int, int] | None = None,
    seed: int = 0,
    pixels: tuple[int, int] = (128, 96),
    zipped: bool = True,
    progress: Progress = silent,
) -> Path:
    """Draw a data set into the empty or new `folder` and return that; a drawing that fails leaves it empty.

    `images` counts the training, validation and test part, 0 leaves a part out; `pixels` is (width, height). The same
    seed draws the same bytes. Raises DataError for an unknown layout, a folder in use, or fewer images than it takes
    to show every class twice, and where the disk is full.
    """
    if layout not in OFFICIAL:
        raise DataError(unknown("layout", layout, OFFICIAL))
    official, folder = OFFICIAL[layout], Path(folder)
    counts = images or DEFAULT_IMAGES[layout]
    _check(folder, official, counts)
    photos = _photos(official, counts, seed)
    most = 3 * pixels[0] * pixels[1] * sum(counts)
    then = "run the same command again; or draw fewer or smaller images"
    with disk_full_explained(folder, most, "at most", then):
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".drawing-", dir=folder) as drawn:
            _draw(Path(drawn), official, photos, seed, pixels, zipped, progress)
            for path in sorted(Path(drawn).iterdir()):
                path.rename(folder / path.name)
    return folder


def _draw(
    folder: Path, official: Official, photos: list[list[_Photo]], seed: int, pixels: tuple[int, int], zipped: bool,
    progress: Progress,
) -> None:  # fmt: skip
    """Draw the `photos` of each part into `folder`, with their tables."""
    done, count = 0, sum(map(len, photos))
    for part, mine in zip(official.parts, photos, strict=True):
        if not mine:
            continue
        entries: dict[str, bytes] = {}
        for photo in mine:
            entries |= _files(photo, official, seed, pixels, entries, mask=len(entries) < 2 * _MASKS)
            progress(done := done + 1, count, "drawing")
        if official.name == "isic2017":
            rows = [("image_id", "age_approximate", "sex"), *((p.id, p.age, p.sex) for p in mine)]
            entries[f"{part.images}_metadata.csv"] = _csv(rows)
        entries["ATTRIBUTION.txt"] = b"Drawn by a program; no person is shown. CC-0.\n"
        _store(folder, part.images, entries, zipped)
        (folder / part.truth).write_bytes(_csv(_truth(official, mine)))
    if official.name == "isic2018":
        _write_2018(folder, photos)


def _check(folder: Path, official: Official, counts: Sequence[int]) -> None:
    least = 4 * len(official.classes)
    if counts[0] < least or any(0 < n < len(official.classes) for n in counts):
        raise DataError(
            f"images {tuple(counts)}: the training part needs at least {least}, others {len(official.classes)}"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} is not an empty folder: choose a new one, nothing is drawn over")


def _photos(official: Official, counts: Sequence[int], seed: int) -> list[list[_Photo]]:
    """Every photo of every part; the last of the training part repeats the first under another id."""
    rng = np.random.default_rng([seed, 2017])
    parts: list[list[_Photo]] = []
    number = 0
    for part, count in zip(PARTS, counts, strict=True):
        mine = [_photo(rng, official, number + i, label) for i, label in enumerate(_labels(rng, official, count))]
        if official.name == "isic2018":
            mine = list(_seen_again(rng, mine))
        if part == "train":
            first, last = mine[0], mine[-1]
            same = (first.lesion, first.label, first.lesion_seed, first.age, first.sex, first.site)
            mine[-1] = _Photo(last.id, *same, like=first.id)
        parts.append(mine)
        number += count
    return parts


def _labels(rng: np.random.Generator, official: Official, count: int) -> list[int]:
    shares = np.array(_SHARES[official.name])
    numbers = np.maximum(np.floor(shares * count).astype(int), 1) if count else np.zeros(len(shares), int)
    numbers[np.argmax(shares)] += count - numbers.sum()
    return [int(label) for label in rng.permutation(np.repeat(np.arange(len(shares)), numbers))]


def _photo(rng: np.random.Generator, official: Official, number: int, label: int) -> _Photo:
    age = "unknown" if rng.random() < 0.1 else str(5 * int(rng.integers(3, 18)))
    sex = str(rng.choice(["male", "female", "unknown"], p=[0.45, 0.45, 0.1]))
    lesion = f"HAM_{number:07d}" if official.name == "isic2018" else ""
    return _Photo(f"ISIC_{number:07d}", lesion, label, number, age, sex, str(rng.choice(_SITES)))


def _seen_again(rng: np.random.Generator, photos: list[_Photo]) -> Iterator[_Photo]:
    """Let about one photo in five show the lesion of an earlier one of its class."""
    earlier: dict[int, _Photo] = {}
    for photo in photos:
        known = earlier.get(photo.label)
        if known is not None and rng.random() < 0.2:
            yield _Photo(photo.id, known.lesion, known.label, known.lesion_seed, known.age, known.sex, known.site)
        else:
            earlier[photo.label] = photo
            yield photo


def _files(
    photo: _Photo, official: Official, seed: int, pixels: tuple[int, int], drawn: dict[str, bytes], mask: bool
) -> dict[str, bytes]:
    """The JPEG of a photo by name, and for some a superpixel mask."""
    if photo.like:
        return {f"{photo.id}.jpg": drawn[f"{photo.like}.jpg"]}
    lesion = np.random.default_rng([seed, 1, photo.lesion_seed])
    view = np.random.default_rng([seed, 2, int(photo.id[-7:])])
    picture = draw_lesion(official.classes[photo.label], lesion, view, *pixels)
    files = {f"{photo.id}.jpg": _encoded(picture, "JPEG")}
    if mask:
        cells = np.add.outer(np.arange(pixels[1]) // 8 * 32, np.arange(pixels[0]) // 8)
        files[f"{photo.id}_superpixels.png"] = _encoded(Image.fromarray((cells % 251).astype(np.uint8)), "PNG")
    return files


def _encoded(picture: Image.Image, form: str) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, quality=90)
    return file.getvalue()


def _truth(official: Official, photos: list[_Photo]) -> list[tuple[object, ...]]:
    ones = [tuple(float(photo.label == i) for i in range(len(official.truth))) for photo in photos]
    return [(official.id, *official.truth), *((p.id, *row) for p, row in zip(photos, ones, strict=True))]


def _write_2018(folder: Path, parts: list[list[_Photo]]) -> None:
    names = OFFICIAL["isic2018"].classes
    confirmed = "histopathology"
    groups = [(p.id, p.lesion, confirmed) for p in parts[0]]
    (folder / LESIONS_2018).write_bytes(_csv([("image", "lesion_id", "diagnosis_confirm_type"), *groups]))
    people = [
        (p.lesion, p.id, names[p.label].lower(), "histo", p.age.replace("unknown", ""), p.sex, p.site)
        for photos in parts
        for p in photos
    ]
    header = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")
    (folder / METADATA_2018).write_bytes(_csv([header, *people]))


def _csv(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _store(folder: Path, name: str, entries: dict[str, bytes], zipped: bool) -> None:
    if not zipped:
        (folder / name).mkdir()
        for file, data in entries.items():
            (folder / name / file).write_bytes(data)
        return
    with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
        for file, data in entries.items():
            archive.writestr(zipfile.ZipInfo(f"{name}/{file}", _EPOCH), data)  # no clock: same seed, same bytes
