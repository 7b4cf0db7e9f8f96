"""The errors of ``search``: each says where, which rule was broken, what is known and the likely fix."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lesion.errors import Failure


class SearchError(Exception):
    """Root of every error that ``search`` raises on purpose."""


@dataclass(frozen=True, order=True)
class Mistake:
    """One thing to mend in a file; lines and columns count from 1, line 0 is the file as a whole.

    >>> print(Mistake("spaces/my.yaml", 14, 5, "no loss 'focl'"))
    spaces/my.yaml:14: no loss 'focl'
    """

    file: str
    line: int
    column: int
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.text}"


class SpaceError(SearchError):
    """A space file has mistakes; `mistakes` holds all of them, in the order of file and line."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(sorted(set(mistakes)))
        super().__init__("\n".join(map(str, self.mistakes)))

    def __reduce__(self) -> tuple[type[SpaceError], tuple[tuple[Mistake, ...]]]:
        # Exception pickles its message; this one is made of mistakes.
        return type(self), (self.mistakes,)


class WorkspaceError(SearchError):
    """The workspace folder cannot be used: no write access, or it is not one."""


class WorkspaceFullError(WorkspaceError, Failure):
    """The workspace's disk is full."""


class LedgerError(SearchError):
    """The ledger cannot be opened, or does not hold what was asked for."""


class LedgerAccessError(LedgerError, Failure):
    """The ledger is in use, or its database does not answer or is damaged."""


class StudyError(LedgerError):
    """A study of this name exists for other data, another split, space or objective."""


class FinalistsError(SearchError):
    """Finalists cannot be chosen, or run, as asked."""


class TrialError(SearchError, Failure):
    """A trial could not be built or run."""


class WorkerError(SearchError, Failure):
    """A worker is of no use any more, to its trial and to others; another one may be."""


class MirrorError(SearchError, Failure):
    """MLflow did not take, or does not hold, what was asked for; the search itself never raises it."""


class PromotionError(SearchError):
    """A model cannot be promoted or rolled back."""


class PromotionBlockedError(PromotionError, Failure):
    """What promotion needs is lost, at work, or does not answer."""


class ClusterError(SearchError):
    """A node, its versions, devices or storage are not what the search needs."""


class ClusterStartError(ClusterError, Failure):
    """Ray does not start on this machine."""


class ClusterAccessError(ClusterError, Failure):
    """A cluster does not answer, or refuses who asks."""


class ReportError(SearchError):
    """What is to be reported on or compared is not there, or not of the same images."""


class LackingError(SearchError):
    """A package is not installed that judging photos does without and this command needs."""


class SimulationError(SearchError):
    """Recorded curves cannot be read, or are too few to simulate with."""


def first_line(problem: BaseException) -> str:
    """What went wrong, in one line, where somebody else's library says it in many."""
    return f"{type(problem).__name__}: {str(problem).strip()}".splitlines()[0][:200]
