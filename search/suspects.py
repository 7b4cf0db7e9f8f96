"""Rows over which drivers died: what is counted against them, and which of them goes alone, or is failed.

A row may take its driver down, with settings that crash the host. A machine that restarts takes all rows down that run
on it, and none of them is to blame. So a row is failed for it only where it was the only one that ran.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from search.rows import TrialRow

LOSSES = 5
"""Drivers that die over a row, without one more epoch of it, before it goes alone, or is failed where it did."""


@dataclass(frozen=True)
class Loss:
    """How many drivers died over a row in a row, the last one included, and whether it is to be failed for it."""

    row: TrialRow
    count: int
    blamed: bool

    @property
    def text(self) -> str:
        """What the row is failed for."""
        return (
            f"the driver ended {self.count} times while this trial was at epoch {self.row.epoch}, "
            "the last time with no other trial beside it"
        )


def losses_among(left: Sequence[TrialRow]) -> Iterator[Loss]:
    """Of the unfinished rows that a driver left, those that had a worker since they were last looked at.

    What was let go of on purpose, or came an epoch further, counts from 0 again; what was decided is past that.
    """
    begun = [row for row in left if row.attempt and row.attributes.get("counted") != row.attempt]
    alone = sum(not row.attributes.get("let_go") for row in begun) == 1
    for row in (row for row in begun if "verdict" not in row.attributes):
        count = 0 if row.attributes.get("let_go") or has_advanced(row) else row.losses + 1
        yield Loss(row, count, alone and count >= LOSSES)


def is_suspect(row: TrialRow) -> bool:
    """Whether so many drivers died over a row, which has come no further since, that it is to be begun alone."""
    return row.losses >= LOSSES and not has_advanced(row)


def warnings_of(adopted: Iterable[TrialRow]) -> Iterator[str]:
    """What a user is told of suspects, for which a search looks slow: why they come last, and one at a time."""
    for row in (row for row in adopted if is_suspect(row)):
        yield (
            f"trial {row.number} was running when {row.losses} drivers died: it comes last, with no other beside it "
            "until it has come an epoch further, and is failed if it takes another down"
        )


def has_advanced(row: TrialRow) -> bool:
    """Whether the row has one epoch more than when a worker last began it."""
    return row.epoch > int(row.attributes.get("began_at", 0))
