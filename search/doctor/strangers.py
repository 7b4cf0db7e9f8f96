"""The doctor's look at what is of no study in the ledger: checkpoints, and runs in the workspace's own MLflow.

A ledger that is not there may be lost, or be elsewhere: somebody forgot to say where it is. So nothing of this is
mended while the ledger knows no study at all, or where another one may have driven the study (`search.ownership`); runs
are only marked, and of a server that others may use as well nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from search.database import sqlite_file
from search.doctor.files import delete
from search.doctor.findings import Finding, readable, size_of
from search.doctor.runs import answering
from search.errors import LedgerError, WorkspaceError
from search.locks import driving, is_driven
from search.ownership import ledger_name, ledgers_of, note_of
from search.series import series_of, study_of
from search.study import studies, study_status
from search.tracking import HASH, ID, STATE, STUDY
from search.tracking_client import client_of
from search.workspace import LEDGER, Workspace

LOST = "lost"
"""State, in MLflow, of a run whose ledger is gone."""
BY_HAND = "say where their ledger is (LESION_LEDGER), or put it back; else delete them"


def has_another_ledger(place: Workspace) -> bool:
    """Whether the workspace has a ledger that is not the one in use, whose studies would be taken for lost."""
    own, used = place.path / LEDGER, sqlite_file(place.ledger_url)
    return own.exists() and (used is None or used.resolve() != own.resolve())


def of_strange_checkpoints(place: Workspace) -> Iterator[Finding]:
    """Checkpoints of studies that the ledger does not know, and that nobody drives."""
    folders = [(folder, sorted(folder.glob("*/epoch-*.ckpt"))) for folder in place.studies_on_disk()]
    known = studies(place)  # after them: a study is in the ledger before it has checkpoints
    for folder, checkpoints in folders:
        name = _root(folder.name)
        if name in known or not checkpoints or _is_driven(place, folder.name):
            continue
        doubt = _doubt(place, folder.name)
        mine = bool(known) and not doubt
        yield Finding(
            "checkpoints of no study", str(folder),
            f"{len(checkpoints)} checkpoints, {readable(sum(map(size_of, checkpoints)))}; the ledger has no study "
            f"{folder.name!r}{doubt}",
            "nothing goes on from them, unless their ledger is elsewhere",
            "delete the checkpoints; predictions stay" if mine else BY_HAND,
            partial(_delete, place, folder.name, checkpoints) if mine else None,
        )  # fmt: skip


def of_strange_runs(place: Workspace, uri: str | None = None) -> Iterator[Finding]:
    """Runs of studies that the ledger does not know, where MLflow's database is in the workspace, of nobody else.

    Raises MirrorError where it does not answer.
    """
    uri = uri or place.tracking_uri
    database = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///") or not database.exists() or place.path not in database.absolute().parents:
        return
    with answering(uri):
        every = [*_runs(client_of(uri))]
    known = studies(place)  # after them: a study is in the ledger before it has runs
    ids = {key for name in known for key in _ids(place, name)}
    found: dict[tuple[str, str], list[Any]] = {}
    for run in every:
        tags = run.data.tags
        mine = tags.get(ID, tags[HASH])
        if mine not in ids and (tags.get(STATE) != LOST or run.info.status == "RUNNING"):
            found.setdefault((tags.get(STUDY, ""), mine), []).append(run)
    for (name, study_id), runs in sorted(found.items()):
        if _is_driven(place, name):
            continue
        doubt = _doubt(place, name)
        mine = bool(known) and not doubt
        running = sum(run.info.status == "RUNNING" for run in runs)
        yield Finding(
            "runs of no study", f"{uri} study {name or '?'} {study_id[:12]}",
            f"{len(runs)} runs, {running} of them RUNNING, of a study that the ledger does not have{doubt}",
            "its ledger was deleted, replaced or is elsewhere; what they show, nobody can go on with",
            "end them and tag them as lost; nothing is deleted, and 'sync' takes that back if the ledger comes back"
            if mine else BY_HAND,
            partial(_mark, place, name, study_id, uri, runs) if mine else None,
        )  # fmt: skip


def _root(name: str) -> str:
    """The study of a folder, or of runs, whose lock is held as they are made: of finalists, that of the search."""
    return study_of(name) or name


def _doubt(place: Workspace, name: str) -> str:
    """Why the trials of a study that the ledger in use does not have may be another's; empty where they are not."""
    try:
        path, noted = note_of(place, name), ledgers_of(place, name)
    except WorkspaceError:
        return "; no study can be called that"
    if noted == (ledger_name(place),):
        return ""
    return f"; by {path} not of this ledger alone" if noted else f"; there is no {path}, which says whose it was"


def _is_driven(place: Workspace, name: str) -> bool:
    """Whether the study of runs, or of a folder, is driven now, by any ledger; one that has no possible name is not."""
    try:
        return is_driven(place.lock(_root(name)))
    except WorkspaceError:
        return False


def _ids(place: Workspace, study: str) -> Iterator[str]:
    yield study_status(place, study).identity.key
    yield from (series.identity.key for series in series_of(place, study))


def _delete(place: Workspace, name: str, checkpoints: Iterable[Path]) -> None:
    """Delete the checkpoints, if they are still of no study, which nobody can begin meanwhile."""
    root = _root(name)
    with driving(place.lock(root), root, place.ledger_url):
        if root in studies(place) or _doubt(place, name):
            raise LedgerError(f"a ledger has the study {root!r} by now; look again")
        delete(*checkpoints)


def _mark(place: Workspace, name: str, study_id: str, uri: str, runs: Iterable[Any]) -> None:
    """End the runs and tag them as lost, if they are still of no study, which nobody can begin meanwhile."""
    root = _root(name)
    with driving(place.lock(root), root, place.ledger_url):
        if (root in studies(place) and study_id in _ids(place, root)) or _doubt(place, name):
            raise LedgerError(f"a ledger has the study {root!r} by now; look again")
        with answering(uri):
            client = client_of(uri)
            for run in runs:
                if run.info.status == "RUNNING":
                    client.set_terminated(run.info.run_id, status="KILLED")
                client.set_tag(run.info.run_id, STATE, LOST)


def _runs(client: Any) -> Iterator[Any]:
    """All runs that a mirror has made, of every experiment."""
    experiments = [each.experiment_id for each in _pages(client.search_experiments)]
    if experiments:
        yield from _pages(partial(client.search_runs, experiments, f"tags.`{HASH}` LIKE '%'"))


def _pages(search: Any) -> Iterable[Any]:
    token = None
    while True:
        page = search(max_results=1000, page_token=token)
        yield from page
        if not (token := page.token):
            return
