"""The doctor's look at a study's rows: those that no driver will end by itself."""

from __future__ import annotations

from collections.abc import Iterator

import optuna

from search.database import SoleWriter, open_storage
from search.doctor.findings import Finding
from search.formats import SEED, identity_in
from search.ledger import Ledger
from search.rows import TrialRow
from search.study import StudyStatus
from search.workspace import Workspace


def of_rows(place: Workspace, status: StudyStatus) -> Iterator[Finding]:
    """Rows that were decided and not ended, and rows whose driver died; `status` is of a study that nobody drives."""
    for row in status.rows:
        if row.state != "running":
            continue
        where = f"{status.name} trial {row.number}"
        verdict = row.attributes.get("verdict")
        if verdict is not None:
            yield Finding(
                "half-ended row",
                where,
                f"it was to end as {verdict['state']} after epoch {verdict['epoch']}, and the driver died just then",
                "tables and other tools show it as running",
                "end it as decided",
                lambda: _reconcile(place, status.name),
            )
        elif _is_zombie(row):
            yield Finding(
                "zombie row",
                where,
                f"RUNNING in the ledger after epoch {row.epoch}, attempt {row.attempt}, and no driver has it",
                "the driver was killed; until the next session the row looks alive",
                "mark it as interrupted; the next 'lesion-search run' goes on with it",
                lambda: _reconcile(place, status.name),
            )


def _is_zombie(row: TrialRow) -> bool:
    """Whether a worker had begun it, no session let go of it, and none has looked at it since."""
    attributes = row.attributes
    return row.attempt > 0 and not attributes.get("let_go", False) and attributes.get("counted") != row.attempt


def _reconcile(place: Workspace, name: str) -> None:
    """What the next session would do first; done again it changes nothing more."""
    storage = SoleWriter(open_storage(place.ledger_url))
    study = optuna.load_study(study_name=name, storage=storage)
    ledger = Ledger(study, storage, int(study.user_attrs[SEED]), identity_in(name, study.user_attrs))
    ledger.reconcile()
