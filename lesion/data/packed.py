"""A packed data set: a folder that every trial of a node maps into memory and none can change.

``images.npy`` holds the photos as one uint8 array (N, size, size, 3), ``table.parquet`` a row for each, and
``manifest.json`` says what they are: classes, geometry, splits, findings, checksums of the source, versions. The
content hash covers images and table alike, so two data sets of one hash are the same data. The test part is a packed
set of its own under ``workspace/test``, to which a trial has no path.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lesion.errors import DataError, unknown

FORMAT = 1
IMAGES, TABLE, MANIFEST = "images.npy", "table.parquet", "manifest.json"
AGAIN = "prepare the data set again with --replace (in Python: replace=True)"
EXTERNAL = "external"
"""The part of photos that every split trains on and none validates on; see `lesion.data.external`."""
SEMANTIC = ("image", "label", "lesion", "patient", "part", "age", "sex", "site")
"""Columns that the content hash covers; `group`, `digest`, `holdout` and `fold` follow from them and the seed."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_BLOCK = 1 << 26

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Rows to train on and rows to validate on, ascending; `hash` is of the image ids on both sides."""

    name: str
    train: Rows
    validation: Rows
    hash: str


@dataclass(frozen=True)
class PackedDataset:
    """A packed data set, opened read-only.

    `table` columns: image (id), label (int64), lesion and patient ("" if unknown), part ("train", "validation",
    "test" or "external", as the source gives it; "train" where it gives none), age (years, NaN if unknown), sex
    ("male", "female", "unknown"), site, group (images that may not be torn apart), digest (sha256 of the source's
    file).
    """

    path: Path
    name: str
    classes: tuple[str, ...]
    size: int
    geometry: str
    content_hash: str
    table: pd.DataFrame = field(repr=False)
    images: np.memmap[Any, np.dtype[np.uint8]] = field(repr=False)
    manifest: dict[str, Any] = field(repr=False)

    @classmethod
    def open(cls, path: Path) -> PackedDataset:
        """Map the packed set in the folder `path`; DataError says what is missing, cut short or of another format."""
        path = Path(path)
        manifest = read_manifest(path)
        size, count = int(manifest["size"]), int(manifest["images"])
        table = _read_table(path, count, len(manifest["classes"]))
        images = _map_images(path, (count, size, size, 3))
        return cls(
            path, manifest["name"], tuple(manifest["classes"]), size, manifest["geometry"],
            manifest["content_hash"], table, images, manifest,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.table)

    def __reduce__(self) -> tuple[Callable[[Path], PackedDataset], tuple[Path]]:
        # A process that receives the set maps it again; pickled by value it would copy every image.
        return PackedDataset.open, (self.path,)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits; none in a test part."""
        return tuple(self.manifest["splits"])

    @property
    def default_split(self) -> str:
        """``official`` where its validation part is large enough to steer by, or else ``holdout``."""
        return str(self.manifest["default_split"])

    @property
    def labels(self) -> Rows:
        """(N,) int64, an index into `classes`."""
        return self.table["label"].to_numpy(dtype=np.int64)

    def split(self, name: str | None = None) -> Split:
        """The split called `name`, or the default one; DataError names the known ones."""
        name = name or self.default_split
        if name not in self.splits:
            if not self.splits:
                raise DataError(f"{self.path} is a test part: it has no splits, nothing is trained on it")
            raise DataError(f"{self.path}: " + unknown("split", name, self.splits))
        validates = self._validates(name)
        train, validation = np.flatnonzero(~validates), np.flatnonzero(validates)
        return Split(name, train, validation, split_hash(self.table["image"], validates))

    def _validates(self, name: str) -> NDArray[np.bool_]:
        if name == "official":
            return (self.table["part"] == "validation").to_numpy()
        if name == "holdout":
            return self.table["holdout"].to_numpy(dtype=bool)
        return (self.table["fold"] == int(name.removeprefix("fold-"))).to_numpy()

    def verify(self) -> None:
        """Read everything and raise DataError unless the content hash is the manifest's."""
        found = content_hash(self.images, self.table, self.classes, self.geometry)
        if found != self.content_hash:
            raise DataError(
                f"{self.path}: content hash is {found[:12]}…, the manifest says {self.content_hash[:12]}…: "
                f"the files were changed or damaged; {AGAIN}"
            )


