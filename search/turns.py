"""Which rows wait for a worker, and which of them may be begun beside others.

A row over which drivers died again and again is begun alone, after all the others: what takes its driver down is known
by that, and takes nobody with it (docs/decisions/0003-ledger.md).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from search.rows import TrialRow
from search.suspects import is_suspect


class Turns:
    """Rows to go on with, `adopted` in their order, and the numbers of those that have a worker now."""

    def __init__(self, adopted: Iterable[TrialRow]) -> None:
        self.live: set[int] = set()
        self._waiting: deque[TrialRow] = deque()
        self._suspects: deque[TrialRow] = deque()
        self._alone: int | None = None
        for row in adopted:
            self.put(row)

    @property
    def closed(self) -> bool:
        """Whether nothing may be begun now: a suspect runs, and has not come any further."""
        return self._alone is not None

    def put(self, row: TrialRow) -> None:
        """Have a row wait for its turn."""
        (self._suspects if is_suspect(row) else self._waiting).append(row)

    def next(self) -> TrialRow | None:
        """The next row that may be begun beside others; None where none waits."""
        return self._waiting.popleft() if self._waiting else None

    def last(self) -> TrialRow | None:
        """A suspect, which comes after all the others; None where none waits, or anything runs."""
        return self._suspects.popleft() if self._suspects and not self.live else None

    def begun(self, row: TrialRow) -> None:
        """A worker begins a row."""
        self.live.add(row.number)
        if is_suspect(row):
            self._alone = row.number

    def heard(self, row: TrialRow) -> None:
        """An epoch is over: a row that has come further is no suspect any more."""
        if row.number == self._alone and not is_suspect(row):
            self._alone = None

    def left(self, number: int) -> None:
        """The row has ended, or its worker is not replaced."""
        self.live.discard(number)
        if number == self._alone:
            self._alone = None
