"""Who sits where: from the nodes that Ray has, and what the space says of `resources`, to seats for trials."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from lesion.footprint import Footprint
from lesion.sharing import bytes_of
from search.cluster import alive_nodes
from search.errors import ClusterError
from search.places import cores_beside, resources_for
from search.probes import POLL, Key, Probes, measured, named
from search.seats import Alike, Kind, Machine, Measured, Seats
from search.space.resources import Resources, is_share

Tell = Callable[[str], object]
Pause = Callable[[], object]
NO_GPU = "no GPU here: trials train on CPU cores"
TYPE, ADDRESS, HEAD = "accelerator_type:", "node:", "node:__internal_head__"
"""How Ray calls the resources that say which GPU a node has, where it is, and that it is the head."""
SLIVER = 0.001
"""Of such a resource, of which a node has 1: enough to be there."""
PATIENCE = 180
"""Seconds that the memory of GPUs is waited for."""


def seats_for(
    asked: Resources,
    keys: Callable[[], Sequence[Key]],
    cache: Path,
    *,
    concurrent: int | None,
    gpus_per_trial: float | None,
    missing: int,
    tell: Tell,
    pause: Pause = lambda: None,
    alone: bool = True,
) -> Seats:
    """Seats on the Ray session that is joined; `concurrent` and `gpus_per_trial` overrule what is `asked`.

    `keys` tells what is to be measured where that is asked for, and `cache` is where it is kept; `alone` says that the
    session is of this machine, which will not get a GPU.

    `tell` hears what is measured, and that there is no GPU where none was ruled out; `pause` is called while something
    is measured, and raises where the session is to end.
    """
    nodes = alive_nodes()
    gpus = sum(node.get("GPU", 0.0) for node in nodes)
    wanted = gpus_per_trial if gpus_per_trial is not None else asked.gpu
    on_cpus = not gpus or wanted == 0
    if not gpus and wanted != 0 and is_share(wanted or 0) and (alone or gpus_per_trial is None):
        tell(NO_GPU if alone else f"{NO_GPU}; --gpus-per-trial 1 waits for a machine with one")
        wanted = 0.0
    if asked.auto and not on_cpus and gpus_per_trial is None:
        seats = measured_seats(nodes, keys(), cache, tell, pause)
        seats.concurrent = max(1, min(seats.concurrent, concurrent or seats.concurrent, missing))
        return seats
    memory = 0.0
    if asked.auto and on_cpus:
        found = Probes(cache, "cpu", partial(measured, pause=pause)).probe(keys(), tell)
        memory = max((each.host_bytes for each in found), default=0.0)
    share = resources_for(nodes, concurrent, wanted, missing, asked.cpu, memory)
    if share.concurrent < resources_for(nodes, concurrent, wanted, missing, asked.cpu).concurrent:
        tell(f"memory holds {share.concurrent} trials at a time")
    return Alike(
        share.concurrent,
        share.cpus,
        share.gpus,
        lambda nodes, left: resources_for(nodes, concurrent, share.gpus, left, asked.cpu, memory),
    )


def measured_seats(
    nodes: list[Mapping[str, float]], keys: Sequence[Key], cache: Path, tell: Tell, pause: Pause
) -> Measured:
    """Seats by footprint; probes run on a node of each kind of GPU, before any trial holds one.

    What cannot be measured, or does not fit on any GPU in one piece, gets a whole one of the largest kind.
    """
    memory = _memory_of(nodes, tell, pause)
    kinds = kinds_of(nodes, lambda node: memory.get(machine_of(node), 0))
    if not kinds:
        raise ClusterError(
            "no GPU of the cluster says how much memory it has, so nothing can be measured there; see 'nvidia-smi' on "
            "its machines; --gpus-per-trial 1 searches on them without measuring, --gpus-per-trial 0 on CPUs"
        )
    largest = max(kinds, key=lambda kind: kind.bytes)
    # What a training reserves depends little on the GPU; the largest one measures, so that everything fits.
    unknown = Footprint(host_bytes=0, device_bytes=largest.bytes, images_per_second=0.0, busy=1.0)
    probes = Probes(cache, largest.accelerator, _on(largest.accelerator, pause), otherwise=unknown)
    for key, found in zip(keys, probes.probe(keys, tell), strict=True):
        if bytes_of(found) > largest.bytes and found != unknown:
            tell(
                f"{named(key)}, does not fit on {_named(largest.accelerator)} in one "
                "piece: each of its trials gets a whole one and cuts its batches"
            )
    return Measured(kinds, probes.of, memory)


def machine_of(node: Mapping[str, float]) -> Machine:
    """The names by which Ray is asked for this very machine, and for its kind of GPU.

    >>> machine_of({"CPU": 8, "GPU": 1, "node:10.0.0.2": 1, "accelerator_type:T4": 1, "node:__internal_head__": 1})
    ('accelerator_type:T4', 'node:10.0.0.2')
    """
    return tuple(sorted(name for name in node if name.startswith((TYPE, ADDRESS)) and name != HEAD))


def kinds_of(nodes: list[Mapping[str, float]], memory: Callable[[Mapping[str, float]], int]) -> list[Kind]:
    """GPUs by kind, each with what the poorest of its nodes has: cores, main memory, and its own.

    Ray calls GPUs of different memory by one name. `memory` knows the bytes of the smallest GPU of a node; one of which
    it says 0 is left out.
    """
    found: dict[str, list[Mapping[str, float]]] = defaultdict(list)
    for node in nodes:
        if node.get("GPU", 0.0) >= 1 and memory(node):
            found[_kind_of(node)].append(node)
    return [
        Kind(
            accelerator=name,
            gpus=int(sum(node["GPU"] for node in group)),
            bytes=min(map(memory, group)),
            cpus=cores_beside(group),
            host_bytes=_host_bytes(group),
        )
        for name, group in sorted(found.items())
    ]


def _kind_of(node: Mapping[str, float]) -> str:
    return next((name.removeprefix(TYPE) for name in node if name.startswith(TYPE)), "")


def _host_bytes(nodes: Iterable[Mapping[str, float]]) -> int:
    """Main memory beside a GPU, where it is least."""
    return int(min(node.get("memory", 0.0) / node["GPU"] for node in nodes))


def _memory_of(nodes: list[Mapping[str, float]], tell: Tell, pause: Pause) -> dict[Machine, int]:
    """What `ask_memory` is answered by each node with GPUs; 0 where there is no answer, of which `tell` hears."""
    asked = [(node, ask_memory(node)) for node in nodes if node.get("GPU", 0.0) >= 1]
    found: dict[Machine, int] = {}
    deadline = time.monotonic() + PATIENCE
    for node, answer in asked:
        machine = machine_of(node)
        try:
            found[machine] = int(_answered(answer, pause, deadline))
        except ClusterError as error:
            found[machine] = 0
            address = next((f" on {name.removeprefix(ADDRESS)}" for name in machine if name.startswith(ADDRESS)), "")
            kind = _named(_kind_of(node))
            tell(f"{kind}{address} does not say how much memory it has, and is not counted: {error}")
    return found


def ask_memory(node: Mapping[str, float]) -> Any:
    """Begin to ask a machine for the memory of the smallest of its GPUs, in bytes; waits for none to be free."""
    bound = dict.fromkeys(machine_of(node), SLIVER)
    # Ray hides no GPU from a task that asks for none; a process that has seen all of them must train no trial.
    task = ray.remote(num_cpus=0, num_gpus=0, resources=bound, max_retries=0, max_calls=1)(_gpu_memory)
    return task.remote(int(node["GPU"]))


def _named(accelerator: str) -> str:
    return accelerator or "a GPU that Ray does not know"


def _gpu_memory(gpus: int) -> int:
    import torch  # noqa: PLC0415 - on the node, not here

    return min(int(torch.cuda.get_device_properties(each).total_memory) for each in range(gpus))


def _on(accelerator: str, pause: Pause) -> Callable[[Key], Footprint]:
    def measure(key: Key) -> Footprint:
        found: Footprint = _ask(pause, accelerator, measured, key, "cuda")
        return found

    return measure


def _ask(pause: Pause, accelerator: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Run `function` with one GPU of a kind to itself; ClusterError says what it raised, or that its machine died.

    `pause` is called meanwhile, and ends it by raising.
    """
    bound = {f"{TYPE}{accelerator}": SLIVER} if accelerator else {}
    task = ray.remote(num_cpus=1, num_gpus=1, resources=bound, max_retries=0)(function)
    return _answered(task.remote(*arguments), pause)


def _answered(answer: Any, pause: Pause, deadline: float = math.inf) -> Any:
    try:
        while not ray.wait([answer], timeout=POLL)[0]:
            pause()
            if time.monotonic() > deadline:
                raise ClusterError(f"there was no answer within {PATIENCE} s")
    except BaseException:
        ray.cancel(answer, force=True)
        raise
    try:
        return ray.get(answer)
    except RayError as error:
        raise ClusterError(_words(error)) from error


def _words(error: RayError) -> str:
    """What went wrong on another machine, in a line."""
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, ClusterError):
        return str(cause)
    first, *_ = str(cause).strip().splitlines() or [""]
    return f"{type(cause).__name__}: {first}"
