"""The workspace: the one folder in which everything that a user's searches make lives.

data/  test/            packed data sets, and their test parts where no trial has a path to them
ledger.db               the ledger: every study and trial, the one truth
mlflow.db  artifacts/   MLflow's database and files, a mirror of the ledger
checkpoints/            <study>/<trial number>/: what a trial resumes from, its validation predictions; whose they are
cache/                  feature maps and draws among neighbours that trials share; may be removed between sessions
spool/                  what MLflow has not taken yet
reports/  locks/  ray/  reports; who drives which study; Ray's scratch folder of each session
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path

from search.errors import WorkspaceError, WorkspaceFullError

VARIABLE = "LESION_WORKSPACE"
DEFAULT = Path("workspace")
LEDGER, ARTIFACTS = "ledger.db", "artifacts"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""What a study may be called: names become folders, so nothing in them may lead out of one."""

PROBE, QUESTION = ".probe-", ".reach-"
"""How the names begin of a file that tries whether the disk takes one, and of a folder that asks nodes to answer."""

_FOLDERS = ("data", "test", ARTIFACTS, "checkpoints", "cache", "spool", "reports", "locks", "ray")


@dataclass(frozen=True)
class Workspace:
    """The paths inside one workspace folder; `open_workspace` makes them."""

    path: Path

    @property
    def data(self) -> Path:
        """Packed data sets, by name."""
        return self.path / "data"

    @property
    def test(self) -> Path:
        """Test parts of the packed data sets, by name."""
        return self.path / "test"

    @property
    def ledger_url(self) -> str:
        """Database of the ledger: LESION_LEDGER (PostgreSQL on a cluster), else SQLite in the workspace."""
        return os.environ.get("LESION_LEDGER") or f"sqlite:///{self.path / LEDGER}"

    @property
    def tracking_uri(self) -> str:
        """Where MLflow keeps its runs: MLFLOW_TRACKING_URI, else SQLite in the workspace."""
        return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.path / 'mlflow.db'}"

    @property
    def artifacts(self) -> Path:
        """Files of MLflow's runs and models, where MLflow's database is the workspace's."""
        return self.path / ARTIFACTS

    @property
    def cache(self) -> Path:
        """What trainings compute once and share."""
        return self.path / "cache"

    @property
    def spool(self) -> Path:
        """Events that MLflow has not taken yet."""
        return self.path / "spool"

    @property
    def reports(self) -> Path:
        """Reports, one folder a study."""
        return self.path / "reports"

    @property
    def ray(self) -> Path:
        """Ray's scratch folders, one a session; nothing in them is ever read back."""
        return self.path / "ray"

    def checkpoints(self, study: str) -> Path:
        """Folder of the trials of `study`; WorkspaceError if the name could lead out of the workspace."""
        return self.path / "checkpoints" / checked_name(study)

    def studies_on_disk(self) -> list[Path]:
        """Checkpoint folders of studies in which there is something, whether the ledger knows them or not."""
        folder = self.path / "checkpoints"
        found = sorted(folder.iterdir()) if folder.is_dir() else []
        return [each for each in found if each.is_dir() and any(each.iterdir())]

    def trial(self, study: str, number: int) -> Path:
        """Folder of one trial: its checkpoints and ``predictions.npz``."""
        return self.checkpoints(study) / str(number)

    def lock(self, study: str) -> Path:
        """File that the driver of `study` holds locked."""
        return self.path / "locks" / f"{checked_name(study)}.lock"


def open_workspace(path: Path | str | Workspace | None = None) -> Workspace:
    """The workspace at `path`, else at $LESION_WORKSPACE, else ``./workspace``, with its folders made.

    Raises WorkspaceError when it cannot be written to: a folder that belongs to somebody else, a full disk.
    """
    if isinstance(path, Workspace):
        path = path.path
    root = Path(path or os.environ.get(VARIABLE) or DEFAULT).expanduser().absolute()
    try:
        for folder in _FOLDERS:
            (root / folder).mkdir(parents=True, exist_ok=True)
        _try_writing(root)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise (WorkspaceFullError if full else WorkspaceError)(_explain(root, error)) from error
    return Workspace(root)


def existing_workspace(path: Path | str | Workspace | None = None) -> Workspace:
    """Like `open_workspace`, but makes nothing: for commands that only read."""
    if isinstance(path, Workspace):
        return path
    root = Path(path or os.environ.get(VARIABLE) or DEFAULT).expanduser().absolute()
    if not root.is_dir():
        raise WorkspaceError(
            f"no workspace at {root}; give the right folder with --workspace or {VARIABLE}, "
            "or make one with 'lesion-search data prepare'"
        )
    return Workspace(root)


def checked_name(name: str) -> str:
    """`name` if it can safely be the name of a folder; WorkspaceError otherwise.

    >>> checked_name("isic2017-small")
    'isic2017-small'
    """
    if not NAME.fullmatch(name) or ".." in name:
        raise WorkspaceError(
            f"a study cannot be called {name!r}: up to 128 letters, digits, '.', '_' and '-', starting with a "
            "letter or digit"
        )
    return name


def _try_writing(root: Path) -> None:
    probe = root / f"{PROBE}{os.getpid()}"
    try:
        # A block of real bytes: a full disk still lets an empty file be made.
        with probe.open("wb") as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    finally:
        probe.unlink(missing_ok=True)


def _explain(root: Path, error: OSError) -> str:
    reasons = {
        errno.EACCES: "you may not write there: choose another folder with --workspace, or have it made yours",
        errno.EPERM: "you may not write there: choose another folder with --workspace, or have it made yours",
        errno.EROFS: "its file system is read-only: choose another folder with --workspace",
        errno.ENOSPC: "its disk is full: free some space, or choose another folder with --workspace",
        errno.EDQUOT: "your quota on its disk is used up: free some space, or choose another folder",
        errno.ENOTDIR: "a file stands in the way: choose another folder with --workspace",
        errno.EEXIST: "a file stands in the way: choose another folder with --workspace",
    }
    reason = reasons.get(error.errno or 0, error.strerror or str(error))
    return f"the workspace {root} cannot be used: {reason}"
