"""The doctor's look at MLflow and at what waits for it: the mirror, compared with the ledger run by run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

from search.doctor.findings import Finding
from search.errors import MirrorError
from search.mirror import Mirror, deliver_all, is_behind, mirror_of
from search.spool import Spool
from search.study import StudyStatus
from search.tracking import EPOCH, ID, PARENT, STATE, Run, StudyRuns
from search.workspace import Workspace

SECONDS = 60.0
"""How long MLflow is waited for."""
MATTERS = "MLflow does not show what the ledger holds"


def of_spool(place: Workspace, status: StudyStatus, experiment: str, uri: str | None = None) -> Iterator[Finding]:
    """Events that wait, that MLflow refused, and those of a ledger that is no longer there."""
    mirror = mirror_of(place, status.name, status.identity, uri, experiment)
    sync = _sync(place, status, experiment, uri)
    waiting, torn = _lines(mirror.spool.path)
    if waiting or torn:
        found = f"{waiting} events wait" + (f", {torn} torn lines that are told again from the ledger" if torn else "")
        yield Finding("events wait", str(mirror.spool.path), found, MATTERS, "deliver them, as 'sync' does", sync)
    refused = mirror.rejected.events()
    torn = _lines(mirror.rejected.path)[1]
    if refused or torn:
        last = str(refused[-1].get("error", ""))[:200] if refused else "what it was is torn"
        yield Finding(
            "rejected events",
            str(mirror.rejected.path),
            f"MLflow refused {len(refused) + torn} events, at last: {last}",
            f"{MATTERS}; the search itself lost nothing",
            "send them again, and keep those that it still refuses",
            lambda: _send_again(mirror, _sync(place, status, experiment, uri)),
        )
    own = {mirror.spool.path, mirror.rejected.path}
    for path in sorted({*place.spool.glob(f"{status.name}.*.jsonl"), *place.spool.glob(f"{status.name}.*.rejected")}):
        if path not in own and _id_of(path, status.name):
            yield Finding(
                "spool of a lost ledger",
                str(path),
                f"{_lines(path)[0]} events of another study that was called {status.name}",
                "its ledger was replaced or is elsewhere; nothing will deliver them",
                "look at it and delete it, or put that ledger back",
            )


def of_runs(place: Workspace, status: StudyStatus, experiment: str, uri: str | None = None) -> Iterator[Finding]:
    """Runs that are RUNNING without a driver, one too many, without a row, missing or behind.

    Raises MirrorError where MLflow does not answer.
    """
    runs = mirror_of(place, status.name, status.identity, uri, experiment).runs
    found = _present(runs)
    where = f"{runs.uri} experiment {experiment}"
    sync = _sync(place, status, experiment, uri)
    for run_id, number in runs.doubled().items() if found else ():
        yield Finding(
            "doubled run", f"{where} run {run_id}", f"a second run of {_named(number)}",
            "it is counted twice in tables and charts", "delete it; MLflow keeps it in its bin", runs.remove_doubled,
        )  # fmt: skip
    rows = {row.number: row for row in status.rows}
    for number, run in sorted(found.items()):
        if number != PARENT and number not in rows:
            yield Finding(
                "run without a row", f"{where} run {run.id}", f"{run.status}, of {_named(number)}, which is not there",
                "the ledger was restored from an older copy; a trial to come would write into this run",
                "end it, and tag it as lost so that it is no longer the study's",
                partial(_cast_off, runs, run),
            )  # fmt: skip
    left = sorted(number for number, run in found.items() if run.status == "RUNNING" and number in {*rows, PARENT})
    if left:
        what = f"RUNNING, and no driver: {', '.join(map(_named, left))}"
        yield Finding(
            "zombie run", where, what, "MLflow shows them as alive for ever", "end them, as 'sync' does", sync
        )
    behind = [row for row in status.rows if row.number not in left and is_behind(row, found.get(row.number))]
    if behind:
        what = f"{len(behind)} trials are missing or behind: {', '.join(str(row.number) for row in behind[:12])}"
        yield Finding("runs behind", where, what, MATTERS, "tell them again from the ledger, as 'sync' does", sync)


def of_promotions(place: Workspace, status: StudyStatus, uri: str | None = None) -> Iterator[Finding]:
    """Runs of promotions that were killed; MirrorError where MLflow does not answer."""
    from search.registered import ID as PROMOTED_ID  # noqa: PLC0415 - takes a second
    from search.registered import Registry  # noqa: PLC0415
    from search.versions import promoting  # noqa: PLC0415

    runs = mirror_of(place, status.name, status.identity, uri).runs
    tags = {PROMOTED_ID: status.identity.key}
    with answering(runs.uri):
        if not _is_there(runs) or promoting(place):
            return
        registry = Registry(runs.uri, place.artifacts)
        left = registry.left_running(status.name, tags)
    if left:
        yield Finding(
            "zombie promotion", f"{runs.uri} experiment {status.name}", f"RUNNING, and no promotion: {', '.join(left)}",
            "MLflow shows them as alive for ever", "end them; the same 'promote' completes what there is of them",
            partial(registry.end_left, status.name, tags),
        )  # fmt: skip


def _present(runs: StudyRuns) -> dict[int, Run]:
    """The runs that there are."""
    with answering(runs.uri):
        return runs.runs() if _is_there(runs) else {}


def _is_there(runs: StudyRuns) -> bool:
    """Whether there is an experiment; unlike the mirror's own look, this one makes none, and no database."""
    path = Path(runs.uri.removeprefix("sqlite:///"))
    if runs.uri.startswith("sqlite:///") and not path.exists():
        return False
    experiment = runs.client.get_experiment_by_name(runs.experiment_name)
    return experiment is not None and experiment.lifecycle_stage == "active"


