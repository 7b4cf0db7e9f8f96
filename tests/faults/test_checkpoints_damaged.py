"""Checkpoints of an interrupted study, damaged between its sessions; what was passed over is told."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_training import NotedTraining, Unhurried, make_data, make_space
from whole import require_whole

from lesion import checkpoints
from search import run_study
from search.mirror import mirror_of
from search.space import Asha
from search.workspace import open_workspace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.usefixtures("one_ray")]
DAMAGED, OTHER = "is damaged: its checksum differs", "does not fit this program's model: KeyError"


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def rebuild(path: Path) -> None:
    """What an earlier program with another model would have left: sound, ours, and of no use."""
    state = checkpoints.load(path)
    beside = path.parent / "other"
    other = checkpoints.save({**state, "training": {"conv1.weight": torch.zeros(3)}}, beside)
    other.replace(path)
    beside.rmdir()


def test_damaged_checkpoints(tmp_path: Path) -> None:
    """The latest of trial 0 and all of trial 1 are torn; then the latest of trial 2 is of another architecture."""
    make_data(tmp_path)
    # No rung before all have two checkpoints: a trial that is stopped there has none to go on from.
    space = make_space(tmp_path, trials=3, epochs=8, scheduler="{asha: {grace: 6, reduction: 2}}")
    folder = tmp_path / "checkpoints" / "tiny"

    def interrupted(trials: set[int]) -> dict[int, list[Path]]:
        """A session that is interrupted once these trials have two checkpoints; those, oldest first."""
        asked: list[bool] = []

        def interrupt(state: Any) -> None:
            if not asked and {trial.number for trial in state.running if trial.epoch >= 2} >= trials:
                asked.append(True)
                os.kill(os.getpid(), signal.SIGTERM)

        build = Unhurried if trials == {0, 1} else NotedTraining
        assert run_study(space, tmp_path, build=build, concurrent=2, progress=interrupt).ended == "SIGTERM"
        saved = {number: checkpoints.saved(folder / str(number)) for number in trials}
        assert {number: len(paths) for number, paths in saved.items()} == dict.fromkeys(trials, checkpoints.KEPT)
        return saved

    saved = interrupted({0, 1})
    before = {number: int(paths[0].stem.removeprefix("epoch-")) for number, paths in saved.items()}
    for path in (saved[0][1], *saved[1]):
        tear(path)
    [last] = interrupted({2}).values()
    before[2] = int(last[0].stem.removeprefix("epoch-"))
    rebuild(last[1])
    result = run_study(space, tmp_path, build=NotedTraining, concurrent=1)

    rows = require_whole(tmp_path, trials=3, epochs=8, asha=Asha(6, 2)).rows
    assert min(row.attempt for row in rows) == 2
    assert [(str(row.damage).count(DAMAGED), str(row.damage).count(OTHER)) for row in rows] == [(1, 0), (2, 0), (0, 1)]
    runs = mirror_of(open_workspace(tmp_path), "tiny", result.identity).runs.runs()
    assert [runs[row.number].tags["lesion.damage"] for row in rows] == [row.damage for row in rows]
    # Went on from the one before, or from scratch: the first epoch that the next worker trained.
    noted = [line.split()[1:] for line in (folder / "nodes.txt").read_text().splitlines()]
    trained = {
        row.number: [int(epoch) for seed, epoch in noted if int(seed) == row.seed and epoch != "0"] for row in rows
    }
    assert [trained[0][0], trained[1][0]] == [before[0] + 1, 1]
    assert before[2] + 1 in trained[2][trained[2].index(before[2] + 1) + 1 :], "trained once before, and once more"
