"""Decoded pixels and a table → the two folders of a packed data set: what trials see, and the test part.

The rows keep the order of the listing (part, then id), so the content hash does not depend on the order of
lines in a CSV or on which worker was first.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lesion.data.decode import Geometry
from lesion.data.decoding import PIXELS, Decoded, Progress
from lesion.data.external import leak, leaking, told_of
from lesion.data.findings import Finding, alike, findings
from lesion.data.listing import Listing
from lesion.data.lookalikes import MOST, Pair, look_alike
from lesion.data.packed import EXTERNAL, FORMAT, IMAGES, MANIFEST, SEMANTIC, TABLE, begun_hash, split_hash
from lesion.data.sketches import sketch
from lesion.data.splits import FOLDS, HOLDOUT, folds, group_rows, hold_out, lesions_by_class, require_lesions
from lesion.errors import DataError

TEST = 0.15
"""Share of a test part that is carved off where the source has none and none is asked for."""

STEERS = 10
"""The official validation part is the default split if every class has so many images in it."""

_ROWS = 256


@dataclass(frozen=True)
class Recipe:
    """All that decides what a packed data set becomes; two equal recipes give the same bytes."""

    format: int
    layout: str
    classes: tuple[str, ...]
    labels: str
    files: tuple[Mapping[str, object], ...]
    size: int
    geometry: Geometry
    folds: int | None
    test: float | None
    seed: int
    skip_broken: bool
    look_alikes: bool
    decoder: str

    @classmethod
    def of(
        cls, listing: Listing, files: Sequence[Mapping[str, object]], *, size: int, geometry: Geometry,
        folds: int | None, test: float | None, seed: int, skip_broken: bool, look_alikes: bool,
    ) -> Recipe:  # fmt: skip
        """Recipe of a listing; raises DataError where splits are asked for that it cannot give."""
        check_splits(listing, folds, test)
        rows = listing.table[list(SEMANTIC)].to_csv(index=False)
        labels = hashlib.sha256(rows.encode()).hexdigest()
        return cls(
            FORMAT, listing.layout, listing.classes, labels, tuple(files), size, geometry, folds, test, seed,
            skip_broken, look_alikes, f"pillow {version('pillow')}",
        )  # fmt: skip

    def to_json(self) -> str:
        """As it stands in the manifest."""
        return json.dumps(asdict(self), indent=1)


def same_recipe(manifest: Path, recipe: Recipe) -> list[str]:
    """What differs between a standing data set and `recipe`, in words; nothing if it is the same."""
    try:
        standing = json.loads(manifest.read_text("utf-8"))["recipe"]
    except (OSError, ValueError, KeyError, TypeError):
        return [f"its {MANIFEST} is missing or damaged"]
    wanted = json.loads(recipe.to_json())
    names = [n for n in wanted if n != "decoder" and standing.get(n) != wanted[n]]
    plain = [n for n in names if n not in ("files", "labels")]
    said = [f"{n} {standing.get(n)} there, {wanted[n]} here" for n in plain]
    return said + (["other source files"] if len(plain) < len(names) else [])


def pack(
    listing: Listing, decoded: Decoded, found: Sequence[Finding], recipe: Recipe, partial: Path, name: str,
    progress: Progress,
) -> None:  # fmt: skip
    """Write ``partial/data`` and, if there is a test part, ``partial/test``; `found` is told besides what is seen."""
    rows = np.array(sorted(decoded.digests), dtype=np.int64)
    table = listing.table.iloc[rows].reset_index(drop=True)
    table["digest"] = [decoded.digests[row] for row in rows]
    pixels = np.memmap(
        partial / PIXELS, dtype=np.uint8, mode="r", shape=(len(listing.members), recipe.size, recipe.size, 3)
    )
    compared = _compared(table) if recipe.look_alikes else 0
    pairs = look_alike(pixels, rows[:compared].tolist(), progress=progress)
    table["group"] = _groups(table, pairs)
    leaks = leaking(table)
    leaked = [str(image) for image in table["image"][leaks]]
    rows, table, pairs = rows[~leaks], table[~leaks].reset_index(drop=True), _among(pairs, ~leaks)
    found = [*findings(table, table["digest"].tolist(), listing.extra), *found, *alike(table, pairs), *leak(leaked)]
    if 0 < compared < len(leaks):
        found.append(Finding(EXTERNAL, f"external photos were not compared by looks: more than {MOST:,} images in all"))
    table["group"] = _groups(table, pairs)  # two photos may have been one group by way of an external one
    is_test = _is_test(table, listing.classes, recipe)
    table["part"] = np.where(is_test, "test", table["part"].replace("", "train"))
    common: dict[str, Any] = {
        "format": FORMAT, "name": name, "classes": listing.classes, "size": recipe.size, "geometry": recipe.geometry,
        "layout": recipe.layout, "recipe": asdict(recipe), "software": _software(),
    }  # fmt: skip
    told_of_test = None
    if is_test.any():
        test = table[is_test].reset_index(drop=True)
        head = common | {"splits": {}, "default_split": "", "findings": [], "test": None}
        test_hash = _write(partial / "test", pixels, rows[is_test], test, head, "writing test part", progress)
        told_of_test = {
            "images": len(test), "content_hash": test_hash, "classes": _counts(test, listing.classes),
            "photos": sketch(test["digest"]),
        }  # fmt: skip
    data = _with_splits(table[~is_test].reset_index(drop=True), listing.classes, recipe)
    splits = _splits(data)
    head = common | {
        "splits": splits,
        "default_split": _default_split(data, len(listing.classes)),
        "findings": [f.to_dict() for f in found],
        "test": told_of_test,
    }
    if told := told_of(listing, data):
        head[EXTERNAL] = told
    _write(partial / "data", pixels, rows[~is_test], data, head, "writing", progress)


def _compared(table: pd.DataFrame) -> int:
    """How many images, from the first on, are compared by looks: without the external ones, the last, if too many.

    With them none would be, and the data set would be split otherwise than by itself.
    """
    return len(table) if len(table) <= MOST else int((table["part"] != EXTERNAL).sum())


def _groups(table: pd.DataFrame, pairs: Sequence[Pair]) -> NDArray[np.int64]:
    same = [(a, b) for a, b, _ in pairs]
    return group_rows(table["lesion"], table["patient"], table["digest"], pairs=same)


def _among(pairs: Sequence[Pair], kept: NDArray[np.bool_]) -> list[Pair]:
    """Those `pairs` of rows (N,) of which both are `kept`, by their positions among these."""
    place = np.cumsum(kept) - 1
    return [(int(place[a]), int(place[b]), cosine) for a, b, cosine in pairs if kept[a] and kept[b]]


def _counts(table: pd.DataFrame, classes: Sequence[str]) -> dict[str, int]:
    """Images of each class: all that is said of the labels of a test part outside its own folder."""
    return dict(zip(classes, np.bincount(table["label"], minlength=len(classes)).tolist(), strict=True))


def check_splits(
    listing: Listing, count: int | None = None, test: float | None = None, digests: Sequence[str] | None = None
) -> None:
    """Raise, before hours of decoding, the DataError that splits into `count` folds and a `test` part would raise.

    `digests`, of each row's bytes ("" where they cannot be read), make one lesion of identical images, if known.
    """
    table = listing.table.assign(digest="" if digests is None else list(digests))
    official = (table["part"] == "test").any()
    if official and test is not None:
        raise DataError(f"source {listing.name} has a test part of its own: leave the test share ({test}) out")
    rest = table[~table["part"].isin(("test", EXTERNAL))]
    groups = group_rows(rest["lesion"], rest["patient"], rest["digest"])
    counts = lesions_by_class(rest["label"].to_numpy(), groups, listing.classes)
    carved = not official and test != 0
    require_lesions(counts, max(2, count or 2) + carved, "splitting")


def _is_test(table: pd.DataFrame, classes: Sequence[str], recipe: Recipe) -> NDArray[np.bool_]:
    official = (table["part"] == "test").to_numpy()
    if official.any() or recipe.test == 0:
        return official
    share = TEST if recipe.test is None else recipe.test
    searched, labels, group = _searched(table)
    is_test = np.zeros(len(table), dtype=bool)
    is_test[searched] = hold_out(labels, group, share, seed=_seed(recipe, "test"), classes=classes)
    return is_test


def _with_splits(table: pd.DataFrame, classes: Sequence[str], recipe: Recipe) -> pd.DataFrame:
    searched, labels, group = _searched(table)
    table["holdout"] = False
    table.loc[searched, "holdout"] = hold_out(labels, group, HOLDOUT, seed=_seed(recipe, "holdout"), classes=classes)
    count = recipe.folds
    if count is None:
        count = min(FOLDS, *lesions_by_class(labels, group, classes).values())
    if count:
        table["fold"] = -1
        table.loc[searched, "fold"] = folds(labels, group, count, seed=_seed(recipe, "folds"), classes=classes)
    return table


def _searched(table: pd.DataFrame) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
    """Which rows (N,) may be on any side of a split, and the labels and groups of these."""
    searched = (table["part"] != EXTERNAL).to_numpy()
    return searched, table["label"].to_numpy()[searched], table["group"].to_numpy()[searched]


def _seed(recipe: Recipe, purpose: Literal["test", "holdout", "folds"]) -> int:
    """A seed for each purpose: drawn alike, the holdout would be one of five folds."""
    states = np.random.SeedSequence(recipe.seed).generate_state(3)
    return int(states[("test", "holdout", "folds").index(purpose)])


def _splits(table: pd.DataFrame) -> dict[str, dict[str, object]]:
    """Names of the splits that the table can give, with their sizes and hashes."""
    sides = {"holdout": table["holdout"].to_numpy(dtype=bool)}
    official = (table["part"] == "validation").to_numpy()
    if official.any():
        sides = {"official": official} | sides
    if "fold" in table:
        sides |= {f"fold-{k}": (table["fold"] == k).to_numpy() for k in range(table["fold"].max() + 1)}
    return {
        name: {
            "train": int((~side).sum()),
            "validation": int(side.sum()),
            "hash": split_hash(table["image"], side),
        }
        for name, side in sides.items()
    }


def _default_split(table: pd.DataFrame, classes: int) -> str:
    """ISIC 2018's own validation part has one image of a class: nobody can steer by that."""
    validation = table.loc[table["part"] == "validation", "label"]
    counts = np.bincount(validation, minlength=classes)
    return "official" if counts.min() >= STEERS else "holdout"


