"""What was seen on a machine, judged: a cell of the table each, with the fix where it is red."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from search.remote.cluster_file import Cluster
from search.remote.ssh import OWN

SLACK = 2.0
"""Seconds that two clocks may differ: lock files and time stamps of checkpoints are compared across machines."""
HELD = 0.1
"""Share of a GPU's memory in use from which on it counts as taken, where nobody is named."""
ALIKE = ("ray", "lesion-search", "torch", "optuna", "mlflow", "numpy")
"""Packages that must be of one version: what they write on one machine is read on another."""


@dataclass(frozen=True)
class Cell:
    """One cell: `text` in few words; `fix` says what to do, and is there exactly where the cell is red."""

    text: str
    fix: str = ""

    @property
    def bad(self) -> bool:
        """Whether it is red."""
        return bool(self.fix)


GOOD = Cell("ok")
NOTHING = Cell("–")


def ssh(cluster: Cluster, address: str, problem: str) -> Cell:
    """A machine that cannot be asked."""
    if "future feature annotations" in problem or "No such file" in problem or "not found" in problem:
        return Cell("no Python", f"install Python 3.11 or newer on {address}, then 'ray up -y {cluster.path}'")
    key = f"-i {cluster.key} " if cluster.key else ""
    return Cell(
        "no answer",
        f"{problem}; try 'ssh {key}{cluster.user}@{address}', see that sshd runs there, that port 22 is open, and that "
        "the key is in the account's ~/.ssh/authorized_keys",
    )


def python(cluster: Cluster, look: Mapping[str, Any]) -> Cell:
    """The Python of the environment: the very version of this machine, which Ray insists on."""
    found, wanted = look["python"], platform.python_version()
    if not look["in_environment"]:
        return Cell(
            f"{found}, no environment",
            f"no environment at {look['environment']}, {look['executable']} answers instead: 'ray up' makes it",
        )
    if found != wanted:
        return Cell(
            found,
            f"it is Python {found}, here it is {wanted}, and Ray joins equal ones only: have PYTHON in {cluster.path} "
            f"name a Python {wanted}, remove {look['environment']} there, then 'ray up -y {cluster.path}'",
        )
    return Cell(found)


def packages(look: Mapping[str, Any], wanted: Mapping[str, str | None]) -> Cell:
    """Packages that are missing, or of another version where that matters."""
    found = look["packages"]
    # Without -B make takes an environment that it has finished once for whole; python3 may be too old for it.
    install = f"run 'make -B install VENV={look['environment']} PYTHON={look['executable']}' in ~/lesion-search there"
    missing = [name for name, here in wanted.items() if here is not None and found.get(name) is None]
    if missing:
        return Cell(f"no {_some(missing)}", f"not installed: {', '.join(missing)}; {install}")
    other = [name for name in ALIKE if wanted.get(name) and found[name] != wanted[name]]
    if other:
        words = ", ".join(f"{name} {found[name]} (here {wanted[name]})" for name in other)
        return Cell(f"other {_some(other)}", f"other versions: {words}; {install}, or the like here")
    if any(gpu for gpu in look["gpus"]) and str(found.get("torch")).endswith("+cpu"):
        return Cell(
            "torch for CPUs", f"torch {found['torch']} cannot use the GPUs: install the CUDA build of torch there"
        )
    return Cell(f"{sum(version is not None for version in found.values())} found")


def ray(cluster: Cluster, address: str, running: Mapping[str, Collection[str]]) -> Cell:
    """Whether Ray runs on a machine; nothing to say before it runs on the head. `running` has its processes."""
    if "gcs_server" not in running.get(cluster.head, ()):
        return NOTHING
    if "raylet" in running[address]:
        return GOOD
    return Cell(
        "not running",
        "Ray runs on the head and not here; after 'ray up' that takes some minutes. monitor.out and monitor.err in "
        "/tmp/ray/session_latest/logs on the head say why it does not start, "
        f"and 'ray up -y {cluster.path}' tries again",
    )


def ports(cluster: Cluster, address: str, lost: list[tuple[str, int, str]]) -> Cell:
    """Ports of a machine that others cannot connect to."""
    if not lost:
        return GOOD
    numbers = sorted({port for _, port, _ in lost})
    sources = sorted({source for source, _, _ in lost})
    reasons = ", ".join(sorted({why for _, _, why in lost}))
    return Cell(
        f"{', '.join(map(str, numbers))} closed",
        f"port {', '.join(map(str, numbers))} of {address} cannot be reached from {', '.join(sources)} ({reasons}): "
        "open 6379 to 6383 and 10002 to 19999 among the machines of the cluster in their firewalls",
    )


