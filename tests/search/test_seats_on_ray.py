"""Seats on a real Ray cluster of two kinds of GPUs, which are there in name only: measured, and as machines join."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import fake_gpus
import pytest
from fake_training import WORDS, make_data
from ray.cluster_utils import Cluster
from ray.util import placement_group_table

from search import run_study, seating
from search.cluster import joined
from search.elastic import growing
from search.seats import Alike
from search.space import load

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SPACE = """
data: tiny
objective: mean_auc
budget: {trials: 12, epochs: 2}
scheduler: none
sampler: random
resources: auto
seed: 7
space:
  image_size: {choice: [64, 128]}
  optimizer: {adamw: {lr: {float: [1.0e-4, 1.0e-2], log: true}}}
"""
HERE = Path(__file__).parent


def at_once(notes: list[dict[str, Any]]) -> int:
    """The most trials of `notes` that ran at a time."""
    return max(sum(each["began"] <= one["began"] < each["ended"] for each in notes) for one in notes)


def test_trials_go_to_the_gpus_that_they_fit_at_the_share_that_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{HERE}:{HERE.parents[1]}")  # workers have it from their node
    monkeypatch.setattr(seating, "_gpu_memory", fake_gpus.memory)
    monkeypatch.setattr(seating, "measured", fake_gpus.measured)
    monkeypatch.setattr("search.study.show", lambda *_: "")
    make_data(tmp_path)
    (tmp_path / "auto.yaml").write_text(SPACE)
    told: list[str] = []
    head = {"num_cpus": 1, "num_gpus": 0, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, connect=False, head_node_args=head)
    try:
        for kind, gpus in (("T4", 2), ("A100", 1)):
            cluster.add_node(num_cpus=4, num_gpus=gpus, resources={f"accelerator_type:{kind}": 1})
        run_study(
            load(tmp_path / "auto.yaml", vocabulary=WORDS), tmp_path, address=cluster.address,
            build=fake_gpus.SeatedTraining, warn=told.append,
        )  # fmt: skip
    finally:
        cluster.shutdown()

    # The largest kind measures, once for each size.
    assert [line for line in told if line.startswith("measuring")] == [
        f"measuring mobilenet_v2 at {size} pixels, 32 a batch, on A100" for size in (64, 128)
    ]
    lines = (tmp_path / "checkpoints" / "auto" / "seats.txt").read_text().splitlines()
    notes = {(note["seed"]): note for note in map(json.loads, lines)}  # the last epoch of each trial
    assert len(notes) == 12
    found = Counter((note["size"], note["kind"], note["share"], note["threads"]) for note in notes.values())
    # A T4's 16 GB hold two of the small, an A100's 80 GB two of the large; cores beside a GPU are shared like it.
    assert set(found) <= {(64, "T4", 0.5, 1), (64, "A100", 0.5, 2), (128, "A100", 0.5, 2)}
    assert found[64, "T4", 0.5, 1]
    assert found[128, "A100", 0.5, 2] == sum(note["size"] == 128 for note in notes.values())
    gpus = {(note["kind"], note["gpu"]) for note in notes.values()}
    most = [at_once([note for note in notes.values() if (note["kind"], note["gpu"]) == gpu]) for gpu in gpus]
    assert max(most) == 2, "nobody had more than half of a GPU, and two at least were on one together"


def test_a_machine_that_joins_with_fewer_cores_beside_its_gpu_trains_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{HERE}:{HERE.parents[1]}")
    monkeypatch.setattr("search.study.show", lambda *_: "")
    make_data(tmp_path)
    text = SPACE.replace("resources: auto\n", "").replace("trials: 12", "trials: 24")
    (tmp_path / "auto.yaml").write_text(text)
    noted = tmp_path / "checkpoints" / "auto" / "seats.txt"
    head = {"num_cpus": 4, "num_gpus": 1, "include_dashboard": False, "resources": {"accelerator_type:A100": 1}}
    cluster = Cluster(initialize_head=True, connect=False, head_node_args=head)

    # Ray starts no node in another thread of this process.
    command = f"while ! test -e {noted}; do sleep 0.1; done; exec {Path(sys.executable).with_name('ray')} start --block"
    worker = subprocess.Popen(
        ["sh", "-c", f"{command} --address={cluster.address} --node-ip-address=127.0.0.1 --disable-usage-stats"
         """ --num-cpus=2 --num-gpus=1 --resources='{"accelerator_type:T4": 1}'"""],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        run_study(
            load(tmp_path / "auto.yaml", vocabulary=WORDS), tmp_path, address=cluster.address,
            build=fake_gpus.PatientTraining, warn=pytest.fail,
        )  # fmt: skip
    finally:
        worker.terminate()
        worker.wait(60)
        cluster.shutdown()
    notes = [json.loads(line) for line in noted.read_text().splitlines()]
    assert len({note["seed"] for note in notes}) == 24
    found = Counter((note["kind"], note["share"], note["threads"]) for note in notes)
    assert set(found) == {("A100", 1.0, 4), ("A100", 1.0, 2), ("T4", 1.0, 2)}


def test_nothing_is_asked_any_longer_of_a_ray_that_outlives_the_session() -> None:
    with joined(None):
        seats = growing(Alike(1, 64, 0.0), None, 5, [].append)
        seats.look()
        waiting = [each["state"] for each in placement_group_table().values()]
        assert (len(waiting), {*waiting}) == (5, {"PENDING"})
        seats.close()
        assert [each["state"] for each in placement_group_table().values()] == ["REMOVED"] * 5
