"""Which checkpoints stay on disk: those of unfinished trials and of the best few; predictions always stay."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from search.resumption import discard_checkpoints
from search.rows import TrialRow

KEPT = 5
"""Finished trials whose checkpoints stay: what promotion chooses among."""


class Retention:
    """Removes the checkpoints of finished trials that are not among the best `limit` of the study in `folder`."""

    def __init__(self, folder: Path, direction: str, rows: Iterable[TrialRow], limit: int = KEPT) -> None:
        self.folder, self.sign, self.limit = folder, 1 if direction == "maximize" else -1, limit
        self._kept: list[TrialRow] = []
        for row in rows:
            if row.finished:
                self.ended(row)

    def ended(self, row: TrialRow) -> None:
        """Take in a trial that ended: its checkpoints go, or those of the one that it displaces."""
        if row.value is None:
            discard_checkpoints(self.folder / str(row.number))
            return
        # Completed trials before pruned ones, further ones before shorter ones: early values flatter.
        self._kept = sorted([*self._kept, row], key=self._rank)
        for loser in self._kept[self.limit :]:
            discard_checkpoints(self.folder / str(loser.number))
        del self._kept[self.limit :]

    def _rank(self, row: TrialRow) -> tuple[bool, float, float, int]:
        return row.state != "complete", -row.depth, -self.sign * float(row.value or 0.0), row.number
