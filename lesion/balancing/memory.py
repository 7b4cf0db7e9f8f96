"""Memory: what is needed is estimated first, and refused with the figure when it is not there."""

from __future__ import annotations

from pathlib import Path

import psutil

from lesion.errors import SettingError

CGROUP = Path("/sys/fs/cgroup")
"""Where Linux says how much a container may use (version 2 of control groups)."""


def available_memory(cgroup: Path = CGROUP) -> int:
    """Bytes that this process can still take without swapping: the machine's, or its container's if that is less."""
    machine = int(psutil.virtual_memory().available)
    try:
        limit = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text())
        reclaimable = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())["inactive_file"]
    except (OSError, ValueError, KeyError):  # no container, or "max": no limit
        return machine
    return max(0, min(machine, limit - used + int(reclaimable)))


def require_memory(needed: int, available: int, purpose: str, remedy: str) -> None:
    """Raise SettingError with both figures when `needed` bytes are more than are `available`."""
    if needed > available:
        raise SettingError(
            f"{purpose} needs about {shown_bytes(needed)} of memory, {shown_bytes(available)} are available: {remedy}"
        )


def shown_bytes(count: int) -> str:
    """Bytes in the largest unit that keeps a figure before the point.

    >>> shown_bytes(3_500_000_000)
    '3.26 GiB'
    """
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count} bytes"
