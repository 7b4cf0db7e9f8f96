"""What a cluster needs, checked from every machine of it at once: a cell a machine and column, a fix for each red one.

The checks go in rounds, because some need two machines: all listen, then each connects to the others; all write into
the workspace, then each reads what the others wrote. Before Ray runs, the agents listen on its ports in its place.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from search.remote import verdicts
from search.remote.asking import Agents, asking
from search.remote.cluster_file import GCS_PORT, NODE_PORTS, WORKER_PORTS, Cluster
from search.remote.requirements import required
from search.remote.verdicts import Cell

COLUMNS = ("ssh", "python", "packages", "ray", "ports", "gpus", "memory", "storage", "tracking", "clock", "token")


@dataclass(frozen=True)
class NodeReport:
    """One machine: `cells` by column, and its role, "head" or "worker"."""

    address: str
    role: str
    cells: Mapping[str, Cell]

    @property
    def good(self) -> bool:
        """Whether no cell is red."""
        return not any(cell.bad for cell in self.cells.values())


Tell = Callable[[int, int, str], None]


def check_cluster(cluster: Cluster, tell: Tell = lambda done, total, what: None) -> list[NodeReport]:
    """Look at every machine of `cluster`, the head first; takes seconds, and at most some minutes where one hangs."""
    steps = ("ssh", "ports", "storage", "clock")
    with asking(cluster) as agents:
        tell(0, len(steps), "checks")
        seen = agents.ask("look", packages=sorted(required()))
        tell(1, len(steps), "checks")
        lost = _unreachable(cluster, agents, {address: _inside(cluster, address, seen) for address in seen})
        tell(2, len(steps), "checks")
        storage = _storage(cluster, agents)
        tell(3, len(steps), "checks")
        offsets = _offsets(agents)
        tracking = agents.ask_each("track", {cluster.head: {"url": cluster.settings["MLFLOW_TRACKING_URI"]}})
        problems = agents.problems()
    tell(4, len(steps), "checks")
    tokens = verdicts.tokens({address: each["token"] for address, each in seen.items()})
    running = {address: each["ray"] for address, each in seen.items()}
    reports = []
    for address in cluster.nodes:
        role = "head" if address == cluster.head else "worker"
        if address in problems or address not in seen:
            problem = problems.get(address, "no answer")
            cells = dict.fromkeys(COLUMNS, verdicts.NOTHING) | {"ssh": verdicts.ssh(cluster, address, problem)}
        else:
            look = seen[address]
            cells = {
                "ssh": verdicts.GOOD,
                "python": verdicts.python(cluster, look),
                "packages": verdicts.packages(look, required()),
                "ray": verdicts.ray(cluster, address, running),
                "ports": verdicts.ports(cluster, address, lost.get(address, [])),
                "gpus": verdicts.gpus(cluster, look["gpus"]),
                "memory": verdicts.memory(look["memory"]),
                "storage": verdicts.storage(cluster, *storage.get(address, (None, False))),
                "tracking": verdicts.tracking(cluster, address, tracking),
                "clock": verdicts.clock(offsets.get(address)),
                "token": tokens[address],
            }
        reports.append(NodeReport(address, role, {name: cells[name] for name in COLUMNS}))
    return reports


def _inside(cluster: Cluster, address: str, seen: Mapping[str, Mapping[str, Any]]) -> str:
    """The address under which the other machines of the cluster know one."""
    if address == cluster.head and cluster.inside is not None:
        return cluster.inside
    return address if cluster.local else str(seen[address]["address"])


def _unreachable(cluster: Cluster, agents: Agents, inside: Mapping[str, str]) -> dict[str, list[tuple[str, int, str]]]:
    """By the address that cannot be reached: from where, which port, why."""
    ports = {address: _ports(cluster, address) for address in inside}
    agents.ask_each("listen", {address: {"ports": own} for address, own in ports.items()})
    others = {
        here: {"places": [(inside[there], port) for there, own in ports.items() if there != here for port in own]}
        for here in ports
    }
    outside = {inner: address for address, inner in inside.items()}
    lost: dict[str, list[tuple[str, int, str]]] = {}
    for here, missing in agents.ask_each("reach", others).items():
        for there, port, why in missing:
            lost.setdefault(outside[there], []).append((here, port, why))
    return lost


def _ports(cluster: Cluster, address: str) -> list[int]:
    return [*([GCS_PORT] if address == cluster.head else []), *NODE_PORTS, *WORKER_PORTS]


def _storage(cluster: Cluster, agents: Agents) -> dict[str, tuple[str | None, bool]]:
    """By address: why it cannot write into the workspace, and whether it sees the head's file, and the head its."""
    mark = f".check-{os.getpid()}-{int(time.time())}"
    names = {address: f"{mark}-{number}" for number, address in enumerate(agents.agents)}
    written = agents.ask_each("write", {address: {"name": name} for address, name in names.items()})
    whole = [names[address] for address, problem in written.items() if problem is None]
    unseen = agents.ask("read", names=whole)
    agents.ask_each("remove", {address: {"name": name} for address, name in names.items()})
    by_head = unseen.get(cluster.head, [])
    return {
        address: (written.get(address), names[cluster.head] not in missing and names[address] not in by_head)
        for address, missing in unseen.items()
    }


def _offsets(agents: Agents) -> dict[str, tuple[float, float]]:
    """By address: seconds that its clock is ahead of the middle of all, and how uncertain that is."""
    # Not asked through the pool all at once: what waits there would look like a slow network.
    measured: dict[str, tuple[float, float]] = {}
    for address, each in agents.agents.items():
        before = time.time()
        told = each.ask("clock")
        after = time.time()
        if told is not None:
            measured[address] = (told - (before + after) / 2, (after - before) / 2)
    clocks = sorted([0.0, *(ahead for ahead, _ in measured.values())])
    middle = clocks[len(clocks) // 2]
    return {address: (ahead - middle, doubt) for address, (ahead, doubt) in measured.items()}