def open_data(workspace: Path, name: str) -> PackedDataset:
    """The packed set called `name` in a workspace, in the folder `name`, or at that address (`lesion.data.travel`)."""
    if "://" in name:
        from lesion.data.travel import local_copy  # noqa: PLC0415 - only where data travel

        return PackedDataset.open(local_copy(name))
    inside = Path(workspace) / "data" / name
    if _NAME.fullmatch(name) and (inside / MANIFEST).exists():
        return PackedDataset.open(inside)
    if (Path(name) / MANIFEST).exists():
        return PackedDataset.open(Path(name))
    known = prepared(workspace)
    raise DataError(
        f"{workspace}: {unknown('prepared data set', name, known)}; "
        f"make it with: lesion-search data prepare SOURCE --name {name}"
        if known
        else f"{workspace}: no data set is prepared; make one with: lesion-search data prepare SOURCE --name {name}"
    )


def open_test(workspace: Path, name: str) -> PackedDataset:
    """The test part of the data set `name`: for promotion only, never for a trial."""
    check_name(name)
    path = Path(workspace) / "test" / name
    if not path.exists():
        raise DataError(f"{path}: data set {name!r} has no test part; prepare it again with a test share, e.g. 0.15")
    return PackedDataset.open(path)


def prepared(workspace: Path) -> list[str]:
    """Names of the packed sets of a workspace."""
    return sorted(p.parent.name for p in (Path(workspace) / "data").glob(f"*/{MANIFEST}"))


def check_name(name: str) -> None:
    """Raise DataError unless `name` can safely be a folder's name."""
    if not _NAME.fullmatch(name) or name.endswith((".partial", ".old", ".lock")):
        raise DataError(
            f"data set name {name!r}: must be 1 to 64 letters, digits, '.', '-' or '_', begin with a letter or digit "
            "and not end with .partial, .old or .lock"
        )


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of the packed set in `path`, of a format that this version reads."""
    file = path / MANIFEST
    if not file.exists():
        raise DataError(f"{path}: no packed data set ({MANIFEST} is missing); make it with: lesion-search data prepare")
    try:
        manifest: dict[str, Any] = json.loads(file.read_text("utf-8"))
        given = manifest["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} is damaged ({error}); {AGAIN}") from error
    if given != FORMAT:
        raise DataError(f"{file}: format {given}, this version reads format {FORMAT}; {AGAIN}")
    return manifest


def _read_table(path: Path, count: int, classes: int) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path / TABLE)
    except (OSError, ValueError) as error:
        raise DataError(f"{path / TABLE} cannot be read ({error}); {AGAIN}") from error
    absent = [c for c in SEMANTIC if c not in table.columns]
    if absent or len(table) != count or not table["label"].between(0, classes - 1).all():
        raise DataError(
            f"{path / TABLE} does not fit the manifest ({len(table)} rows for {count} images, columns missing: "
            f"{', '.join(absent) or 'none'}); {AGAIN}"
        )
    return table


def _map_images(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[np.uint8]]:
    file = path / IMAGES
    try:
        images = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{file} is missing or cut short ({error}); {AGAIN}") from error
    if images.shape != shape or images.dtype != np.uint8 or not isinstance(images, np.memmap):
        raise DataError(f"{file} holds {images.dtype} {images.shape}, the manifest says uint8 {shape}; {AGAIN}")
    return images


def split_hash(images: Sequence[str] | pd.Series, validates: NDArray[np.bool_]) -> str:
    """Sha256 over the ids on each side, whatever their order."""
    sides = sorted(f"{'v' if v else 't'} {image}" for image, v in zip(images, validates, strict=True))
    return hashlib.sha256("\n".join(sides).encode()).hexdigest()


def content_hash(images: NDArray[np.uint8], table: pd.DataFrame, classes: Sequence[str], geometry: str) -> str:
    """Sha256 in hex over pixels, labels and what the table says about each image."""
    digest = begun_hash(images.shape, table, classes, geometry)
    step = max(1, _BLOCK // max(1, math.prod(images.shape[1:])))
    for start in range(0, len(images), step):
        digest.update(np.ascontiguousarray(images[start : start + step]).data)
    return digest.hexdigest()


def begun_hash(shape: Sequence[int], table: pd.DataFrame, classes: Sequence[str], geometry: str) -> hashlib._Hash:
    """The `content_hash` of images of `shape` (N, size, size, 3), to be updated with their pixels in order."""
    head = {"classes": list(classes), "geometry": geometry, "shape": list(shape), "columns": SEMANTIC}
    digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for row in table[list(SEMANTIC)].itertuples(index=False):
        values = [None if isinstance(v, float) and math.isnan(v) else v for v in row]
        digest.update(json.dumps(values, ensure_ascii=False).encode())
    return digest
