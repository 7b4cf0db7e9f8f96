"""What tests see of a cluster: its nodes and its study, as a user asks for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hosts
from conftest import ON_PATH

LESION = f"{ON_PATH}; lesion-search"
THERE = "--cluster cluster.yaml"


def checkpoints(lab: hosts.Lab) -> Path:
    """Where the trials of the study ``tiny`` write."""
    return lab.shared / "workspace" / "checkpoints" / "tiny"


def addresses_alive(lab: hosts.Lab) -> list[str]:
    """Addresses of the nodes that Ray takes for alive."""
    done = lab["head"].run(f"{ON_PATH}; RAY_AUTH_MODE=token ray list nodes --format json", check=False)
    if done.returncode:
        return []
    return sorted(node["node_ip"] for node in json.loads(done.stdout) if node["state"] == "ALIVE")


def trials(lab: hosts.Lab) -> dict[int, dict[str, Any]]:
    """The trials of the study ``tiny`` by number, asked for from the desk; none while it does not answer."""
    done = lab["desk"].run(f"{LESION} status tiny --top 0 --json {THERE}", check=False)
    found = json.loads(done.stdout)["trials"] if done.returncode == 0 else []
    return {trial["trial"]: trial for trial in found}


def complete(found: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Those that have ended."""
    return {number: trial for number, trial in found.items() if trial["state"] == "complete"}


def ran_on(lab: hosts.Lab) -> list[dict[str, str]]:
    """What trials have noted at their start, in order: host, seed and share of a GPU."""
    file = checkpoints(lab) / "hosts.txt"
    lines = file.read_text().splitlines() if file.exists() else []
    return [dict(zip(("host", "seed", "gpus"), line.split(), strict=True)) for line in lines]


def files_of(lab: hosts.Lab, number: int) -> dict[str, tuple[int, bytes]]:
    """Everything in the folder of a trial: when it was written, and what."""
    folder = checkpoints(lab) / str(number)
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in found}
