"""Whether every node of a cluster reaches the workspace: the driver writes a token, each node reads and answers it.

Without that a trial on another node would write its checkpoints where nobody finds them, and be lost at its first
interruption.
"""

from __future__ import annotations

import uuid
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search.errors import ClusterError

PATIENCE = 120
"""Seconds for all nodes together."""


def require_reach(folder: Path, seconds: float = PATIENCE) -> None:
    """Raise ClusterError, a line for every node that cannot read and write `folder`; one node alone is not asked."""
    nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    if len(nodes) < 2:
        return
    token = uuid.uuid4().hex
    place = folder / f".reach-{token}"
    place.mkdir()
    try:
        (place / "token").write_text(token)
        problems = _asked({node["NodeID"]: node["NodeManagerAddress"] for node in nodes}, place, token, seconds)
    finally:
        for file in place.iterdir():
            file.unlink()
        place.rmdir()
    if problems:
        raise ClusterError(
            "\n".join(problems)
            + "\nput the workspace on storage that every node mounts at the same path (--workspace), or take them out"
        )


def _asked(nodes: dict[str, str], place: Path, token: str, seconds: float) -> list[str]:
    asked = {
        node: ray.remote(num_cpus=0, max_retries=0)(answer)
        .options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))
        .remote(place, token, node)
        for node in nodes
    }
    ready, _ = ray.wait(list(asked.values()), num_returns=len(asked), timeout=seconds)
    problems = []
    for node, address in nodes.items():
        problem = ray.get(asked[node]) if asked[node] in ready else f"did not answer in {seconds:.0f} s"
        if not problem and not (place / node).is_file():
            problem = f"wrote to another {place.parent} than this machine reads"
        if problem:
            problems.append(f"node {address}: {problem}")
    return problems


def answer(place: Path, token: str, name: str) -> str:
    """On a node: read the token and write an answer beside it; what went wrong in words, or nothing."""
    try:
        if (place / "token").read_text() != token:
            return f"reads another {place.parent}"
        (place / name).write_text(token)
    except OSError as problem:
        return f"cannot read and write {place.parent} ({problem.strerror})"
    return ""
