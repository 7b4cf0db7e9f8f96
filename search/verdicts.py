"""Every judgement of a version by gates: a later one stands beside the earlier ones and erases none.

A model that strict gates have stopped may be judged again by laxer ones, by what is known already. Whoever reads what
the second said is told of the first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from search.gates import Gates, Verdict, summed_up

GATES, STOPPED_BY, GATES_FILE = "lesion.gates", "lesion.stopped_by", "lesion.gates_file"
"""Tags of a version: what its newest judgement said."""
JUDGEMENTS = "lesion.judgements"
"""Tag of a version: all of its judgements as JSON, or the newest that fit."""
STOPPED = "stopped"
"""How the words of a judgement begin that stopped a version."""
NAMED, LONGEST_WORDS = 5, 500
"""Gates that a judgement names of each kind, and its characters at most: a tag holds several."""


@dataclass(frozen=True)
class Judgement:
    """What gates said of a version, and when (ISO 8601, UTC; "" where an earlier release did not note it).

    `file` is the name of the gates file, `digest` the beginning of the hash of its text.
    """

    at: str
    file: str
    digest: str
    told: str

    @classmethod
    def now(cls, gates: Gates, verdicts: Sequence[Verdict], at: datetime) -> Judgement:
        """What `gates` have said `at` this time."""
        told = summed_up(verdicts, NAMED)[:LONGEST_WORDS]
        return cls(at.isoformat(timespec="seconds"), Path(gates.file).name, gates.digest[:12], told)

    @property
    def passed(self) -> bool:
        """Whether no gate stopped it."""
        return not self.told.startswith(STOPPED)

    @property
    def by(self) -> str:
        """By which gates it was judged, and when."""
        return ", ".join(filter(None, (f"{self.file} {self.digest}".strip(), self.at)))

    def same_as(self, other: Judgement) -> bool:
        """Whether the same gates said the same another time."""
        return (self.file, self.digest, self.told) == (other.file, other.digest, other.told)


def judgements_of(tags: Mapping[str, str]) -> tuple[Judgement, ...]:
    """The judgements that the tags of a version tell of, oldest first; none where no gate has judged it.

    Earlier releases noted the last one alone.
    """
    try:
        return tuple(Judgement(**entry) for entry in json.loads(tags[JUDGEMENTS]))
    except (KeyError, ValueError, TypeError):  # or somebody wrote into the tag
        file, _, digest = tags.get(GATES_FILE, "").rpartition(" ")
        return (Judgement("", file, digest, tags[GATES]),) if tags.get(GATES) else ()


def with_latest(earlier: Sequence[Judgement], latest: Judgement) -> tuple[Judgement, ...]:
    """The judgements with the `latest`, which is no other where it only repeats the one before."""
    return tuple(earlier) if earlier and earlier[-1].same_as(latest) else (*earlier, latest)


def tags_of(gates: Gates, verdicts: Sequence[Verdict], judgements: Sequence[Judgement], longest: int) -> dict[str, str]:
    """The tags that tell of the judgements of a version, the newest of which gave the `verdicts`.

    In the order in which they are to be written: a process that dies between two leaves the first, which decides.
    """
    stopped = [verdict.gate for verdict in verdicts if verdict.outcome == "failed"]
    return {
        JUDGEMENTS: newest_that_fit([asdict(each) for each in judgements], longest),
        STOPPED_BY: ", ".join(stopped),
        GATES_FILE: f"{Path(gates.file).name} {gates.digest[:12]}",
        GATES: summed_up(verdicts),
    }


def newest_that_fit(entries: Sequence[Mapping[str, Any]], longest: int) -> str:
    """The entries, oldest first, as JSON of at most `longest` characters, without the oldest where they are more.

    >>> newest_that_fit([{"to": 1}, {"to": 2}, {"to": 3}], 22)
    '[{"to": 2}, {"to": 3}]'
    """
    for first in range(len(entries)):
        text = json.dumps(entries[first:])
        if len(text) <= longest:
            return text
    return "[]"
