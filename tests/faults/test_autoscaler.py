"""A search under Ray's own autoscaler: machines come because trials could use them, and go when there are none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from autoscaler import Autoscaled, autoscaled
from drivers import start, wait_for
from whole import require_whole

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Autoscaled]:
    """No machine at first, two with a GPU at most."""
    with autoscaled(2, CPU=2, GPU=1) as made:
        yield made


def test_machines_come_for_a_search_and_go_after_it(tmp_path: Path, cluster: Autoscaled) -> None:
    assert cluster.nodes == 0
    # No trial goes on before two nodes have one: the first alone would wait for minutes, and the test fail.
    run = {"address": cluster.address, "concurrent": None, "gpus_per_trial": 1}
    environment = dict(cluster.environment)
    driver = start(tmp_path, trials=3, epochs=2, training="HostedTraining", run=run, environment=environment)
    wait_for(lambda: driver.process.poll() is not None or cluster.head.poll() is not None, 400)
    assert driver.process.poll() == 0, driver.said
    require_whole(tmp_path, trials=3, epochs=2)
    nodes = {line.split()[0] for line in (tmp_path / "checkpoints" / "tiny" / "nodes.txt").read_text().splitlines()}
    assert len(nodes) >= 2, driver.said
    wait_for(lambda: cluster.nodes == 0)
