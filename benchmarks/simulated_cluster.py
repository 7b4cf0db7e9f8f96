"""A search of 200 nodes × 4 GPUs × 10 000 trials, without any of them: what the driver itself costs.

    lesion-search simulate isic2018_full --export curves.json       # of trials that were trained
    python benchmarks/simulated_cluster.py curves.json
    python benchmarks/simulated_cluster.py curves.json --trials 300 --workers 50
    python benchmarks/simulated_cluster.py curves.json --space spaces/isic2017.yaml --trials 5000 --workers 8

The real session, ledger (SQLite), searcher, scheduler with its rungs, and mirror (MLflow over SQLite) hear of trials
that go as the recorded one did that is most like them; only Ray and the training are left out. Every row of the table
is about the trials since the row above; `report` and `end` hold what the mirror takes of the driver for an event.
`busy` is the wall time of the driver over the time that the trials would have taken, with `--epoch` seconds for a mean
epoch, on all workers: at 1 the driver keeps the GPUs waiting. That is where it breaks first. Recorded in
benchmarks/simulated_cluster.md.
"""

from __future__ import annotations

import argparse
import heapq
import os
import resource
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from search.identity import Identity
from search.interrupts import Interrupts
from search.ledger import open_ledger
from search.mirror import mirror_of
from search.searcher import LedgerSearcher, scheduler_for
from search.seats import Alike
from search.session import Plan, Session
from search.simulation import Recorded, read_curves
from search.space import Space, load
from search.trial import Job, build_training
from search.workspace import open_workspace


class Stopwatch:
    """Seconds of what the driver does, by what it is."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}

    def time(self, what: str, call: Any, *arguments: Any) -> Any:
        """What `call` returns, its time noted under `what`."""
        start = time.perf_counter()
        result = call(*arguments)
        self.seconds.setdefault(what, []).append(time.perf_counter() - start)
        return result

    def median(self, what: str) -> float:
        """Milliseconds."""
        return 1000 * float(np.median(self.seconds.get(what, [0.0])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curves", type=Path, help="learning curves, as 'lesion-search simulate --export' writes them")
    parser.add_argument("--space", type=Path, default=Path("spaces/isic2018_full.yaml"))
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=800, help="GPUs, a trial on each")
    parser.add_argument("--epoch", type=float, default=60.0, help="simulated seconds of a mean epoch")
    parser.add_argument("--rows", type=int, default=10, help="rows of the table")
    parser.add_argument("--folder", type=Path, help="where the workspace is made (default: a temporary folder)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        _simulate(arguments, Path(folder))


def _simulate(arguments: argparse.Namespace, folder: Path) -> None:
    space = load(arguments.space)
    recorded = Recorded(read_curves(arguments.curves), space.budget.epochs)
    pace = arguments.epoch / float(np.mean([curve.seconds for curve in recorded.curves]))
    session = _session(space, folder, arguments.trials)
    watch = Stopwatch()
    put = session.mirror.put
    session.mirror.put = lambda event: watch.time("mirror", put, event)
    session.mirror.start()
    scheduler = scheduler_for(space.scheduler, space.budget.epochs, space.direction, ())
    seats = Alike(arguments.workers, 1, 1.0)
    searcher = LedgerSearcher(
        session.ledger, space, session.plan.job, seats, target=arguments.trials, adopted=(), tell=session._told
    )
    print("| trials | ask, ms | report, ms | end, ms | mirror, ms | CPU s a trial | busy | memory, MB | waiting |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    every = max(1, arguments.trials // arguments.rows)
    cpu, then, ended, now = time.process_time(), 0.0, 0, 0.0
    wall = time.perf_counter()
    running: list[tuple[float, int, Any]] = []
    begun = 0
    while begun < arguments.trials or running:
        while begun < arguments.trials and len(running) < arguments.workers:
            handle = _begin(searcher, scheduler, watch, begun, recorded)
            heapq.heappush(running, (now + pace * handle.curve.seconds, begun, handle))
            begun += 1
        now, number, handle = heapq.heappop(running)
        if _step(searcher, scheduler, watch, handle, space.budget.epochs):
            heapq.heappush(running, (now + pace * handle.curve.seconds, number, handle))
            continue
        ended += 1
        if ended % every == 0:
            spent, gone = time.process_time() - cpu, time.perf_counter() - wall
            _print(ended, watch, spent / every, gone / max(now - then, 1e-9), session.mirror.pending)
            watch, cpu, wall, then = Stopwatch(), time.process_time(), time.perf_counter(), now
    start = time.perf_counter()
    delivered = session.mirror.close(600)
    print(f"\nMLflow held {'everything' if delivered else 'not everything'} {time.perf_counter() - start:.0f} s later.")


def _session(space: Space, folder: Path, trials: int) -> Session:
    place = open_workspace(folder / "workspace")
    identity = Identity("drawn", "d1", "holdout", "s1", space.objective, space.direction, space.semantics())
    ledger = open_ledger(place.ledger_url, "simulated", identity, space.seed)
    job = Job(
        "simulated", ledger.identity.key, folder, "holdout", space.objective, space.budget.epochs,
        place.checkpoints("simulated"), build_training,
    )  # fmt: skip
    plan = Plan(place, space, ledger.identity, job, trials)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    return Session(plan, ledger, mirror_of(place, "simulated", ledger.identity), Interrupts())


def _begin(searcher: LedgerSearcher, scheduler: Any, watch: Stopwatch, number: int, recorded: Recorded) -> Any:
    config = watch.time("ask", searcher.suggest, str(number))
    curve = recorded.curve(config["order"].settings)
    handle = SimpleNamespace(trial_id=str(number), config=config, epoch=0, curve=curve)
    scheduler.on_trial_add(None, handle)
    return handle


def _step(searcher: LedgerSearcher, scheduler: Any, watch: Stopwatch, handle: Any, epochs: int) -> bool:
    """One more epoch of a trial, told as Ray tells it; whether it goes on."""
    handle.epoch += 1
    value = handle.curve.values[handle.epoch - 1]
    spent = {"seconds": 60.0 * handle.epoch, "device_seconds": 60.0 * handle.epoch, "examples": 2000 * handle.epoch}
    metrics = {f"metrics/auc_{n}": value for n in range(12)}
    result = {"epoch": handle.epoch, "value": value, **spent, **metrics}
    if handle.epoch < epochs and scheduler.on_trial_result(None, handle, result) == scheduler.CONTINUE:
        watch.time("report", searcher.on_trial_result, handle.trial_id, result)
        return True
    scheduler.on_trial_complete(None, handle, result)
    watch.time("end", searcher.on_trial_complete, handle.trial_id, result)
    return False


def _print(ended: int, watch: Stopwatch, each: float, busy: float, waiting: int) -> None:
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    medians = " | ".join(f"{watch.median(what):.1f}" for what in ("ask", "report", "end", "mirror"))
    print(f"| {ended} | {medians} | {each:.3f} | {busy:.3f} | {memory} | {waiting} |", flush=True)


if __name__ == "__main__":
    main()
