"""Checkpoints of an interrupted study, damaged between its sessions; what was passed over is told."""

from pathlib import Path
from typing import Any

import pytest
import torch
from fake_training import FakeTraining, Unhurried, make_data, make_space
from whole import require_whole

from lesion import checkpoints
from search import run_study, study_status
from search.mirror import mirror_of
from search.workspace import open_workspace

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("one_ray"),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy"),
]


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def rebuild(path: Path) -> None:
    """What an earlier program with another model would have left: sound, ours, and of no use."""
    state = checkpoints.load(path)
    beside = path.parent / "other"
    other = checkpoints.save({**state, "training": {"conv1.weight": torch.zeros(3)}}, beside)
    other.replace(path)
    beside.rmdir()


@pytest.mark.parametrize(
    ("damage", "newest_only", "words"),
    [
        (tear, True, "is damaged: its checksum differs"),
        (tear, False, "is damaged: its checksum differs"),
        (rebuild, True, "does not fit this program's model: KeyError"),
    ],
    ids=["latest corrupt", "all corrupt", "another architecture"],
)
def test_damaged_checkpoints(tmp_path: Path, damage: Any, newest_only: bool, words: str) -> None:
    make_data(tmp_path)
    space = make_space(tmp_path, trials=2, epochs=5)
    # Used up by the second epoch: twice 0.3 s of the one core that each of two trials has.
    run_study(space, tmp_path, build=Unhurried, concurrent=2, device_hours=0.9 / 3600)
    folder = tmp_path / "checkpoints" / "tiny" / "0"
    assert not study_status(tmp_path, "tiny").rows[0].finished
    saved = checkpoints.saved(folder)
    assert len(saved) in (1, 2)
    for path in saved[-1:] if newest_only else saved:
        damage(path)

    result = run_study(space, tmp_path, build=FakeTraining, concurrent=1)
    row = require_whole(tmp_path, trials=2, epochs=5).rows[0]
    assert words in str(row.damage)
    assert str(row.damage).count(words) == (1 if newest_only else len(saved))
    assert row.attempt == 2
    run = mirror_of(open_workspace(tmp_path), "tiny", result.identity).runs.runs()[0]
    assert run.tags["lesion.damage"] == row.damage
