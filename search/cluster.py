"""Where trials run: Ray started or joined, and the machines that it has."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray
from ray._private import ray_constants

from lesion.data.prepare import cores
from search.errors import ClusterError, ClusterStartError

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
    # Ray starts a Python process for each core as the driver comes, and trials, which are actors, use none of them:
    # 0.4 s of processor time and some 100 MB each.
    "RAY_prestart_worker_first_driver": "0",
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
OBJECT_STORE = 80 * 1024 * 1024
"""Bytes; trials exchange numbers, their images are mapped from files."""


@contextmanager
def joined(address: str | None) -> Iterator[None]:
    """A Ray session: the cluster at `address`, else one on this machine that ends with the context.

    A session that the caller has started already, in a notebook, is used and left alone.
    """
    for name, value in QUIET.items():
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
