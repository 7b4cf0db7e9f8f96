"""Ray's own autoscaler on one machine: the nodes that it starts are processes, and so are those that it lets go.

`ray.cluster_utils.AutoscalingCluster` ends every Ray of the machine before it begins, and reads a file that Ray's wheel
lacks. This is the same provider of nodes, called from outside, in a cluster with a port and a token of its own.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.util
from drivers import WORKERS, alive, offspring, wait_for
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID as HEAD

PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
IDLE = 9.0
"""Seconds after which a node that does nothing goes."""
COMMANDS = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
STORE = 80 * 2**20


@dataclass(frozen=True)
class Autoscaled:
    """A head without cores; `environment` is what a driver needs to join it at `address`."""

    address: str
    environment: Mapping[str, str]
    head: subprocess.Popen[bytes]

    @property
    def nodes(self) -> int:
        """Nodes beside the head that are there now."""
        return len(offspring(self.head.pid, "raylet/raylet")) - 1


@contextmanager
def autoscaled(most: int, **resources: float) -> Iterator[Autoscaled]:
    """A cluster that grows to `most` nodes with these `resources`, and shrinks to none."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # pytest's own paths are too long for sockets
    address = f"{ray.util.get_node_ip_address()}:{_free_port()}"
    (folder / "cluster.json").write_text(json.dumps(_config(address, most, resources)))
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    environment = {
        **os.environ, **WORKERS, **token, "RAY_FAKE_CLUSTER": "1", "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": HEAD, "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_USAGE_STATS_ENABLED": "0",
    }  # fmt: skip
    command = [
        str(Path(sys.executable).with_name("ray")), "start", "--head", "--block",
        f"--port={address.rpartition(':')[2]}", "--num-cpus=0", "--num-gpus=0",
        f"--autoscaling-config={folder}/cluster.json", f"--temp-dir={folder}", f"--object-store-memory={STORE}",
        f"--ray-client-server-port={_free_port()}", "--include-dashboard=false", "--dashboard-agent-listen-port=0",
    ]  # fmt: skip
    log = folder / "head.log"
    with log.open("wb") as file:
        head = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: "will now block" in log.read_text() or head.poll() is not None)
        assert head.poll() is None, log.read_text()
        yield Autoscaled(address, token, head)
    finally:
        _end(head)
        shutil.rmtree(folder, ignore_errors=True)


def _config(address: str, most: int, resources: Mapping[str, float]) -> dict[str, Any]:
    node = {"resources": {**resources, "object_store_memory": STORE}, "node_config": {}}
    return {
        "cluster_name": "fake", "max_workers": most, "idle_timeout_minutes": IDLE / 60, "auth": {},
        "provider": {
            "type": "external", "module": PROVIDER, "gcs_address": address, "head_node_id": HEAD,
            "use_node_id_as_ip": True, "disable_node_updaters": True, "disable_launch_config_check": True,
            "launch_multiple": True,
        },
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": {**node, "min_workers": 0, "max_workers": most},
        },
        **{f"{name}_commands": [] for name in COMMANDS}, "file_mounts": {}, "cluster_synced_files": [],
    }  # fmt: skip


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("", 0))
        return int(listener.getsockname()[1])


def _end(head: subprocess.Popen[bytes]) -> None:
    """SIGTERM for the head, which drains; whatever of its processes is left after that is killed."""
    children = offspring(head.pid)
    head.terminate()
    with suppress(subprocess.TimeoutExpired):
        head.wait(30)
    head.kill()
    head.wait()
    for pid in filter(alive, children):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
