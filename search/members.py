"""Trained members of a study's model, read from the checkpoints of its trials, each once and only if it is sound."""

from __future__ import annotations

from collections.abc import Sequence

from lesion import checkpoints
from lesion.data.packed import PackedDataset
from lesion.models import build_model
from lesion.predictor import Member
from lesion.settings import resolve
from search.errors import PromotionBlockedError, PromotionError
from search.resumption import checkpoint_key
from search.rows import TrialRow
from search.series import series_of
from search.starts import Start, start_of
from search.study import StudyStatus
from search.workspace import Workspace

JUDGED = ("best", "average", "model")
"""What a training's state may hold of its weights; the first there is gave the validation figures."""


class Members:
    """The members that the trials of a study and its finalists can give; `data` are seen through the study's task."""

    def __init__(self, place: Workspace, status: StudyStatus, data: PackedDataset) -> None:
        self._place, self._status, self._data = place, status, data
        self._keys = {each.name: each.identity.key for each in series_of(place, status.name)}
        self._keys[status.name] = status.identity.key
        self._found: dict[tuple[str, int], Member] = {}
        self._starts: dict[tuple[str, int], Start | None] = {}
        self._lost: dict[tuple[str, int], str] = {}

    def why_not(self, row: TrialRow) -> str:
        """Why a trial cannot be a member; empty where it can."""
        known = self._home(row), row.number
        if known not in self._found and known not in self._lost:
            try:
                self._found[known] = self._read(row)
            except PromotionError as problem:
                self._lost[known] = str(problem)
        return self._lost.get(known, "")

    def of(self, row: TrialRow) -> Member:
        """The member that a trial gives; PromotionError where it gives none."""
        if why := self.why_not(row):
            raise PromotionBlockedError(why)
        return self._found[self._home(row), row.number]

    def starts_of(self, rows: Sequence[TrialRow]) -> tuple[Start, ...]:
        """The files of weights that trials started from, and what these had learnt from then; each once."""
        for row in rows:
            self.of(row)
        starts = (self._starts[self._home(row), row.number] for row in rows)
        return tuple(dict.fromkeys(start for start in starts if start))

    def _home(self, row: TrialRow) -> str:
        return row.series or self._status.name

    def _read(self, row: TrialRow) -> Member:
        folder = self._place.trial(self._home(row), row.number)
        state, damage = checkpoints.load_latest(folder)
        key = checkpoint_key(self._keys[self._home(row)], row.seed, row.settings)
        where = f"the checkpoint of trial {row.label} after epoch {row.epoch} in {folder}"
        if state is None or state.get("epoch") != row.epoch:
            raise PromotionBlockedError(f"{where}: {'; '.join(damage) or 'it is not there'}")
        if state.get("key") != key:
            raise PromotionBlockedError(f"{where}: it is of a trial of another study")
        training = state["training"]
        self._starts[self._home(row), row.number] = start_of(row.settings, training)
        model = build_model(resolve(row.settings), self._data.classes, pretrained=False)
        model.load_state_dict(next(training[name] for name in JUDGED if training.get(name)))
        return Member(row.settings, model.eval(), self._data.size, self._data.geometry)  # type: ignore[arg-type]
