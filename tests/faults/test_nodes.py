"""Nodes of a cluster that die and join while a search runs, made by Ray's own cluster for tests."""

import os
import signal
from pathlib import Path

import pytest
from drivers import WORKERS, start, wait_for
from ray.cluster_utils import Cluster
from whole import require_whole

from search.space import Asha

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def notes(workspace: Path) -> list[tuple[str, int, int]]:
    """What `HostedTraining` has noted: node, seed and epoch."""
    path = workspace / "checkpoints" / "tiny" / "nodes.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(node, int(seed), int(epoch)) for node, seed, epoch in map(str.split, lines)]


def test_raylet_killed_under_its_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs take long enough for the loss to be noticed before the worker, which outlives its raylet, is done."""
    for name, value in {**WORKERS, "FAKE_WAIT": "2.5"}.items():  # workers have it from their node, not from the driver
        monkeypatch.setenv(name, value)
    # A raylet that is gone refuses at once: it is dead after three seconds. One that is slow has ten for each answer.
    health = {"health_check_period_ms": 1000, "health_check_failure_threshold": 3}
    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": health}
    cluster = Cluster(initialize_head=True, connect=False, head_node_args=head)
    try:
        doomed = cluster.add_node(num_cpus=1)
        driver = start(
            tmp_path, trials=2, epochs=6, scheduler="{asha: {grace: 4, reduction: 2}}", training="HostedTraining",
            run={"address": cluster.address, "concurrent": 2},
        )  # fmt: skip
        lost = lambda: [seed for node, seed, epoch in notes(tmp_path) if node == doomed.node_id and epoch]  # noqa: E731
        wait_for(lambda: driver.running and lost())
        os.kill(doomed.all_processes["raylet"][0].process.pid, signal.SIGKILL)
        assert driver.process.wait(400) == 0, driver.said
    finally:
        cluster.shutdown()
    status = require_whole(tmp_path, trials=2, epochs=6, asha=Asha(4, 2))
    [seed] = set(lost())
    assert {row.seed == seed: row.attempt for row in status.rows} == {True: 2, False: 1}
    elsewhere = [epoch for node, of, epoch in notes(tmp_path) if of == seed and node != doomed.node_id]
    assert elsewhere[0] == 0  # built there,
    assert elsewhere[1] > 1  # and gone on from the checkpoint
    assert elsewhere[-1] == next(row.epoch for row in status.rows if row.seed == seed)


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
    assert len({node for node, _, _ in notes(tmp_path)}) == 2
