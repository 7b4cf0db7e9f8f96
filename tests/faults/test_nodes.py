"""Nodes of a cluster that die and join while a search runs, made by Ray's own cluster for tests."""

import os
import signal
from pathlib import Path

import pytest
from drivers import WORKERS, start, wait_for
from ray.cluster_utils import Cluster
from whole import require_whole

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy"),
]


def test_raylet_killed_under_its_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**WORKERS, "FAKE_WAIT": "1"}.items():  # workers have it from their node, not from the driver
        monkeypatch.setenv(name, value)
    cluster = Cluster(initialize_head=True, connect=False, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        doomed = cluster.add_node(num_cpus=1)
        run = {"address": cluster.address, "concurrent": 2}
        driver = start(tmp_path, trials=3, epochs=5, training="HostedTraining", run=run)
        wait_for(lambda: len(driver.running) == 2 and sum(driver.running.values()) >= 1)
        raylet = doomed.all_processes["raylet"][0].process
        os.kill(raylet.pid, signal.SIGKILL)
        assert driver.process.wait(400) == 0, driver.said
    finally:
        cluster.shutdown()
    assert "Raylet is terminated" in driver.said
    # A worker outlives its raylet for half a minute, and a trial that ends within it has had one attempt.
    require_whole(tmp_path, trials=3, epochs=5)


def test_a_machine_that_joins_in_mid_search_gets_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in WORKERS.items():
        monkeypatch.setenv(name, value)
    cluster = Cluster(initialize_head=True, connect=False, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        run = {"address": cluster.address, "concurrent": None, "gpus_per_trial": 0}
        driver = start(tmp_path, trials=4, epochs=2, training="HostedTraining", run=run)
        wait_for(lambda: driver.running)
        cluster.add_node(num_cpus=1)
        assert driver.process.wait(400) == 0, driver.said
    finally:
        cluster.shutdown()
    require_whole(tmp_path, trials=4, epochs=2)
    assert len(set((tmp_path / "checkpoints" / "tiny" / "nodes.txt").read_text().split())) == 2
