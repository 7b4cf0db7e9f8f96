"""Official zips, unpacked folders or own images → a packed data set, decoded once and split by lesion.

The work is done in ``<workspace>/data/<name>.partial`` and renamed at the end: a killed run leaves nothing
half-made, and the same command continues it. One process writes at a time.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from lesion.data.archives import checksum
from lesion.data.decode import GEOMETRIES, Geometry
from lesion.data.decoding import Decoded, Progress, decode_all, disk_full_explained, silent
from lesion.data.external import ExternalSource, with_external
from lesion.data.findings import Finding
from lesion.data.layouts import read_listing
from lesion.data.listing import Listing
from lesion.data.packed import MANIFEST, PackedDataset, check_name
from lesion.data.packing import Recipe, pack, same_recipe
from lesion.errors import DataAccessError, DataError, counted, unknown

_log = logging.getLogger(__name__)
_SPARE = 1 << 26


def prepare(
    source: Path,
    workspace: Path,
    *,
    name: str | None = None,
    size: int = 256,
    geometry: Geometry = "stretch",
    folds: int | None = None,
    test: float | None = None,
    seed: int = 0,
    workers: int | None = None,
    skip_broken: bool = False,
    look_alikes: bool = True,
    replace: bool = False,
    external: ExternalSource | None = None,
    progress: Progress = silent,
) -> PackedDataset:
    """Pack `source` as ``workspace/data/<name>`` and its test part as ``workspace/test/<name>``.

    `size` is in pixels a side. `folds` and `test` (a share of the rows) default to 5, or fewer where a class has fewer
    lesions, and to the official test part or else 0.15; 0 means none. If the same data set stands already, it is
    returned as it is. Raises DataError with everything that is wrong with the source at once; `skip_broken` leaves
    images out that cannot be decoded, and records them; `look_alikes` keeps photos that look the same on one side of
    every split, as if they were of one lesion. Photos of an `external` source are packed to be trained on only, and the
    default name says so.
    """
    _check_arguments(size, geometry, folds, test)
    listing = read_listing(Path(source))
    name = name or listing.name + ("_external" if external is not None else "")
    check_name(name)
    listing.refuse()
    if external is not None:
        listing = with_external(listing, external, seed=seed)
    data = Path(workspace) / "data"
    recipe = Recipe.of(
        listing, _checksums(listing, progress), size=size, geometry=geometry, folds=folds, test=test, seed=seed,
        skip_broken=skip_broken, look_alikes=look_alikes,
    )  # fmt: skip
    with _one_writer(data, name):
        _recover(workspace, name)
        standing = _standing(data / name, recipe, replace)
        if standing is not None:
            progress(len(standing), len(standing), "already prepared")
            _log.info("%s is prepared already", standing.path)
            return standing
        partial = _open_partial(data / f"{name}.partial", recipe, len(listing.members))
        decoded = decode_all(
            listing.members, partial, size=size, geometry=geometry, workers=workers or cores(), progress=progress
        )
        _refuse_broken(listing, decoded, skip_broken)
        with disk_full_explained(partial, len(listing.members) * size * size * 3):
            pack(listing, decoded, _broken(listing, decoded), recipe, partial, name, progress)
        _publish(partial, workspace, name)
    return PackedDataset.open(data / name)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_arguments(size: int, geometry: str, folds: int | None, test: float | None) -> None:
    if not 8 <= size <= 2048:
        raise DataError(f"size is {size}, must be from 8 to 2048 pixels a side")
    if geometry not in GEOMETRIES:
        raise DataError(unknown("geometry", geometry, GEOMETRIES))
    if folds is not None and folds != 0 and not 2 <= folds <= 20:
        raise DataError(f"folds is {folds}, must be 0 (none) or from 2 to 20")
    if test is not None and not 0 <= test <= 0.5:
        raise DataError(f"test is {test}, must be a share from 0 (none) to 0.5")


def _checksums(listing: Listing, progress: Progress) -> list[dict[str, object]]:
    """Name, bytes and sha256 of every zip, CSV and folder that the source consists of."""
    sums: list[dict[str, object]] = []
    for i, path in enumerate(listing.files):
        used = [m for m in listing.members if m.container == path]
        size = sum(m.size for m in used) if path.is_dir() else path.stat().st_size
        sums.append({"file": path.name, "bytes": size, "sha256": checksum(path, used)})
        progress(i + 1, len(listing.files), "checksums")
    return sums


@contextmanager
def _one_writer(data: Path, name: str) -> Iterator[None]:
    try:
        data.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(data / f".{name}.lock", timeout=0)
        lock.acquire()
    except filelock.Timeout as error:
        raise DataAccessError(f"{data / name}: another process is preparing this data set; wait for it") from error
    except OSError as error:
        raise DataError(f"{data} cannot be written ({error.strerror}); choose another workspace") from error
    try:
        yield
    finally:
        lock.release()


def _standing(path: Path, recipe: Recipe, replace: bool) -> PackedDataset | None:
    """What stands under the name if it is of the same recipe; DataError if of another and not to be replaced."""
    if not path.exists() or replace:
        return None
    differences = same_recipe(path / MANIFEST, recipe)
    if not differences:
        return PackedDataset.open(path)
    raise DataError(
        f"{path} is another data set ({'; '.join(differences)}): give this one another name with "
        "--name (name=), or replace it with --replace (replace=True)"
    )


def _open_partial(partial: Path, recipe: Recipe, count: int) -> Path:
    """The folder to work in: what an interrupted run of the same recipe left, or a fresh one; enough disk is free."""
    plan = partial / "recipe.json"
    if not plan.exists() or plan.read_text("utf-8") != recipe.to_json():
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _require_space(partial, count * recipe.size**2 * 3)
        plan.write_text(recipe.to_json(), "utf-8")
    return partial


def _require_space(folder: Path, pixels: int) -> None:
    """Decoded pixels stand twice until the rename: as decoded, and ordered into data and test part."""
    needed, free = 2 * pixels + _SPARE, shutil.disk_usage(folder).free
    if free < needed:
        raise DataAccessError(
            f"{folder}: {needed / 2**30:.2f} GiB are needed while preparing, {free / 2**30:.2f} GiB are free: "
            "free some space, choose another workspace or a smaller size"
        )


def _refuse_broken(listing: Listing, decoded: Decoded, skip: bool) -> None:
    if skip and decoded.digests:
        return
    lines = [f"{listing.members[row]} {why}" for row, why in sorted(decoded.broken.items())]
    if lines:
        raise DataError(
            "\n".join(
                (
                    f"source {listing.name}: {counted(len(lines), 'image')} cannot be used",
                    *lines,
                    "Mend or remove them, or leave them out with --skip-broken (skip_broken=True); "
                    "what is decoded is kept",
                )
            )
        )


def _broken(listing: Listing, decoded: Decoded) -> list[Finding]:
    return [
        Finding("broken", f"{listing.members[row]} {why}: left out", (str(listing.table["image"].iloc[row]),))
        for row, why in sorted(decoded.broken.items())
    ]


def _publish(partial: Path, workspace: Path, name: str) -> None:
    """Move the finished parts into place, the data last: while that is missing, the set is not there."""
    for part in ("test", "data"):
        target = Path(workspace) / part / name
        target.parent.mkdir(parents=True, exist_ok=True)
        old = target.with_name(f"{name}.old")
        if target.exists():
            target.rename(old)
        if (partial / part).exists():
            (partial / part).rename(target)
    for part in ("test", "data"):
        shutil.rmtree(Path(workspace) / part / f"{name}.old", ignore_errors=True)
    shutil.rmtree(partial)


def _recover(workspace: Path, name: str) -> None:
    """Put back what a run that was killed between two renames had moved aside."""
    data = Path(workspace) / "data"
    olds = [Path(workspace) / part / f"{name}.old" for part in ("data", "test")]
    if (data / name).exists() and not (data / f"{name}.partial" / "data").exists():
        for old in olds:
            shutil.rmtree(old, ignore_errors=True)
        return
    for old in (o for o in olds if o.exists()):
        shutil.rmtree(old.with_name(name), ignore_errors=True)
        old.rename(old.with_name(name))