def _write(
    folder: Path, pixels: NDArray[np.uint8], rows: NDArray[np.int64], table: pd.DataFrame, head: dict[str, Any],
    what: str, progress: Progress,
) -> str:  # fmt: skip
    """Write one packed set and return its content hash."""
    folder.mkdir(exist_ok=True)
    shape = (len(rows), *pixels.shape[1:])
    digest = begun_hash(shape, table, head["classes"], head["geometry"])
    with (folder / IMAGES).open("wb") as file, ThreadPoolExecutor(2) as pool:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        under_way: list[Future[object]] = []
        for start in range(0, len(rows), _ROWS):
            block = pixels[rows[start : start + _ROWS]]  # gathered while the one before is written and hashed
            for each in under_way:
                each.result()  # a full disk is told here
            under_way = [pool.submit(file.write, block.data), pool.submit(digest.update, block.data)]
            progress(min(start + _ROWS, len(rows)), len(rows), what)
        for each in under_way:
            each.result()
        file.flush()
        os.fsync(file.fileno())  # the rename must not reach the disk before the pixels
    table.to_parquet(folder / TABLE, index=False)
    found = digest.hexdigest()
    manifest = head | {"images": len(rows), "content_hash": found}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False), "utf-8")
    return found


def _software() -> dict[str, str]:
    names = ("lesion-search", "numpy", "pandas", "pillow", "pyarrow", "scikit-learn")
    return {"python": platform.python_version()} | {name: version(name) for name in names}
