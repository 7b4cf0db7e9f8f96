"""Small sources for the tests of ``lesion.data``: flat pictures, official layouts and manifests made from them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lesion.data.packed import PackedDataset
from lesion.data.prepare import prepare

TRUTH_2017 = "image_id,melanoma,seborrheic_keratosis\n"
PARTS_2017 = ("Training", "Validation", "Test_v2")


def picture(seed: int, width: int = 20, height: int = 15) -> Image.Image:
    """Blobs of colour, others for each seed."""
    blobs = np.random.default_rng(seed).integers(0, 255, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(blobs).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, form: str = "JPEG", **options: object) -> bytes:
    """The bytes of a file of the format `form`."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def jpeg(seed: int) -> bytes:
    """A small JPEG, another for each seed."""
    return encoded(picture(seed))


def write_zip(path: Path, entries: Mapping[str, bytes]) -> Path:
    """A zip with these entries."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def isic2017(folder: Path, counts: Sequence[int] = (24, 12, 9)) -> Path:
    """ISIC 2017 in zips: the labels go round melanoma, keratosis, nevus; a superpixel mask and metadata are there."""
    folder.mkdir(parents=True, exist_ok=True)
    number = 0
    for part, count in zip(PARTS_2017, counts, strict=True):
        name, rows, people, entries = f"ISIC-2017_{part}_Data", [], [], {}
        for i in range(count):
            image, number = f"ISIC_{number:07d}", number + 1
            rows.append(f"{image},{float(i % 3 == 0)},{float(i % 3 == 1)}\n")
            people.append(f"{image},{'unknown' if i % 4 == 0 else 40},{('male', 'female', 'unknown')[i % 3]}\n")
            entries[f"{name}/{image}.jpg"] = jpeg(number)
        entries[f"{name}/{image}_superpixels.png"] = encoded(picture(0), "PNG")
        if part != "Test_v2":
            text = "image_id,age_approximate,sex\n" + "".join(people)
            entries[f"{name}/{name}_metadata.csv"] = text.encode()
        write_zip(folder / f"{name}.zip", entries)
        (folder / f"ISIC-2017_{part}_Part3_GroundTruth.csv").write_text(TRUTH_2017 + "".join(rows))
    return folder


def manifest(folder: Path, rows: Sequence[str], header: str = "image,label", images: int | None = None) -> Path:
    """A folder with ``labels.csv`` and the images a0.jpg, a1.jpg, …, as many as there are rows unless told."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labels.csv").write_text("\n".join([header, *rows]) + "\n")
    for i in range(len(rows) if images is None else images):
        (folder / f"a{i}.jpg").write_bytes(jpeg(i))
    return folder


def two_classes(folder: Path, count: int = 24) -> Path:
    """A manifest of `count` images, alternating mole and melanoma, two images to a lesion."""
    rows = [f"a{i}.jpg,{('mole', 'melanoma')[i // 2 % 2]},L{i // 2}" for i in range(count)]
    return manifest(folder, rows, "image,label,lesion")


def others(folder: Path, count: int = 12, parts: Sequence[str] = ()) -> Path:
    """A manifest of `count` images b0.jpg, …, two of a lesion, that go round MEL, NV and DF."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["image,label,lesion" + (",part" if parts else "")]
    for i in range(count):
        (folder / f"b{i}.jpg").write_bytes(jpeg(500 + i))
        lines.append(f"b{i}.jpg,{('MEL', 'NV', 'DF')[i // 2 % 3]},B{i // 2}" + (f",{parts[i]}" if parts else ""))
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def pack(source: Path, workspace: Path, **options: Any) -> PackedDataset:
    """Prepare at 16 pixels in this process, with two folds."""
    return prepare(source, workspace, **{"size": 16, "workers": 1, "folds": 2} | options)
