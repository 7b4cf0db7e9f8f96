"""Where trials run: Ray started or joined, and how its cores and GPUs are shared out among trials."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray._private import ray_constants

from lesion.data.prepare import cores
from search.errors import ClusterError, ClusterStartError
from search.space.resources import SHARES, is_share

QUIET = {
    # Ray writes and prints much about each trial that the ledger, MLflow and the progress table show better.
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_THRESHOLD_S": "10",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "1",
    # Ray's own niceness of 15 would hardly give a trial its turn beside anything else that runs.
    "RAY_worker_niceness": "0",
    # Relative paths stay what they were.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # Signals are ours (search.interrupts), and so is the state: Ray's own snapshots are never read.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "31536000",
    # An actor that does not end is killed after so many seconds, not after 600.
    "TUNE_FORCE_TRIAL_CLEANUP_S": "20",
    # A failed trial reports a failure class and no objective.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    # Ray 2.60 announces a change of the next version on every start.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
KEEP_MEMORY = {
    # glibc gives large blocks back to the kernel after each step and has them zeroed again at the next: kept, a step of
    # MobileNetV2 at 192 pixels on two cores is 12 % faster (36.9 → 41.3 images a second).
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**34),
}
OBJECT_STORE = 80 * 1024 * 1024
"""Bytes; trials exchange numbers, their images are mapped from files."""
CONCURRENT_ON_CPU = 4
"""Trials at a time on a machine without GPUs, where it has the cores: more, and each one crawls."""


@dataclass(frozen=True)
class Share:
    """What one trial holds, and how many run at a time."""

    concurrent: int
    cpus: int
    gpus: float


@contextmanager
def joined(address: str | None) -> Iterator[None]:
    """A Ray session: the cluster at `address`, else one on this machine that ends with the context.

    A session that the caller has started already, in a notebook, is used and left alone.
    """
    for name, value in (QUIET | KEEP_MEMORY).items():
        os.environ.setdefault(name, value)
    # Ray's executor complains of trials that the ledger, MLflow and the progress table tell about in words.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    if ray.is_initialized():
        yield
        return
    with _started(address):
        yield


@contextmanager
def _started(address: str | None) -> Iterator[None]:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    alone: dict[str, Any] = {
        "num_cpus": cores(),
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE,
        "_node_ip_address": "127.0.0.1",
    }
    clusters, began = ray_constants.ENABLE_RAY_CLUSTER, False
    try:
        # A Ray of one machine listens on loopback only; it does so by itself on Windows and macOS, not on Linux.
        ray_constants.ENABLE_RAY_CLUSTER = clusters and address is not None
        _init(address, quiet if address else alone | quiet)
        began = True
        yield
    except Exception as error:  # Ray that does not start in time says so by a bare Exception
        if began:
            raise
        where = f"the Ray cluster at {address}" if address else "Ray on this machine"
        hint = "is it up ('ray status')?" if address else "is there memory and room in /tmp?"
        raise (ClusterError if address else ClusterStartError)(f"{where} cannot be used: {error}; {hint}") from error
    finally:
        _shut_down()
        ray_constants.ENABLE_RAY_CLUSTER = clusters


def _shut_down() -> None:
    """`ray.shutdown`, while nothing lets go of anything of Ray's.

    Ray ends the whole process, a notebook as well, where a reference to one of its objects goes away in another thread
    while it shuts down; the garbage collector runs in whichever thread has just made something.
    """
    gc.collect()
    collecting = gc.isenabled()
    gc.disable()
    try:
        ray.shutdown()
    finally:
        if collecting:
            gc.enable()


def _init(address: str | None, options: dict[str, Any]) -> None:
    """`ray.init`; a machine that is so busy that Ray does not start within its own 30 s gets a second chance."""
    for last in (address is not None, True):
        try:
            ray.init(address=address or "local", **options)
            return
        except Exception:
            ray.shutdown()
            if last:
                raise


def alive_nodes() -> list[Mapping[str, float]]:
    """What each node of the Ray session has, by Ray's names."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def resources_for(
    cpus: int,
    gpus: float,
    concurrent: int | None = None,
    gpus_per_trial: float | None = None,
    largest_node: int | None = None,
    missing: int | None = None,
    cpus_per_trial: int | None = None,
    gpus_of_nodes: Sequence[float] | None = None,
) -> Share:
    """Share `cpus` cores and `gpus` GPUs out: a GPU a trial where there are any, else cores.

    `gpus_per_trial` may be a fraction, or 0 to stay on CPUs; `largest_node` is the most cores of any node. Several GPUs
    of a trial are on one of the nodes, whose GPUs are `gpus_of_nodes`; left out, all are on one.
    No more places are made than trials are `missing`: the last ones get the cores that nobody else will use, unless
    `cpus_per_trial` says how many a trial gets.

    >>> resources_for(16, 2)
    Share(concurrent=2, cpus=8, gpus=1.0)
    >>> resources_for(16, 1, gpus_per_trial=0.25)
    Share(concurrent=4, cpus=4, gpus=0.25)
    >>> resources_for(2, 0)
    Share(concurrent=2, cpus=1, gpus=0.0)
    >>> resources_for(2, 0, missing=1)
    Share(concurrent=1, cpus=2, gpus=0.0)
    >>> resources_for(16, 2, gpus_per_trial=0.25, cpus_per_trial=4)
    Share(concurrent=4, cpus=4, gpus=0.25)
    >>> resources_for(32, 8, gpus_per_trial=2, gpus_of_nodes=[4, 3, 1])
    Share(concurrent=3, cpus=10, gpus=2.0)
    """
    if concurrent is not None and concurrent < 1:
        raise ClusterError(f"--concurrent is {concurrent}, must be at least 1")
    share = float(gpus > 0) if gpus_per_trial is None else float(gpus_per_trial)
    if not is_share(share):
        raise ClusterError(f"--gpus-per-trial is {share:g}, must be {SHARES}")
    if share > gpus:
        raise ClusterError(f"--gpus-per-trial asks for {share:g} GPUs, there are {gpus:g}; leave it out")
    of_nodes = gpus_of_nodes or [gpus]
    if share > max(of_nodes):
        raise ClusterError(f"a trial asks for {share:g} GPUs of one machine, none has more than {max(of_nodes):g}")
    places = _gpu_places(of_nodes, share) if share else max(1, min(cpus, concurrent or CONCURRENT_ON_CPU))
    if cpus_per_trial is not None:
        return _by_hand(cpus, cpus_per_trial, share, places if share else cpus, concurrent, largest_node, missing)
    together = max(1, min(concurrent or places, places, missing or places))
    return Share(together, max(1, min(cpus // together, largest_node or cpus)), share)


def _by_hand(
    cpus: int, each: int, share: float, places: int, concurrent: int | None, largest: int | None, missing: int | None
) -> Share:
    if each > (largest or cpus):
        raise ClusterError(f"resources.cpu is {each}, no node has more than {largest or cpus} cores")
    places = min(places, cpus // each)
    return Share(max(1, min(concurrent or places, places, missing or places)), each, share)


def _gpu_places(nodes: Sequence[float], share: float) -> int:
    if share > 1:
        return sum(int(gpus // share) for gpus in nodes)
    # A trial's share lies on one GPU: of 0.4 there are two on each, not five on two.
    return int(sum(nodes)) * int(1 / share + 1e-9)
