"""How many trials have a place on which machines, and what each of them holds there.

It is reckoned machine by machine: a trial is on one of them, and a share of a GPU lies on one GPU. Of two machines with
32 cores each, three trials get 16 and not 21, of which no machine holds two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from search.errors import ClusterError
from search.space.resources import SHARES, is_share

Resources = Mapping[str, float]
"""What a machine has, or a trial holds, by Ray's names: "CPU", "GPU", "memory" in bytes."""
CONCURRENT_ON_CPU = 4
"""Trials at a time on a machine without GPUs, where it has the cores: more, and each one crawls."""


@dataclass(frozen=True)
class Share:
    """What one trial holds, and how many run at a time; `memory`, in bytes, is reckoned with and not asked of Ray."""

    concurrent: int
    cpus: int
    gpus: float
    memory: float = 0.0

    @property
    def shape(self) -> Resources:
        """What a machine must have for one trial."""
        return {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory}


def places(nodes: Iterable[Resources], shape: Resources, held: Iterable[float] = ()) -> int:
    """How many trials of `shape` fit on `nodes`, each on one of them; a share of a GPU does not span two.

    Those that run are among them, as far as they fit: they hold so many cores each as `held` says, and else the same.

    >>> places([{"CPU": 8, "GPU": 2}, {"CPU": 2}], {"CPU": 2, "GPU": 0.4})
    4
    >>> places([{"CPU": 8, "GPU": 2}, {"CPU": 3}], {"CPU": 2, "GPU": 0})
    5
    >>> places([{"CPU": 16, "GPU": 3}, {"CPU": 16, "GPU": 1}], {"CPU": 4, "GPU": 2})
    1
    >>> places([{"CPU": 32}, {"CPU": 4}], {"CPU": 4}, held=[24, 4])
    4
    """
    cpus = shape.get("CPU", 0.0)
    others = {kind: share for kind, share in shape.items() if share and kind != "CPU"}
    rooms = [
        (node.get("CPU", 0.0), min((_parts(node, kind, share) for kind, share in others.items()), default=None))
        for node in nodes
    ]
    running = list(held)
    # Where all hold the same, it does not matter who sits where.
    placed = 0 if {*running} <= {cpus} else _place(running, rooms)
    return placed + sum(_fitting(cores, parts, cpus) for cores, parts in rooms)


def _parts(node: Resources, kind: str, share: float) -> int:
    has = node.get(kind, 0.0)
    if kind == "GPU" and share < 1:
        return int(has) * int(1 / share + 1e-9)
    return int(has / share + 1e-9)


def _fitting(cores: float, parts: int | None, cpus: float) -> int:
    bounds = [*([int(cores / cpus + 1e-9)] if cpus else []), *([] if parts is None else [parts])]
    return min(bounds, default=0)


def _place(held: Iterable[float], rooms: list[tuple[float, int | None]]) -> int:
    """Take what running trials hold out of `rooms`, each where least is left over, as Ray does; how many fit."""
    placed = 0
    for cpus in sorted(held, reverse=True):
        fitting = [(cores, at) for at, (cores, parts) in enumerate(rooms) if parts != 0 and cores >= cpus]
        if fitting:
            cores, at = min(fitting)
            parts = rooms[at][1]
            rooms[at] = cores - cpus, None if parts is None else parts - 1
            placed += 1
    return placed


def cores_beside(nodes: Iterable[Resources], gpus: float = 1.0) -> int:
    """Cores of a trial on so many GPUs: what the poorest machine has beside them that has so many.

    Every trial fits on every machine then, and takes none of the cores that trials on its other GPUs will need.
    Machines without GPUs lend no cores.

    >>> cores_beside([{"CPU": 16}, {"CPU": 8, "GPU": 1}, {"CPU": 32, "GPU": 2}])
    8
    >>> cores_beside([{"CPU": 8, "GPU": 1}, {"CPU": 16, "GPU": 4}, {"CPU": 30, "GPU": 3}], gpus=2)
    8
    """
    each = max(1.0, gpus)
    having = [node for node in nodes if node.get("GPU", 0.0) >= each]
    return int(min((node.get("CPU", 0.0) / node["GPU"] for node in having), default=0.0) * each + 1e-9)