@contextmanager
def answering(uri: str) -> Iterator[None]:
    """Turn whatever MLflow at `uri` raises into a MirrorError."""
    try:
        yield
    except Exception as error:
        raise MirrorError(f"MLflow at {uri} does not answer: {type(error).__name__}: {str(error)[:200]}") from error


def _sync(place: Workspace, status: StudyStatus, experiment: str, uri: str | None) -> Callable[[], None]:
    """Brings MLflow up to the ledger, once however often it is called."""

    @cache
    def deliver() -> None:
        deliver_all(mirror_of(place, status.name, status.identity, uri, experiment), status.rows, SECONDS)

    return deliver


def _send_again(mirror: Mirror, sync: Callable[[], None]) -> None:
    """What was refused goes once more; what is refused again is put aside again.

    Not how the run stood then: that is the ledger's to say, which `sync` compares with the run's tags and status.
    """
    refused = mirror.rejected.events()
    mirror.rejected.clear()
    for event in refused:
        told = {"trial": event["trial"], "time": event.get("time", 0)}
        tags = {name: value for name, value in event.get("tags", {}).items() if name not in (STATE, EPOCH)}
        mirror.spool.append({**told, "params": event.get("params", {}), "tags": tags})
        for epoch, (time, metrics) in event.get("epochs", {}).items():
            mirror.spool.append({**told, "time": time, "epoch": int(epoch), "metrics": metrics})
    sync()
    if left := len(mirror.rejected.events()):
        raise MirrorError(f"MLflow refused {left} of them again; look at {mirror.rejected.path}, and delete it")


def _cast_off(runs: StudyRuns, run: Run) -> None:
    if run.status == "RUNNING":
        runs.client.set_terminated(run.id, status="KILLED")
    runs.client.set_tag(run.id, STATE, "lost")
    runs.client.set_tag(run.id, ID, f"{runs.study_id} lost")


def _lines(path: Path) -> tuple[int, int]:
    """Events in a spool file, and lines of it that a crash tore."""
    if not path.exists():
        return 0, 0
    lines = [line for line in path.read_bytes().split(b"\n") if line.strip()]
    whole = len(Spool(path).events())
    return whole, len(lines) - whole


def _id_of(path: Path, study: str) -> str:
    """The id in the name of a spool file of `study`; empty where it is another study's, whose name begins alike."""
    rest = path.name.removeprefix(f"{study}.").rpartition(".")[0]
    return rest if len(rest) == 32 and all(letter in "0123456789abcdef" for letter in rest) else ""


def _named(number: int) -> str:
    return "the study" if number == PARENT else f"trial {number}"
