"""What a session may still spend: its wall clock, and the device hours of its study over all sessions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from search.rows import TrialRow


class Purse:
    """Counts what is spent; `seconds` of wall clock from now on, `device_seconds` in all, None without limit.

    Device seconds are those of GPUs, or of CPU cores where trials have no GPU, spent in epochs that were reported, and
    by workers that died since they were last heard. What a session had not yet heard when it ended is not known.
    """

    def __init__(
        self,
        seconds: float | None,
        device_seconds: float | None,
        rows: Iterable[TrialRow],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock, self._limit = clock, device_seconds
        self._deadline = None if seconds is None else clock() + seconds
        self._spent = {row.number: row.device_seconds for row in rows}

    def heard(self, row: TrialRow) -> None:
        """A trial has come further."""
        self._spent[row.number] = row.device_seconds

    @property
    def device_seconds(self) -> float:
        """Spent by the study, over all sessions."""
        return sum(self._spent.values())

    def empty(self) -> str | None:
        """Which budget is used up, "hours" or "device_hours"; None while both last."""
        if self._deadline is not None and self._clock() > self._deadline:
            return "hours"
        if self._limit is not None and self.device_seconds >= self._limit:
            return "device_hours"
        return None
