"""What travels with a search to a cluster: space files, code, and the files that a space names; never data.

Ray would take the whole folder with all that lies in it. A list of what is wanted cannot forget to leave out a
workspace, an environment or a folder of images.

A space names files relative to the folder where the command is given, `../shared/weights/x.pth` too, and extends others
that may lie above it. So that such names stay true, and with them what the study is of, the copy begins as far up as
they climb, and a search runs in the sub-folder that is the command's:

    /home/me/project $ lesion-search run …      copy/project/spaces/isic2017.yaml    Luggage.inside = "project"
                                                copy/shared/weights/x.pth
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from search.errors import ClusterError

TEXTS = (".yaml", ".yml", ".csv", ".json", ".py")
"""Endings of the files that a search may read."""
LARGEST, IN_ALL, FILES = 2**20, 100 * 2**20, 5000
"""Bytes of one text, bytes of everything, number of files."""
FOLDER = "LESION_FOLDER"
"""Where a worker of a search finds the sub-folder in which the search runs, if it does in one."""


@dataclass(frozen=True)
class Luggage:
    """A copy of what travels; a search runs in its sub-folder `inside`, "." where that is all of it."""

    folder: Path
    inside: Path


def within(folder: Path, space: Path) -> Path:
    """The file `space`, relative to the `folder` that travels; ClusterError where it is not in it."""
    folder = folder.resolve()
    if not space.resolve().is_relative_to(folder):
        raise ClusterError(f"{space} is not in {folder}, which is what travels: run the command from its folder")
    return space.resolve().relative_to(folder)


@contextmanager
def packed(folder: Path, files: Iterable[str] = ()) -> Iterator[Luggage]:
    """A copy of the texts of `folder` and of `files`; removed with the context.

    `files` are the search's own: space files, and what these name, relative to `folder`, wherever they lie; those with
    full paths must lie on the machines already. Raises ClusterError where one is missing, and where too much would
    travel.
    """
    folder = folder.resolve()
    named = sorted({name for name in files if not Path(name).is_absolute()})
    _require(folder, named)
    paths = [folder / name for name in named]
    texts = [path for path in _texts(folder) if path not in paths]
    size = sum(path.stat().st_size for path in (*texts, *paths))
    if size > IN_ALL or len(texts) + len(paths) > FILES:
        raise ClusterError(
            f"{folder}: {len(texts) + len(paths)} files of {size / 2**20:.0f} MiB would travel to the cluster, at most "
            f"{FILES} of {IN_ALL / 2**20:.0f} MiB do: run the command from a folder of space files, and put large "
            "weights on the shared storage, named by their full path"
        )
    inside = _inside(folder, named)
    with TemporaryDirectory(prefix="lesion-search-") as made:
        here = Path(made) / inside
        here.mkdir(parents=True, exist_ok=True)
        for path in texts:
            _copy(path, here / path.relative_to(folder))
        for name in named:
            _copy(folder / name, here / name)
        yield Luggage(Path(made), inside)


def enter() -> None:
    """On a worker, which Ray starts at the top of the copy: go where the search runs."""
    os.chdir(os.environ.get(FOLDER, "."))


def _require(folder: Path, named: Iterable[str]) -> None:
    missing = [name for name in named if not (folder / name).is_file()]
    if missing:
        raise ClusterError(
            f"no file {', '.join(missing)} (looked in {folder}): those named by relative paths travel from here, those "
            "that lie on the machines are named by their full path"
        )


def _inside(folder: Path, named: Iterable[str]) -> Path:
    """Where `folder` lies in a copy that begins as far up as any of the relative paths `named` climbs.

    >>> str(_inside(Path("/home/me/project"), ["weights/a.pth", "../shared/b.pth", "../../c.pth"]))
    'me/project'
    """
    up = max((_climbs(name) for name in named), default=0)
    if up > len(folder.parents):
        raise ClusterError(f"{', '.join(named)}: leads above /; name files from {folder}, or by their full path")
    return folder.relative_to(folder.parents[up - 1]) if up else Path()


def _climbs(name: str) -> int:
    """How many folders up a path leads on its way.

    >>> _climbs("../../me/../a.pth"), _climbs("weights/../a.pth")
    (2, 0)
    """
    depth = lowest = 0
    for part in Path(name).parts:
        depth += -1 if part == ".." else 1
        lowest = min(lowest, depth)
    return -lowest


def _copy(path: Path, to: Path) -> None:
    # What a path crosses before it climbs is there as well: `models/../x.pth` needs a folder `models`.
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(path, to)


def _texts(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        here = Path(root)
        folders[:] = [name for name in folders if _wanted(here / name, folder)]
        for name in files:
            path = here / name
            if path.suffix in TEXTS and not path.is_symlink() and path.stat().st_size <= LARGEST:
                yield path


def _wanted(path: Path, root: Path) -> bool:
    if path.name.startswith(".") or path.name in ("__pycache__", "node_modules", "mlruns"):
        return False
    if path.parent == root and path.name in ("data", "workspace", "demo", "tests", "build", "dist"):
        return False
    environment, workspace = (path / "pyvenv.cfg").exists(), (path / "checkpoints").exists()
    return not environment and not workspace and not path.is_symlink()
