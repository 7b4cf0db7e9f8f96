"""``resources:``: what one trial holds, by hand or as measured; how a search runs, not what it is.

resources: auto                 # memory and use of the device are measured once, and as many trials run as fit
resources: {cpu: 2, gpu: 0.5}   # by hand: cores and GPUs of a trial; a fraction shares a GPU
resources: {cpu: 8, gpu: 2}     # a trial trains on two GPUs of one machine at once
"""

from __future__ import annotations

from dataclasses import dataclass

from lesion.errors import unknown
from search.space.yaml_tree import Mistakes, Node

KEYS = ("cpu", "gpu")
SHARES = "a share of a GPU (0.5), a whole number of GPUs of one machine (1, 2), or 0"
WANTED = "resources must be auto, or what a trial holds: {cpu: 2, gpu: 0.5}"


@dataclass(frozen=True)
class Resources:
    """Cores and GPUs of a trial, None where the machine decides; `auto` measures them."""

    cpu: int | None = None
    gpu: float | None = None
    auto: bool = False


def read_resources(node: Node | None, mistakes: Mistakes) -> Resources:
    """What `node` says of them; mistakes are noted."""
    if node is None or node.value is None:
        return Resources()
    if node.value == "auto":
        return Resources(auto=True)
    if not node.mapping:
        mistakes.add(node.place, WANTED)
        return Resources()
    for key in node.mapping:
        if key not in KEYS:
            mistakes.add(node.key_place(key), unknown("resource", key, KEYS))
    return Resources(_cores(node.mapping.get("cpu"), mistakes), _gpus(node.mapping.get("gpu"), mistakes))


def _cores(node: Node | None, mistakes: Mistakes) -> int | None:
    if node is None:
        return None
    if isinstance(node.value, bool) or not isinstance(node.value, int) or not 1 <= node.value <= 4096:
        mistakes.add(node.place, "resources.cpu must be a whole number of cores, at least 1")
        return None
    return node.value


def _gpus(node: Node | None, mistakes: Mistakes) -> float | None:
    if node is None:
        return None
    value = node.value
    if isinstance(value, bool) or not isinstance(value, int | float) or not is_share(float(value)):
        mistakes.add(node.place, f"resources.gpu must be {SHARES}")
        return None
    return float(value)


def is_share(gpus: float) -> bool:
    """Whether a trial can hold so many GPUs.

    >>> [is_share(gpus) for gpus in (0, 0.5, 1, 2, 1.5, -1)]
    [True, True, True, True, False, False]
    """
    # Half of a second GPU would be booked and lie idle: ranks are as fast as the slowest of them.
    return 0 <= gpus <= 1 or (gpus > 1 and float(gpus).is_integer())
