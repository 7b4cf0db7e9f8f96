"""The errors of ``search``: each says where, which rule was broken, what is known and the likely fix."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


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
    """The workspace folder cannot be used: no write access, full disk, or it is not one."""


class LedgerError(SearchError):
    """The ledger cannot be opened, is in use, or does not hold what was asked for."""


class StudyError(LedgerError):
    """A study of this name exists for other data, another split, space or objective."""


class TrialError(SearchError):
    """A trial could not be built or run."""


class MirrorError(SearchError):
    """MLflow did not take, or does not hold, what was asked for; the search itself never raises it."""


class PromotionError(SearchError):
    """A model cannot be promoted or rolled back."""


class ClusterError(SearchError):
    """A node, its versions, devices or storage are not what the search needs."""
