"""What ``lesion-search check`` finds: every branch of a space is tried out, without data and without training.

Reading a file checks each key alone. Here whole settings are resolved and their models built without memory, in the
middle and at both ends of all ranges, so that what does not go together is known before a GPU is booked.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lesion.errors import LesionError
from search.space.overrides import Given
from search.space.reader import load
from search.space.space import Space
from search.space.tree import Branch, Parameter, Settings
from search.space.vocabulary import Vocabulary, of_lesion

BRANCHES = 2000
"""How many branches are tried out when nothing else is said; some seconds."""


@dataclass(frozen=True)
class Problem:
    """Settings that cannot be trained: what is wrong, the first branch that shows it, and how many do."""

    message: str
    branch: Branch
    settings: Settings
    branches: int

    def __str__(self) -> str:
        more = f" (and {self.branches - 1} more)" if self.branches > 1 else ""
        return f"{self.message}, for {self.branch}{more}"


@dataclass(frozen=True)
class CheckReport:
    """A space and what trying it out has shown."""

    space: Space
    branches: int
    walked: int
    problems: tuple[Problem, ...]
    parameters: tuple[Parameter, ...]

    @property
    def limited(self) -> bool:
        """Whether only some of the branches were tried out."""
        return self.walked < self.branches

    @property
    def sound(self) -> bool:
        """Whether no branch that was tried out has a problem."""
        return not self.problems


def check(
    path: Path | str,
    *,
    data: str | None = None,
    classes: Sequence[str] = (),
    overrides: Given = (),
    limit: int = BRANCHES,
    vocabulary: Vocabulary | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Read a space file and try out its branches; SpaceError when the file itself has mistakes.

    `data`, `classes` and `overrides` are those of `load`.

    Of more than `limit` branches a random part is taken, always the same one, and the report says so.
    `progress` is told how many branches are done, and of how many, after each.
    """
    words = vocabulary or of_lesion()
    space = load(path, data=data, classes=classes, overrides=overrides, vocabulary=words)
    return check_space(space, classes=classes, limit=limit, vocabulary=words, progress=progress)


def check_space(
    space: Space,
    *,
    classes: Sequence[str] = (),
    limit: int = BRANCHES,
    vocabulary: Vocabulary | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Try out the branches of a space that is read already; `classes` are those of the data set, where it is there."""
    words = vocabulary or of_lesion()
    count = space.branch_count()
    found: dict[str, Problem] = {}
    chosen = _chosen(count, limit)
    for walked, branch in enumerate(map(space.tree.branch, chosen), start=1):
        for message, settings in _problems(space, branch, space.classes(classes), words).items():
            first = found.get(message, Problem(message, branch, settings, 0))
            found[message] = Problem(message, first.branch, first.settings, first.branches + 1)
        if progress is not None:
            progress(walked, len(chosen))
    return CheckReport(space, count, len(chosen), tuple(found.values()), space.parameters())


def _chosen(count: int, limit: int) -> Sequence[int]:
    if count <= limit:
        return range(count)
    # Even steps would meet the same option of a part again and again; chance does not.
    return sorted(random.Random(0).sample(range(min(count, sys.maxsize)), limit))


def _problems(space: Space, branch: Branch, classes: Sequence[str], words: Vocabulary) -> dict[str, Settings]:
    """Message → settings, each message once."""
    found: dict[str, Settings] = {}
    for settings in (space.example(branch), *space.corners(branch)):
        try:
            words.resolve(settings)
            words.build(settings, classes)
            words.share(settings, max(1, int(space.resources.gpu or 0)))
        except LesionError as error:
            found.setdefault(str(error), settings)
    return found
