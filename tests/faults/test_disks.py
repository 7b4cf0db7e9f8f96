"""Disks that fill up, for real: a small tmpfs under checkpoints, ledger or spool."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import ray
from fake_training import FakeTraining, Unhurried, make_data, make_space
from whole import require_whole

from search import run_study, study_status
from search.errors import LedgerError, WorkspaceFullError
from search.space import Asha
from search.study import sync

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.usefixtures("one_ray")]
ASHA = "{asha: {grace: 1, reduction: 2}}"


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of `size` at `folder`; the file that is yielded fills it."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a tmpfs")
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    made = subprocess.run(mount, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {made.stderr.strip()}")
    try:
        yield folder / "filler"
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return


def test_disk_full_under_checkpoints(tmp_path: Path) -> None:
    make_data(tmp_path)
    (tmp_path / "fault.json").write_text('{"what": "once", "epoch": 2}')
    with small_disk(tmp_path / "checkpoints", "64k") as filler:
        fill(filler)
        run_study(make_space(tmp_path, trials=2, epochs=4, scheduler=ASHA), tmp_path, build=FakeTraining, concurrent=1)
        status = require_whole(tmp_path, trials=2, epochs=4, asha=Asha(1, 2))
        # The worker that died after two epochs left none of them: the next one began again, to the same values.
        assert [row.attempt for row in status.rows] == [2, 1]
        assert all("was not saved: [Errno 28] No space left on device" in str(row.damage) for row in status.rows)
        filler.unlink()
        run_study(make_space(tmp_path, epochs=4, scheduler=ASHA), tmp_path, trials=3, build=FakeTraining)
        assert require_whole(tmp_path, trials=3, epochs=4, asha=Asha(1, 2)).rows[2].damage is None


def test_disk_full_under_what_ray_notes(tmp_path: Path) -> None:
    """Ray writes down the death of a worker in a folder of its own, and takes it for certain that it can."""
    make_data(tmp_path)
    (tmp_path / "fault.json").write_text('{"what": "once", "epoch": 2}')
    space = make_space(tmp_path, trials=2, epochs=4, scheduler=ASHA)
    session = Path(ray._private.worker.global_worker.node.get_session_dir_path())
    with small_disk(session / "artifacts", "64k") as filler:
        fill(filler)
        with pytest.raises(WorkspaceFullError, match=f"the disk of {session}.* is full: free some space, or give Ray"):
            run_study(space, tmp_path, build=FakeTraining, concurrent=1)
    run_study(space, tmp_path, build=FakeTraining, concurrent=1)
    require_whole(tmp_path, trials=2, epochs=4, asha=Asha(1, 2))


def test_disk_full_under_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_data(tmp_path)
    space = make_space(tmp_path, trials=4, epochs=4, scheduler=ASHA)
    with small_disk(tmp_path / "small", "300k") as filler:
        monkeypatch.setenv("LESION_LEDGER", f"sqlite:///{tmp_path / 'small' / 'ledger.db'}")

        def fill_in_the_middle(state: Any) -> None:
            if any(trial.epoch for trial in state.running) and not filler.exists():
                fill(filler)

        with pytest.raises(LedgerError, match=r"cannot write to the ledger: .*full.*Free some disk space"):
            run_study(space, tmp_path, build=Unhurried, concurrent=1, progress=fill_in_the_middle)
        assert sum(row.finished for row in study_status(tmp_path, "tiny").rows) < 4
        filler.unlink()
        run_study(space, tmp_path, build=FakeTraining)
        require_whole(tmp_path, trials=4, epochs=4, asha=Asha(1, 2))


def test_disk_full_under_the_spool(tmp_path: Path) -> None:
    make_data(tmp_path)
    with small_disk(tmp_path / "spool", "16k") as filler:
        fill(filler)
        result = run_study(make_space(tmp_path, trials=3, scheduler=ASHA), tmp_path, build=FakeTraining)
        assert result.complete
        require_whole(tmp_path, trials=3, epochs=3, asha=Asha(1, 2))


def test_disk_full_under_the_spool_while_mlflow_is_away(tmp_path: Path) -> None:
    """Nobody takes the events: what was told is lost with the session, and told again from the ledger."""
    make_data(tmp_path)
    with small_disk(tmp_path / "spool", "16k") as filler:
        fill(filler)
        nobody = "http://127.0.0.1:9"
        result = run_study(
            make_space(tmp_path, trials=3, scheduler=ASHA), tmp_path, build=FakeTraining, tracking_uri=nobody
        )
        assert result.complete
        assert result.unmirrored > 0
        assert not (tmp_path / "mlflow.db").exists()
        filler.unlink()
        sync(tmp_path, "tiny")
        require_whole(tmp_path, trials=3, epochs=3, asha=Asha(1, 2))
