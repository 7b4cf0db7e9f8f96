"""Series: the finalists of a study, in ledger studies of their own beside it.

A series is of one kind, so that its values can be compared: fresh seeds on the study's split, or folds, all trained for
as many epochs. It is an Optuna study called ``<study>.finalists``, ``<study>.finalists-folds``, each with
``-20-epochs`` behind it where that is not what the search trained for. It is driven under the study's lock and no
part of its listings: the search's sampler, rungs, counts and retention never see it (docs/decisions/0008-finalists.md).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, Trial

from lesion.data.packed import PackedDataset
from lesion.registry import Value
from search.database import open_storage
from search.formats import IDENTITY, identity_in
from search.identity import Identity
from search.ledger import Ledger, derived_seed
from search.rows import TrialRow, row_of
from search.space.space import Asha
from search.workspace import Workspace

FOLDS = "folds"
"""Split of a series whose rows train on folds, each on its own."""
_NAME = re.compile(r"(?P<study>.+)\.finalists(?P<folds>-folds)?(-\d+-epochs)?")


@dataclass(frozen=True)
class Series:
    """A series as the ledger has it."""

    name: str
    study: str
    identity: Identity
    rows: tuple[TrialRow, ...]

    @property
    def on_folds(self) -> bool:
        """Whether its rows are of folds, not of fresh seeds."""
        return self.identity.split == FOLDS

    @property
    def kind(self) -> str:
        """What differs among the runs of one setting: ``seeds`` or ``folds``."""
        return FOLDS if self.on_folds else "seeds"

    @property
    def epochs(self) -> int:
        """Epochs of a run."""
        return int(self.identity.semantics["epochs"])

    @property
    def as_long_as_the_search(self) -> bool:
        """Whether a run trains for as many epochs as a trial of the search."""
        return not self.name.endswith("-epochs")

    @property
    def complete(self) -> tuple[TrialRow, ...]:
        """Rows that reached their end and have a value."""
        return tuple(row for row in self.rows if row.state == "complete" and row.value is not None)


@dataclass(frozen=True)
class Entry:
    """One run that is asked for: settings of `trial`, with its fresh seed or fold number `index`."""

    trial: int
    index: int
    settings: Mapping[str, Value]
    split: str | None = None

    @property
    def key(self) -> tuple[int, int]:
        """What tells it from the others of its series."""
        return self.trial, self.index


@dataclass(frozen=True)
class Entries:
    """The runs asked for, in their order; to a session, a space with nothing to sample."""

    series: str
    entries: tuple[Entry, ...]

    start_with: Sequence[Mapping[str, Value]] = ()
    scheduler: Asha | None = None

    def sample(self, trial: Trial) -> Mapping[str, Value]:
        """Settings of the first run that no row has, noted with the row."""
        rows = [row_of(other) for other in trial.study.get_trials(deepcopy=False)]
        entry = self.missing(row for row in rows if row.settings)[0]
        noted = {"finalist_of": entry.trial, "index": entry.index, "split": entry.split, "series": self.series}
        for name, value in noted.items():
            trial.set_user_attr(name, value)
        return entry.settings

    def missing(self, rows: Iterable[TrialRow]) -> list[Entry]:
        """What none of `rows` is."""
        taken = {(row.finalist_of, row.index) for row in rows}
        return [entry for entry in self.entries if entry.key not in taken]


class SeriesLedger(Ledger):
    """A series, seen through what is asked for: a session neither counts nor takes up any other row of it."""

    def __init__(self, ledger: Ledger, entries: Entries) -> None:
        self.entries = entries
        super().__init__(ledger.study, ledger.storage, ledger.seed, ledger.identity)

    def rows(self) -> list[TrialRow]:
        """The rows asked for, and of those that a session died over before it settled them, as many as are missing."""
        rows = super().rows()
        settled = [row for row in rows if row.settings]
        asked = {entry.key for entry in self.entries.entries}
        mine = [row for row in settled if (row.finalist_of, row.index) in asked]
        blank = [row for row in rows if not row.settings][: len(self.entries.missing(settled))]
        return sorted([*mine, *blank], key=lambda row: row.number)

    def _begun(self, rows: Iterable[FrozenTrial]) -> int:
        return sum(row.state != "waiting" for row in self.rows())

    def _seed(self, number: int) -> int:
        row = self.row(number)
        return derived_seed(self.seed, f"finalist/{row.finalist_of}", row.index)


def series_name(study: str, identity: Identity, epochs: int, *, on_folds: bool) -> str:
    """Name of the series of `study` in the ledger.

    >>> series_name("isic2017", Identity("d", "", "s", "", "auc", "maximize", {"epochs": 12}), 20, on_folds=True)
    'isic2017.finalists-folds-20-epochs'
    """
    longer = "" if epochs == identity.semantics["epochs"] else f"-{epochs}-epochs"
    return f"{study}.finalists{'-folds' if on_folds else ''}{longer}"


def study_of(name: str) -> str | None:
    """The study whose series is called `name`; None for a study.

    >>> study_of("isic2017.finalists-20-epochs"), study_of("isic2017")
    ('isic2017', None)
    """
    found = _NAME.fullmatch(name)
    return found["study"] if found else None


def series_identity(identity: Identity, data: PackedDataset, epochs: int, *, on_folds: bool) -> Identity:
    """What a series of the study of `identity` is of; `data` are as stored."""
    semantics = {**identity.semantics, "epochs": epochs, "finalists": FOLDS if on_folds else "seeds"}
    series = replace(identity, semantics=semantics, id="")
    if not on_folds:
        return series
    hashes = "\n".join(data.split(name).hash for name in folds_of(data))
    return replace(series, split=FOLDS, split_hash=hashlib.sha256(hashes.encode()).hexdigest())


def folds_of(data: PackedDataset) -> tuple[str, ...]:
    """Names of the folds that `data` were prepared with."""
    return tuple(name for name in data.splits if name.startswith("fold-"))


def series_of(place: Workspace, study: str) -> tuple[Series, ...]:
    """All series of `study`, by name; empty where there are none."""
    url = place.ledger_url
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        return ()
    storage = open_storage(url)
    names = sorted(name for name in optuna.get_all_study_names(storage) if study_of(name) == study)
    stored = [optuna.load_study(study_name=name, storage=storage) for name in names]
    # A session may have ended before it said what its new series is of.
    return tuple(_series(study, each) for each in stored if IDENTITY in each.user_attrs)


def _series(study: str, stored: optuna.Study) -> Series:
    rows = tuple(row_of(trial) for trial in stored.get_trials(deepcopy=False))
    return Series(stored.study_name, study, identity_in(stored.study_name, stored.user_attrs), rows)