def resources_for(
    nodes: Sequence[Resources],
    concurrent: int | None = None,
    gpus_per_trial: float | None = None,
    missing: int | None = None,
    cpus_per_trial: int | None = None,
    memory: float = 0.0,
) -> Share:
    """Share the cores and GPUs of `nodes` out: a GPU a trial where there are any, else cores.

    `gpus_per_trial` may be a fraction, or 0 to stay on CPUs. A trial needs `memory` bytes of main memory; where no
    machine has them, one runs on each that has most. No more places are made than trials are `missing`: the last ones
    get the cores that nobody else will use, on GPUs those beside their own; `cpus_per_trial` overrules that.
    Raises ClusterError where no machine has room for one.

    >>> resources_for([{"CPU": 16, "GPU": 2}])
    Share(concurrent=2, cpus=8, gpus=1.0, memory=0.0)
    >>> resources_for([{"CPU": 16, "GPU": 1}], gpus_per_trial=0.25)
    Share(concurrent=4, cpus=4, gpus=0.25, memory=0.0)
    >>> resources_for([{"CPU": 2}], missing=1)
    Share(concurrent=1, cpus=2, gpus=0.0, memory=0.0)
    >>> resources_for([{"CPU": 32}, {"CPU": 32}], concurrent=3)
    Share(concurrent=3, cpus=16, gpus=0.0, memory=0.0)
    >>> resources_for([{"CPU": 16, "GPU": 4}, {"CPU": 12, "GPU": 3}, {"CPU": 4, "GPU": 1}], gpus_per_trial=2)
    Share(concurrent=3, cpus=8, gpus=2.0, memory=0.0)
    """
    if concurrent is not None and concurrent < 1:
        raise ClusterError(f"--concurrent is {concurrent}, must be at least 1")
    share = _gpus_of(nodes, gpus_per_trial)
    least = {"CPU": cpus_per_trial or 1, "GPU": share}
    memory = min(memory, max((node.get("memory", 0.0) for node in nodes if places([node], least)), default=0.0))
    shape = {**least, "memory": memory}
    few = not share and concurrent is None and cpus_per_trial is None
    most = places([_as_few(node) for node in nodes] if few else nodes, shape)
    if cpus_per_trial is not None and not most:
        having = [node.get("CPU", 0.0) for node in nodes if node.get("GPU", 0.0) >= share]
        what = f"node with {share:g} GPUs" if share else "node"
        raise ClusterError(
            f"resources.cpu is {cpus_per_trial}, no {what} has more than {int(max(having, default=0.0))} cores"
        )
    together = max(1, min(most, concurrent or most, missing or most))
    cpus = cpus_per_trial or _cores_for(nodes, shape, together)
    return Share(together, cpus, share, memory)


def _gpus_of(nodes: Sequence[Resources], asked: float | None) -> float:
    """GPUs of a trial, where `asked` can be had."""
    of_nodes = [node.get("GPU", 0.0) for node in nodes]
    gpus = sum(of_nodes)
    share = float(gpus > 0) if asked is None else float(asked)
    if not is_share(share):
        raise ClusterError(f"--gpus-per-trial is {share:g}, must be {SHARES}")
    if share > gpus:
        raise ClusterError(f"--gpus-per-trial asks for {share:g} GPUs, there are {gpus:g}; leave it out")
    if share > max(of_nodes, default=0.0):
        raise ClusterError(f"a trial asks for {share:g} GPUs of one machine, none has more than {max(of_nodes):g}")
    return share


def _as_few(node: Resources) -> Resources:
    return {**node, "CPU": min(node.get("CPU", 0.0), CONCURRENT_ON_CPU)}


def _cores_for(nodes: Sequence[Resources], shape: Resources, together: int) -> int:
    """The most cores with which so many trials have a place; one at least."""
    gpus = shape["GPU"]
    most = cores_beside(nodes, gpus) if gpus else int(max((node.get("CPU", 0.0) for node in nodes), default=0.0))
    return next((cpus for cpus in range(most, 1, -1) if places(nodes, {**shape, "CPU": cpus}) >= together), 1)
