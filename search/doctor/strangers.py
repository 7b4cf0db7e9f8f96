"""The doctor's look at what is of no study in the ledger: checkpoints, and runs in the workspace's own MLflow.

A ledger that is not there may be lost, or be elsewhere: somebody forgot to say where it is. So nothing of this is
mended while the ledger knows no study at all, runs are only marked, and of a server that others may use as well nothing
is said.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from search.database import sqlite_file
from search.doctor.files import delete
from search.doctor.findings import Finding, readable, size_of
from search.doctor.runs import answering
from search.locks import is_driven
from search.series import series_of, study_of
from search.study import study_status
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


def of_strange_checkpoints(place: Workspace, studies: Collection[str]) -> Iterator[Finding]:
    """Checkpoints of studies that are not among those of the ledger, `studies`."""
    for folder in place.studies_on_disk():
        name = study_of(folder.name) or folder.name
        checkpoints = sorted(folder.glob("*/epoch-*.ckpt"))
        if name in studies or not checkpoints or is_driven(place.lock(name)):
            continue
        yield Finding(
            "checkpoints of no study", str(folder),
            f"{len(checkpoints)} checkpoints, {readable(sum(map(size_of, checkpoints)))}; the ledger has no study "
            f"{folder.name!r}",
            "nothing goes on from them, unless their ledger is elsewhere",
            "delete the checkpoints; predictions stay" if studies else BY_HAND,
            partial(delete, *checkpoints) if studies else None,
        )  # fmt: skip


def of_strange_runs(place: Workspace, studies: Collection[str], uri: str | None = None) -> Iterator[Finding]:
    """Runs of studies that the ledger does not know, where MLflow's database is in the workspace, of nobody else.

    Raises MirrorError where it does not answer.
    """
    uri = uri or place.tracking_uri
    database = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///") or not database.exists() or place.path not in database.absolute().parents:
        return
    known = {identity.key for name in studies for identity in _identities(place, name)}
    found: dict[tuple[str, str], list[Any]] = {}
    with answering(uri):
        client = client_of(uri)
        for run in _runs(client):
            tags = run.data.tags
            mine = tags.get(ID, tags[HASH])
            if mine not in known and (tags.get(STATE) != LOST or run.info.status == "RUNNING"):
                found.setdefault((tags.get(STUDY, "?"), mine), []).append(run)
    for (name, study_id), runs in sorted(found.items()):
        running = sum(run.info.status == "RUNNING" for run in runs)
        yield Finding(
            "runs of no study", f"{uri} study {name} {study_id[:12]}",
            f"{len(runs)} runs, {running} of them RUNNING, of a study that the ledger does not have",
            "its ledger was deleted, replaced or is elsewhere; what they show, nobody can go on with",
            "end them and tag them as lost; nothing is deleted, and 'sync' takes that back if the ledger comes back"
            if studies else BY_HAND,
            partial(_mark, client, runs) if studies else None,
        )  # fmt: skip


def _identities(place: Workspace, study: str) -> Iterator[Any]:
    yield study_status(place, study).identity
    yield from (series.identity for series in series_of(place, study))


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


def _mark(client: Any, runs: Iterable[Any]) -> None:
    for run in runs:
        if run.info.status == "RUNNING":
            client.set_terminated(run.info.run_id, status="KILLED")
        client.set_tag(run.info.run_id, STATE, LOST)
