"""A disk that is full under what Ray notes for itself: said in words, with the folder and the way out."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from search.errors import WorkspaceFullError


@contextmanager
def full_disk_explained(workspace: Path) -> Iterator[None]:
    """Raise WorkspaceFullError in the place of an OSError of a full disk, under `workspace` or Ray's own folder."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        folder = Path(str(error.filename)).parent if error.filename else _fullest(workspace, _ray_folder())
        other = "choose another folder with --workspace"
        if not folder.is_relative_to(workspace):
            other = "give Ray another folder for what it notes (RAY_TMPDIR)"
        raise WorkspaceFullError(
            f"the disk of {folder} is full: free some space, or {other}, and run the same command again; nothing that "
            "was recorded is lost"
        ) from error


def _ray_folder() -> Path:
    """Where Ray notes what happens to trials and workers here; without a session, where all of them are."""
    from ray._private.worker import _global_node  # noqa: PLC0415 - no other name of it is public

    if _global_node is None:
        return Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    return Path(_global_node.get_session_dir_path()) / "artifacts"


def _fullest(*folders: Path) -> Path:
    """The folder with the least room left: a write that failed does not say where."""
    return min((each for each in folders if each.is_dir()), key=lambda each: shutil.disk_usage(each).free)
