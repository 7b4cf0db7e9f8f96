"""``resources:``: what one trial holds, by hand or as measured; how a search runs, not what it is.

resources: auto                 # memory and use of the device are measured once, and as many trials run as fit
resources: {cpu: 2, gpu: 0.5}   # by hand: cores and GPUs of a trial; a fraction shares a GPU
"""

from __future__ import annotations

from dataclasses import dataclass

from lesion.errors import unknown
from search.space.yaml_tree import Mistakes, Node

KEYS = ("cpu", "gpu")
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
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= float(value) <= 1:  # type: ignore[arg-type]
        # More would be booked and lie idle: a training uses one device.
        mistakes.add(node.place, "resources.gpu must be 1, a share of a GPU (0.5), or 0: a trial uses one at most")
        return None
    return float(value)  # type: ignore[arg-type]
