"""Processes that a session of Ray starts: those that trials are in, and none that wait for tasks."""

from __future__ import annotations

from contextlib import suppress

import psutil
import pytest
import ray

from lesion.data.prepare import cores
from search.cluster import joined

WORKER = "default_worker.py"
"""What Ray calls the program of a worker until it has a name."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(cores() < 2, reason="Ray starts a process a core, and the actor takes one of them"),
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::ResourceWarning", "ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def workers() -> list[str]:
    """Names of the Python workers under this process, those that are just starting among them."""
    lines = []
    for each in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it has ended
            lines.append(each.cmdline())
    named = [" ".join(line) for line in lines if line and not line[0].endswith("raylet")]
    return [line for line in named if line.startswith(("ray::Worker", "ray::IDLE", "ray::dict")) or WORKER in line]


def test_a_session_starts_a_process_for_its_actor_and_no_other() -> None:
    with joined(None):
        actor = ray.remote(num_cpus=1)(dict).remote()
        ray.get(actor.__ray_ready__.remote())
        assert len(workers()) == 1, workers()
