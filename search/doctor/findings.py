"""What the doctor finds: one thing that is not as it should be, why that matters, and how it is mended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from search.errors import SearchError


@dataclass(frozen=True)
class Finding:
    """One thing to mend: `kind` in a word or two, `where` it is, what was `found`, why it `matters`, and the `remedy`.

    `mend` carries the remedy out; None where only a person can. `mended` says that it was, `problem` why it could not.
    """

    kind: str
    where: str
    found: str
    matters: str
    remedy: str
    mend: Callable[[], object] | None = field(default=None, repr=False, compare=False)
    mended: bool = False
    problem: str | None = None

    def treated(self) -> Finding:
        """The finding after its remedy, if it has one; a remedy that fails is said, not raised."""
        if self.mend is None or self.mended:
            return self
        try:
            self.mend()
        except (SearchError, OSError, SQLAlchemyError) as error:
            return replace(self, problem=str(error))
        return replace(self, mended=True)

    def to_json(self) -> dict[str, Any]:
        """Without the remedy's function."""
        names = ("kind", "where", "found", "matters", "remedy", "mended", "problem")
        return {name: getattr(self, name) for name in names} | {"mendable": self.mend is not None}


@dataclass(frozen=True)
class Usage:
    """Bytes that one `kind` of files takes, how many of them can be `free`d without losing a result, and `how`."""

    kind: str
    size: int
    free: int = 0
    how: str = ""


@dataclass(frozen=True)
class Examination:
    """All that was found in a workspace; `passed_over` says what could not be looked at now, and why."""

    workspace: Path
    findings: tuple[Finding, ...]
    usage: tuple[Usage, ...]
    passed_over: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether nothing remains to be mended."""
        return all(finding.mended for finding in self.findings)

    def to_json(self) -> Mapping[str, Any]:
        """For ``doctor --json``."""
        return {
            "workspace": str(self.workspace),
            "clean": self.clean,
            "findings": [finding.to_json() for finding in self.findings],
            "usage": [vars(each) for each in self.usage],
            "passed_over": list(self.passed_over),
        }


def size_of(path: Path) -> int:
    """Bytes below `path`, or of it; links are not followed, and what vanishes meanwhile does not count."""
    total = 0
    for each in (path, *(path.rglob("*") if path.is_dir() and not path.is_symlink() else ())):
        try:
            stat = each.lstat()
        except OSError:
            continue
        total += 0 if each.is_dir() and not each.is_symlink() else stat.st_size
    return total


def readable(size: int) -> str:
    """Bytes as people write them.

    >>> readable(512), readable(3_500_000)
    ('512 B', '3.3 MiB')
    """
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"
