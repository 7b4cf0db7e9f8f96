"""A search whose trials hold two GPUs: Ray reserves them, and processes on the CPU stand for them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fake_training import make_data

from lesion.parallel import ParallelTraining
from search import cluster, run_study, study_status
from search.space import load
from search.trial import Job, train_on

SPACE = """
data: tiny
objective: mean_auc
budget: {trials: 2, epochs: 2}
resources: {cpu: 1, gpu: 2}
seed: 7
space:
  image_size: 32
  batch_size: 4
  backbone: squeezenet1_1
  optimizer: {choice: {adamw: {lr: {float: [1.0e-4, 1.0e-2], log: true}}}}
  loss: {choice: {cross_entropy: , weighted_cross_entropy: }}
"""


class OnCPUs:
    """Trains in as many processes as the trial has GPUs; the first time, rank 1 dies in the second epoch."""

    def __init__(self, settings: Mapping[str, Any], job: Job, seed: int) -> None:
        self.made = train_on("cpu", settings, job, seed)
        self.fault = job.folder.parent.parent / "fault"
        assert isinstance(self.made, ParallelTraining)

    def step(self) -> Mapping[str, float]:
        if self.fault.exists() and self.made.training.epoch == 1:
            self.fault.unlink()
            self.made.ranks.others[0].process.kill()
        return self.made.step()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.made, name)


@pytest.fixture(autouse=True)
def _two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray believes in two GPUs, and its workers find this file."""
    begin = cluster._init
    monkeypatch.setattr(cluster, "_init", lambda address, options: begin(address, {**options, "num_gpus": 2}))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_search_over_trials_of_two_gpus_goes_on_when_a_rank_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.study.show", lambda *_: "")
    make_data(tmp_path)
    (tmp_path / "two.yaml").write_text(SPACE)
    (tmp_path / "fault").touch()
    seen: list[Mapping[str, float]] = []
    run_study(load(tmp_path / "two.yaml"), tmp_path, build=OnCPUs, progress=lambda state: seen.append(dict(state.used)))
    rows = study_status(tmp_path, "two").rows
    assert [(row.state, row.epoch, row.attempt) for row in rows] == [("complete", 2, 2), ("complete", 2, 1)]
    assert max(used.get("GPU", 0.0) for used in seen) == 2.0  # one trial at a time
    assert rows[1].device_seconds == pytest.approx(2 * rows[1].seconds)
