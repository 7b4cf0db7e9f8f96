"""Threads of a trial follow its cores: two trials on two cores do not fight, and one alone has both."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fake_training import FakeTraining, make_data, make_space

from search import cluster, run_study


class CountsThreads(FakeTraining):
    """Notes how many threads torch has in each epoch, in ``threads.txt`` beside the checkpoints."""

    def __init__(self, settings: Mapping[str, Any], job: Any, seed: int) -> None:
        super().__init__(settings, job, seed)
        self.notes = job.folder / "threads.txt"

    def step(self) -> dict[str, float]:
        import torch

        with self.notes.open("a") as file:
            file.write(f"{self.seed} {torch.get_num_threads()}\n")
        return super().step()


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray believes in two cores, and its workers find this file; left alone, torch would take three threads in each."""
    begin = cluster._init
    monkeypatch.setattr(cluster, "_init", lambda address, options: begin(address, {**options, "num_cpus": 2}))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("OMP_NUM_THREADS", "3")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_two_trials_on_two_cores_have_a_thread_each_and_one_alone_has_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.study.show", lambda *_: "")
    make_data(tmp_path)
    space = make_space(tmp_path, trials=2, epochs=2)
    with cluster.joined(None):
        rows = run_study(space, tmp_path, build=CountsThreads).rows
        rows += run_study(space, tmp_path, build=CountsThreads, trials=3).rows[2:]
    lines = (tmp_path / "checkpoints" / "tiny" / "threads.txt").read_text().splitlines()
    noted = [tuple(map(int, line.split())) for line in lines]
    threads = {row.seed: count for row, count in zip(rows, (1, 1, 2), strict=True)}
    assert sorted(noted) == sorted((seed, count) for seed, count in threads.items() for epoch in (1, 2))
