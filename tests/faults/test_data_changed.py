"""Packed data that change: under a running study, between its sessions, by a broken file."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_training import FakeTraining, Unhurried, make_data, make_space
from mapped import Mapped
from whole import require_whole

from lesion.data import packed
from lesion.errors import DataError
from search import run_study, study_status
from search.errors import StudyError
from search.rows import LOST
from search.searcher import LedgerSearcher
from search.space import Asha
from search.trial import Order
from search.unchanged import Unchanged
from search.watchdog import Death

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.usefixtures("one_ray")]
ASHA = "{asha: {grace: 1, reduction: 2}}"
RELABELLED = r"1 of 7 images have another label: i3 \(was melanoma, is nevus\)"
MISSING = r"images.npy is missing or cut short"
AGAIN = rf"{MISSING} .*prepare the data set again with --replace"


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


def change_a_pixel(workspace: Path) -> None:
    path = workspace / "data" / "tiny" / packed.IMAGES
    images = np.load(path)
    images[4, 2, 2, 1] ^= 1
    np.save(path, images)


def cut_short(workspace: Path) -> None:
    path = workspace / "data" / "tiny" / packed.IMAGES
    path.write_bytes(path.read_bytes()[:-100])


def remove(workspace: Path) -> None:
    (workspace / "data" / "tiny" / packed.IMAGES).unlink()


def prepare_anew(workspace: Path) -> None:
    """From labels of which one is another."""
    make_data(workspace, label=2)


def test_data_changed_under_a_running_study(workspace: Path) -> None:
    space = make_space(workspace, trials=3, epochs=4, scheduler=ASHA)
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
    require_whole(workspace, trials=3, epochs=4, asha=Asha(1, 2))


def test_data_changed_between_sessions(workspace: Path) -> None:
    """A label, a pixel, a file: each time the study is refused in words, with what differs; put back, it goes on."""
    space = make_space(workspace, trials=2, scheduler=ASHA)
    run_study(space, workspace, build=FakeTraining)
    before = study_status(workspace, "tiny").rows
    data, kept = workspace / "data" / "tiny", workspace / "kept"
    shutil.copytree(data, kept)
    by_hand = r"content hash is .*the manifest says .*\n  "
    changes: list[tuple[Callable[[Path], None], type[Exception], str]] = [
        (change_a_label, DataError, by_hand + RELABELLED),
        (prepare_anew, StudyError, rf"'tiny' holds other images or labels than before[\s\S]*{RELABELLED}"),
        (change_a_pixel, DataError, by_hand + "1 of 7 images have other pixels: i4"),
        (cut_short, DataError, MISSING),
        (remove, DataError, MISSING),
    ]
    for change, kind, words in changes:
        change(workspace)
        with pytest.raises(kind, match=words):
            run_study(space, workspace, trials=4, build=FakeTraining)
        shutil.rmtree(data)
        shutil.copytree(kept, data)
    assert study_status(workspace, "tiny").rows == before
    run_study(space, workspace, trials=4, build=FakeTraining)
    require_whole(workspace, trials=4, epochs=3, asha=Asha(1, 2))


def test_images_cut_under_trials_that_have_mapped_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages that are gone are no error that a program could catch: SIGBUS at the next read, told like any death.

    The driver looks at the files ten times a second; here not before it has heard of a death, which may come first.
    """
    images = np.random.default_rng(0).integers(0, 256, (7, 64, 64, 3), dtype=np.uint8)
    path = make_data(tmp_path, images=images) / packed.IMAGES
    shutil.copy(path, kept := tmp_path / "kept.npy")
    space = make_space(tmp_path, trials=3, epochs=6, scheduler="{asha: {grace: 4, reduction: 2}}")
    deaths: list[Death] = []
    died, still = LedgerSearcher.died, Unchanged.still

    def noted(searcher: LedgerSearcher, trial_id: str, death: Death, last: bool) -> Order:
        deaths.append(death)
        return died(searcher, trial_id, death, last)

    monkeypatch.setattr(LedgerSearcher, "died", noted)
    monkeypatch.setattr(Unchanged, "still", lambda self: still(self) if deaths else None)

    def cut(state: Any) -> None:
        if any(trial.epoch >= 2 for trial in state.running):
            os.truncate(path, 4096)  # the file stays the one that is mapped

    with pytest.raises(StudyError, match=rf"changed while the study ran: {path.parent}/{AGAIN}"):
        run_study(space, tmp_path, build=Mapped, concurrent=2, progress=cut)
    assert {death.failure for death in deaths} == {LOST}
    before = study_status(tmp_path, "tiny").rows
    assert {row.state for row in before} == {"running"}  # none is failed for it
    assert max(row.epoch for row in before) >= 2
    with pytest.raises(DataError, match=AGAIN):
        run_study(space, tmp_path, build=Mapped)
    assert study_status(tmp_path, "tiny").rows == before
    shutil.copyfile(kept, path)
    run_study(space, tmp_path, build=Mapped, concurrent=2)
    status = require_whole(tmp_path, trials=3, epochs=6, asha=Asha(4, 2))
    assert {row.state for row in status.rows} <= {"complete", "pruned"}
    for row, was in zip(status.rows, before, strict=False):
        assert was.history.items() <= row.history.items()
        assert row.attempt > was.attempt
    print(len(deaths), "deaths;", [row.epoch for row in before], "epochs before;", [row.attempt for row in status.rows])
