"""Whether a machine for a trial may still come to a cluster that has none: what its autoscaler may start, or starts.

Ray keeps a ready-made answer for nobody, so it is read where `ray up` leaves it: in a file on the head, where searches
are driven from. A cluster that was started by hand has no such file, and nobody who would start machines.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BOOTSTRAP = "~/ray_bootstrap_config.yaml"
"""The cluster's file, completed, as `ray up` copies it to the head; JSON."""
KUBERAY = "RAY_USAGE_STATS_KUBERAY_IN_USE"
"""Set in every pod of KubeRay's, whose autoscaler reads the cluster elsewhere."""
JOINING = 180.0
"""Seconds that the machines of a fixed list have to join after `ray up`."""


def may_come(nodes: int, seconds: float, shape: Mapping[str, float]) -> bool:
    """Whether a machine with room of `shape` may join the cluster of `nodes`, after `seconds` of waiting."""
    if KUBERAY in os.environ:
        return True
    kinds = _kinds()
    if any(kind.get("max_workers") and _has(kind.get("resources") or {}, shape) for kind in kinds):
        return True
    # Machines of one's own come all at once, and what they have shows when they are there.
    unknown = sum(int(kind.get("min_workers") or 0) for kind in kinds if not kind.get("resources"))
    return nodes < 1 + unknown and seconds < JOINING


def _has(resources: Mapping[str, Any], shape: Mapping[str, float]) -> bool:
    # A file may leave cores to be found out; who leaves GPUs out has none.
    known = {"CPU": math.inf, **resources}
    return all(float(known.get(name) or 0) >= least for name, least in shape.items())


def _kinds() -> list[Mapping[str, Any]]:
    """The kinds of machines that the autoscaler knows; none where there is no autoscaler."""
    try:
        config = json.loads(Path(BOOTSTRAP).expanduser().read_text())
        return list(config["available_node_types"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
