"""Packed data that change: under a running study, between its sessions, by a broken file."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_training import FakeTraining, Unhurried, make_data, make_space
from whole import require_whole

from lesion.data import packed
from lesion.errors import DataError
from search import run_study, study_status
from search.errors import StudyError

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy"),
]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    make_data(tmp_path)
    return tmp_path


def change_a_label(workspace: Path) -> None:
    """By hand: the manifest still says what was there."""
    path = workspace / "data" / "tiny" / packed.TABLE
    table = pd.read_parquet(path)
    table.loc[3, "label"] = 2
    table.to_parquet(path)


@pytest.mark.slow
@pytest.mark.usefixtures("one_ray")
def test_data_changed_under_a_running_study(workspace: Path) -> None:
    space = make_space(workspace, trials=3, epochs=4)
    data, kept = workspace / "data" / "tiny", workspace / "kept"
    shutil.copytree(data, kept)
    seen: list[int] = []

    def change_in_the_middle(state: Any) -> None:
        if any(trial.epoch for trial in state.running) and not seen:
            # The ledger's word: what progress shows may be half a second old. What records waits for this to return.
            seen.append(study_status(workspace, "tiny").rows[0].epoch)
            change_a_label(workspace)

    with pytest.raises(
        StudyError, match=r"changed while the study ran: .*content hash is .*Nothing was recorded since"
    ):
        run_study(space, workspace, build=Unhurried, concurrent=1, progress=change_in_the_middle)
    [row] = study_status(workspace, "tiny").rows
    assert (row.state, row.epoch) == ("running", seen[0])
    checkpoints = sorted(path.name for path in (workspace / "checkpoints" / "tiny" / "0").glob("*.ckpt"))
    # Nothing that may have seen the other label: the last before, or none where that had made room by then.
    assert checkpoints[-1:] in ([], [f"epoch-{seen[0]:04d}.ckpt"])

    shutil.rmtree(data)
    shutil.copytree(kept, data)
    run_study(space, workspace, build=FakeTraining)
    require_whole(workspace, trials=3, epochs=4)


def test_one_label_changed_between_sessions(workspace: Path) -> None:
    space = make_space(workspace)
    run_study(space, workspace, trials=0, build=FakeTraining)
    change_a_label(workspace)
    with pytest.raises(DataError, match=r"content hash is .*the manifest says"):
        run_study(space, workspace, trials=0, build=FakeTraining)
    make_data(workspace, label=2)  # prepared anew, from labels of which one is another
    with pytest.raises(StudyError, match="'tiny' holds other images or labels than before"):
        run_study(space, workspace, trials=0, build=FakeTraining)
    make_data(workspace)
    run_study(space, workspace, trials=0, build=FakeTraining)


@pytest.mark.parametrize("broken", ["cut short", "one pixel", "gone"])
def test_image_file_broken_after_packing(workspace: Path, broken: str) -> None:
    space = make_space(workspace)
    run_study(space, workspace, trials=0, build=FakeTraining)
    path = workspace / "data" / "tiny" / packed.IMAGES
    if broken == "cut short":
        path.write_bytes(path.read_bytes()[:-100])
    elif broken == "gone":
        path.unlink()
    else:
        images = np.load(path)
        images[4, 2, 2, 1] ^= 1
        np.save(path, images)
    words = "content hash is" if broken == "one pixel" else "images.npy is missing or cut short"
    with pytest.raises(DataError, match=words):
        run_study(space, workspace, trials=0, build=FakeTraining)
