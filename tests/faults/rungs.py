"""What the scheduler of a session held at its end, left in the workspace for `whole.require_whole` to look at.

A replay of the rows agrees with the rows whatever the scheduler made of the trials; what it held itself may not.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from search.searcher import ReplayedAsha, scheduler_for
from search.session import Session

FILE = "rungs.json"


@dataclass(frozen=True)
class Noted:
    """Rungs as the scheduler of a session had them."""

    held: dict[int, list[float]]

    def rungs(self) -> dict[int, list[float]]:
        """Values held by each rung, sorted, by the rung's epoch."""
        return self.held


def noted(workspace: Path) -> Noted | None:
    """The rungs of the last session that had trials to run and came to an end by itself; None where none had a rung."""
    try:
        held = json.loads((workspace / FILE).read_text())
    except FileNotFoundError:
        return None
    return Noted({int(epoch): values for epoch, values in held.items()})


def note_rungs(patch: pytest.MonkeyPatch) -> None:
    """Have every session of this process leave its rungs, for as long as `patch` holds."""
    patch.setattr(Session, "_tune", _noting(Session._tune))


def _noting(tune: Callable[..., None]) -> Callable[..., None]:
    def noting(session: Session, *arguments: Any) -> None:
        made: list[Any] = []

        def watched(*facts: Any) -> Any:
            made.append(scheduler_for(*facts))
            return made[-1]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("search.session.scheduler_for", watched)
            try:
                tune(session, *arguments)
            finally:
                for scheduler in made:
                    if isinstance(scheduler, ReplayedAsha):
                        (session.plan.workspace.path / FILE).write_text(json.dumps(scheduler.rungs()))

    return noting
