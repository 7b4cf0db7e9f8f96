"""What travels with a search to a cluster: space files, code, and the weights that a space names; never data.

Ray would take the whole folder with all that lies in it. A list of what is wanted cannot forget to leave out a
workspace, an environment or a folder of images.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from search.errors import ClusterError

TEXTS = (".yaml", ".yml", ".csv", ".json", ".py")
"""Endings of the files that a search may read."""
LARGEST, IN_ALL, FILES = 2**20, 100 * 2**20, 5000
"""Bytes of one text, bytes of everything, number of files."""


@contextmanager
def packed(folder: Path, space: Path, weights: Iterable[str] = ()) -> Iterator[Path]:
    """A copy of what of `folder` a search of the file `space` needs; removed with the context.

    `weights` are files as the space names them; those outside `folder` must lie on the machines already. Raises
    ClusterError where the space is not in the folder, or where too much would travel.
    """
    folder = folder.resolve()
    if not space.resolve().is_relative_to(folder):
        raise ClusterError(f"{space} is not in {folder}, which is what travels: run the command from its folder")
    named = [folder / name for name in weights if not Path(name).is_absolute() and (folder / name).is_file()]
    taken = [*_texts(folder), *named]
    size = sum(path.stat().st_size for path in taken)
    if size > IN_ALL or len(taken) > FILES:
        raise ClusterError(
            f"{folder}: {len(taken)} files of {size / 2**20:.0f} MiB would travel to the cluster, at most {FILES} of "
            f"{IN_ALL / 2**20:.0f} MiB do: run the command from a folder of space files, and put large weights on the "
            "shared storage, named by their full path"
        )
    with TemporaryDirectory(prefix="lesion-search-") as made:
        for path in taken:
            copy = Path(made) / path.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)
        yield Path(made)


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
