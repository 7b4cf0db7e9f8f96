"""Whether every node of a cluster reaches the workspace: the driver writes a token, each node reads and answers it.

Without that a trial on another node would write its checkpoints where nobody finds them, and be lost at its first
interruption. Data without an address are read where they lie, in the workspace or elsewhere, and of those with one each
node makes a copy: a node that does not find them, may not read the address or has no room ends the search, and is named
before that takes a trial.
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Callable, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from lesion.data.packed import MANIFEST
from lesion.errors import DataAccessError
from search.errors import ClusterError
from search.workspace import QUESTION

PATIENCE = 120
"""Seconds for all nodes together."""
EVERY = 3.0
"""Seconds between two looks for nodes that have joined."""
FIX = "put the workspace on storage that every node mounts at the same path (--workspace), or take them out"
DATA = "does not read the data"
DATA_FIX = (
    "put the data on storage that every node mounts at the same path, or give their address, from which each node has "
    "a copy (--data file:///shared/…, s3://…)"
)
SOURCE = "cannot copy the data"
SOURCE_FIX = (
    "give those nodes what the address asks for (a role, ~/.aws, ~/.config/gcloud; an environment of 'make install') "
    "and room for the data (LESION_NODE_DATA names the folder), or take them out"
)


@dataclass(frozen=True)
class Data:
    """The packed set at `path`, of this content hash, that trials read where it lies; or at the address `source`."""

    path: Path
    content_hash: str
    source: str = ""


def require_reach(folder: Path, data: Data | None = None, seconds: float = PATIENCE) -> None:
    """Raise ClusterError, a line for every node that cannot read and write `folder`, or does not find `data`.

    One node alone is not asked.
    """
    nodes = _alive()
    if len(nodes) < 2:
        return
    question = Question(folder, nodes, data)
    try:
        problems = question.problems(seconds)
    finally:
        question.end()
    source = f": it may wait for {folder}, or for {data.source}" if data and data.source else ""
    silent = [f"node {nodes[node]}: did not answer in {seconds:.0f} s{source}" for node in question.open]
    if problems or silent:
        raise ClusterError(_with_fixes([*problems, *silent], also={SOURCE} if silent and source else set()))


def _with_fixes(problems: list[str], also: Set[str] = frozenset()) -> str:
    """The problems, a line each, and what mends them, and what mends what they may be `also`."""
    told = {next((what for what in (DATA, SOURCE) if what in problem), "") for problem in problems} | also
    fixes = {"": FIX, DATA: DATA_FIX, SOURCE: SOURCE_FIX}
    return "\n".join([*problems, *(fix for what, fix in fixes.items() if what in told)])


class Newcomers:
    """Nodes that join after `require_reach`, each asked once, in passing; `tell` hears of those that do not answer."""

    def __init__(
        self,
        folder: Path,
        tell: Callable[[str], object],
        data: Data | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder, self._tell, self._data, self._clock = folder, tell, data, clock
        self._known = set(_alive())
        self._asked: list[tuple[float, Question]] = []
        self._next = clock() + EVERY

    def look(self) -> None:
        """Ask those that have come, and hear those that were asked; waits for nobody.

        Raises ClusterError for a node that does not reach the folder, or does not find the data.
        """
        if self._clock() < self._next:
            return
        self._next = self._clock() + EVERY
        alive = _alive()
        self._ask({node: address for node, address in alive.items() if node not in self._known})
        for until, question in list(self._asked):
            problems = question.problems(0)
            late = self._clock() > until
            if problems or late or not question.open:
                self._asked.remove((until, question))
                question.end()
            if problems:
                raise ClusterError(_with_fixes(problems))
            for node in question.open & set(alive) if late else ():
                source = f", and {self._data.source}" if self._data and self._data.source else ""
                self._tell(
                    f"node {alive[node]}: joined, and did not answer in {PATIENCE} s; does it reach "
                    f"{self._folder}{source}?"
                )

    def _ask(self, nodes: Mapping[str, str]) -> None:
        # A workspace that cannot be written just now is asked about again at the next look.
        with suppress(OSError):
            if nodes:
                self._asked.append((self._clock() + PATIENCE, Question(self._folder, nodes, self._data)))
            self._known |= set(nodes)

    def close(self) -> None:
        """Ask no more."""
        for _, question in self._asked:
            question.end()
        self._asked.clear()


class Question:
    """A token for `nodes`, address by id, to read and answer; `open` are those that have not answered."""

    def __init__(self, folder: Path, nodes: Mapping[str, str], data: Data | None = None) -> None:
        self._nodes, self._token = nodes, uuid.uuid4().hex
        self._place = folder / f"{QUESTION}{self._token}"
        self._place.mkdir()
        (self._place / "token").write_text(self._token)
        self._asked = {
            node: ray.remote(num_cpus=0, max_retries=0)(answer)
            .options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))
            .remote(self._place, self._token, node, data)
            for node in nodes
        }

    @property
    def open(self) -> set[str]:
        """Ids of the nodes that have not answered."""
        return set(self._asked)

    def problems(self, seconds: float) -> list[str]:
        """What is wrong with the nodes that answer within `seconds`, a line each."""
        ready, _ = ray.wait(list(self._asked.values()), num_returns=len(self._asked), timeout=seconds)
        answered = [node for node in self._asked if self._asked[node] in ready]
        found = {node: self._problem(node) for node in answered}
        for node in answered:
            del self._asked[node]
        return [f"node {self._nodes[node]}: {problem}" for node, problem in found.items() if problem]

    def _problem(self, node: str) -> str:
        try:
            problem = str(ray.get(self._asked[node]))
        except RayError as error:
            # One that has gone meanwhile has no trials to lose.
            return f"cannot be asked ({' '.join(str(error).split())[:200]})" if node in _alive() else ""
        if not problem and not (self._place / node).is_file():
            return f"wrote to another {self._place.parent} than this machine reads"
        return problem

    def end(self) -> None:
        """Remove what was written."""
        # One that answers late may write into it meanwhile.
        shutil.rmtree(self._place, ignore_errors=True)


def answer(place: Path, token: str, name: str, data: Data | None) -> str:
    """On a node: read the token and write an answer beside it, look for `data`; what is wrong in words, or nothing."""
    try:
        if (place / "token").read_text() != token:
            return f"reads another {place.parent}"
        (place / name).write_text(token)
    except OSError as problem:
        return f"cannot read and write {place.parent} ({problem.strerror})"
    return "" if data is None else _without(data)


def _without(data: Data) -> str:
    if data.source:
        return _without_source(data)
    try:
        found = json.loads((data.path / MANIFEST).read_text())
    except OSError as problem:
        return f"{DATA} {data.path} ({problem.strerror})"
    except ValueError:
        return f"{DATA} {data.path} (its {MANIFEST} is damaged)"
    if found.get("content_hash") != data.content_hash:
        return f"{DATA} {data.path} that this machine reads: another set lies there"
    return ""


def _without_source(data: Data) -> str:
    from lesion.data.travel import require_access  # noqa: PLC0415 - only where data travel

    try:
        require_access(data.source, data.content_hash)
    except DataAccessError as problem:
        return f"{SOURCE}: {problem}"
    return ""


def _alive() -> dict[str, str]:
    """Addresses of the nodes that are alive, by id."""
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return {node["NodeID"]: node["NodeManagerAddress"] for node in nodes if node["Alive"]}