def gpus(cluster: Cluster, found: list[Mapping[str, Any]] | str) -> Cell:
    """The GPUs, and those that somebody else holds."""
    if isinstance(found, str):
        return Cell("driver fails", f"{found}: reinstall the driver or restart the machine")
    taken = [gpu for gpu in found if _taken(gpu)]
    if taken:
        words = "; ".join(f"GPU {gpu['index']}: {_holder(gpu)}" for gpu in taken)
        spare = ",".join(gpu["index"] for gpu in found if not _taken(gpu))
        line = f"export CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES={spare}"
        return Cell(
            f"{len(taken)} of {len(found)} taken",
            f"{words}; wait for it or end it, or leave the GPU out: '{line}' in {OWN} there, then "
            f"'ray up -y {cluster.path}'",
        )
    kinds = Counter(f"{gpu['name']} {(gpu['total'] or 0) / 1024:.0f} GB" for gpu in found)
    return Cell(", ".join(f"{count} × {kind}" for kind, count in kinds.items()) or "none")


def memory(found: Mapping[str, int]) -> Cell:
    """Memory of the machine; a note, never red."""
    return Cell(f"{found['free'] / 2**30:.0f} of {found['total'] / 2**30:.0f} GB free")


def storage(cluster: Cluster, problem: str | None, same: bool) -> Cell:
    """The workspace: written here, and the `same` folder as the head's."""
    folder = cluster.settings["LESION_WORKSPACE"]
    if problem is not None:
        return Cell("cannot write", f"{folder}: {problem}: mount the shared storage there, writable for {cluster.user}")
    if not same:
        return Cell(
            "not shared",
            f"{folder} is another folder than the head's, neither sees the other's files: is the share mounted?",
        )
    return Cell("shared")


def tracking(cluster: Cluster, address: str, answers: Mapping[str, str | None]) -> Cell:
    """MLflow, as the head reaches it; trials do not talk to it."""
    if address not in answers:
        return NOTHING
    problem = answers[address]
    if problem is None:
        return GOOD
    url = cluster.settings["MLFLOW_TRACKING_URI"]
    return Cell(
        "no answer",
        f"MLflow does not answer at {url} ({problem}): is the cluster up? Its log is ~/lesion-tracking.log on the "
        f"head; 'ray up -y {cluster.path}' starts it again",
    )


def clock(offset: tuple[float, float] | None) -> Cell:
    """How far a clock is from the others."""
    if offset is None:
        return NOTHING
    ahead, doubt = offset
    if abs(ahead) <= SLACK + doubt:
        return GOOD
    return Cell(
        f"{ahead:+.0f} s",
        f"its clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the others: "
        "'sudo timedatectl set-ntp true' there",
    )


def tokens(found: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Cell]:
    """Ray's token on each machine: there, the same, and for its owner alone."""
    prints = Counter(each["print"] for each in found.values() if each is not None)
    usual = prints.most_common(1)[0][0] if prints else None
    spread = "'ray get-auth-token --generate' where you run 'ray up', which spreads it"
    cells = {}
    for address, each in found.items():
        if each is None:
            cells[address] = Cell("none", f"there is no ~/.ray/auth_token: {spread}")
        elif each["print"] != usual:
            cells[address] = Cell("another", f"its token differs from the others': {spread}")
        elif each["mode"] & 0o077:
            cells[address] = Cell("open to all", "others may read the token: 'chmod 600 ~/.ray/auth_token' there")
        else:
            cells[address] = GOOD
    return cells


def _taken(gpu: Mapping[str, Any]) -> bool:
    if gpu["strangers"]:
        return True
    return not gpu["ours"] and bool(gpu["total"]) and (gpu["used"] or 0) > HELD * gpu["total"]


def _holder(gpu: Mapping[str, Any]) -> str:
    if gpu["strangers"]:
        return f"held by {', '.join(gpu['strangers'])}"
    return f"{gpu['used']} of {gpu['total']} MiB in use by somebody who is not shown"


def _some(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")
