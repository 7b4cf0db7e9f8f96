"""Everything that a report tells about a study, gathered once: from the ledger, the predictions, the promotions.

A part that cannot be had any more, such as predictions on data that were removed, is left out, and `notes` say so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from lesion.data.packed import PackedDataset
from lesion.errors import LesionError
from lesion.evaluation import Evaluation
from search.errors import SearchError
from search.finalists import all_standings
from search.leaderboard import ranked as best_first
from search.openings import Openings
from search.reopened import data_of, open_test_of, through_task
from search.reporting.effects import ComponentEffects, component_effects
from search.reporting.importance import Importance, importances
from search.reporting.judged import Hard, Judge, Ranked, evaluated, hardest, judge_of, ranked
from search.reporting.promoted import Promoted, promotions
from search.reporting.versions import RegisteredAs
from search.rows import TrialRow
from search.series import Series
from search.standings import Standing
from search.study import StudyStatus
from search.workspace import Workspace

Say = Callable[[str], None]

AGREED = 5
"""The best trials whose mean judgement says which images are hard."""


@dataclass(frozen=True, eq=False)
class Reading:
    """A study, read. `trials` are best first; `judge` is None where the data are gone.

    `versions` are what its promotions were registered as, by their key.
    """

    status: StudyStatus
    trials: tuple[TrialRow, ...]
    effects: ComponentEffects
    importances: tuple[Importance, ...]
    judge: Judge | None
    ranked: tuple[Ranked, ...]
    best: tuple[TrialRow, Evaluation] | None
    hard: tuple[Hard, ...]
    promotions: tuple[Promoted, ...]
    test: PackedDataset | None
    made: datetime
    environment: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    finalists: tuple[tuple[Series, tuple[Standing, ...]], ...] = ()
    opened: Openings = field(default_factory=Openings)
    versions: Mapping[str, tuple[RegisteredAs, ...]] = field(default_factory=dict)

    @property
    def told(self) -> list[TrialRow]:
        """Trials that have a value, by number."""
        return [row for row in self.status.rows if row.history and row.state != "failed"]

    @property
    def spent(self) -> dict[str, tuple[int, float, float]]:
        """Trials, hours in epochs and device-hours by state."""
        spent: dict[str, tuple[int, float, float]] = {}
        for row in self.status.rows:
            state = self.status.state_of(row)
            trials, hours, devices = spent.get(state, (0, 0.0, 0.0))
            spent[state] = (trials + 1, hours + row.seconds / 3600, devices + row.device_seconds / 3600)
        return spent

    @property
    def failures(self) -> dict[str, int]:
        """Failed trials by class."""
        return dict(Counter(str(row.failure) for row in self.status.rows if row.state == "failed"))

    @property
    def rungs(self) -> list[int]:
        """Epochs after which trials were stopped."""
        return sorted({row.epoch for row in self.status.rows if row.state == "pruned"})


def gather(
    place: Workspace,
    status: StudyStatus,
    environment: Mapping[str, str],
    *,
    notes: Sequence[str] = (),
    opened: Openings,
    seed: int = 0,
    say: Say = lambda text: None,
) -> Reading:
    """Read a study; `environment` is what its runs in MLflow say they ran with, `notes` what is known to be missing.

    `opened` says how often its test part was.
    """
    trials = tuple(best_first(status))
    complete = [row for row in trials if row.state == "complete"]
    effects = component_effects(status, place, seed=seed, progress=say)
    missing = [*notes, *(f"component effects: {note}" for note in effects.notes)]
    found = tuple(importances(status, seed=seed, say=say))
    if not found:
        missing.append("importances need more trials")
    say("validation images")
    promoted, again = tuple(promotions(place, status.name, missing.append)), tuple(all_standings(place, status))
    judge = judge_of(place, status)
    if isinstance(judge, str):
        missing.append(f"nothing is told of single images: {judge}")
        return Reading(
            status, trials, effects, found, None, (), None, (), promoted, None,
            datetime.now().astimezone(), environment, tuple(missing), again, opened,
        )  # fmt: skip
    best = next(((row, told) for row in complete if (told := evaluated(judge, row, seed=seed))), None)
    if best is None:
        missing.append("no complete trial has validation predictions: nothing is told of single images")
    return Reading(
        status,
        trials,
        effects,
        found,
        judge,
        tuple(ranked(judge, complete, seed=seed)),
        best,
        tuple(hardest(judge, complete[:AGREED])),
        promoted,
        _tested(place, status, missing) if promoted else None,
        datetime.now().astimezone(),
        environment,
        tuple(missing),
        again,
        opened,
    )


def _tested(place: Workspace, status: StudyStatus, notes: list[str]) -> PackedDataset | None:
    """The test part, for the pictures of what a promotion has judged already; no model sees it here."""
    try:
        return through_task(status.identity, open_test_of(place, data_of(place, status.name, status.identity)))
    except (LesionError, SearchError) as problem:
        notes.append(f"no pictures of the test part: {problem}")
        return None
