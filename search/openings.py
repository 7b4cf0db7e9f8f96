"""How often a test part has been looked at: the models that it has scored, of one study and of all others.

Several studies search the same data, and the best of many figures is too good whichever study it is of. So a test part
is known by its content hash and by a sketch of its photos, which promotion writes beside the probabilities that it
keeps in the workspace, and as tags of its run in MLflow, which other workspaces may share. What either tells of counts.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lesion.errors import LesionError
from lesion.writing import write_atomically
from search.errors import SearchError
from search.reopened import data_of
from search.study import study_status
from search.test_parts import content_of, named, part_in, photos_of, same
from search.workspace import Workspace

KEY_LETTERS = 12
"""Of a model's key, in the name of what is kept of it and in the tag of its run."""
OLD = "test.npy"
"""Where earlier releases kept what they had scored, class weights included."""


@dataclass(frozen=True)
class Openings:
    """How many models a test part has scored: of this study, and of others by their name."""

    own: int = 0
    others: Mapping[str, int] = field(default_factory=dict)

    @property
    def by_others(self) -> int:
        """Models of other studies."""
        return sum(self.others.values())

    @property
    def in_words(self) -> str:
        """How often, in a few words.

        >>> Openings(2, {"again": 1}).in_words
        'opened 2 times, and once by other studies'
        >>> Openings(0, {"again": 5}).in_words
        'not opened by this study, 5 times by others'
        """
        if not self.own:
            return f"not opened by this study, {_times(self.by_others)} by others" if self.others else "not opened"
        return f"opened {_times(self.own)}" + (
            f", and {_times(self.by_others)} by other studies" if self.others else ""
        )

    @property
    def models(self) -> str:
        """Which models, in words.

        >>> Openings(1).models, Openings(2, {"again": 1}).models
        ('1 model of this study', '2 models of this study and 1 of others (again)')
        """
        own = f"{self.own} model{'' if self.own == 1 else 's'} of this study"
        return own + (f" and {self.by_others} of others ({', '.join(sorted(self.others))})" if self.others else "")

    @property
    def warning(self) -> str:
        """What follows where there is more than one; else empty."""
        if self.own + self.by_others < 2:
            return ""
        return f"{self.models} have seen the test part: the best of their figures is too good"


def openings(
    place: Workspace, study: str, part: str, elsewhere: Mapping[str, Collection[str]] | None = None
) -> Openings:
    """The models that the test part `part` (`search.test_parts`) has scored; "" where that is not known any more.

    The same photos, packed at another size or most of them alone, are the same part.

    `elsewhere` are keys of models by study, as runs in MLflow tell of them (`Registry.scored`): of other workspaces, or
    of a folder `reports` that was deleted.
    """
    told = elsewhere or {}
    own = len(_scored(place, study, part) | set(told.get(study, ())))
    if not part:
        return Openings(own)
    names = {*told, *(folder.name for folder in place.reports.glob("*/"))} - {study}
    others = {name: len(_scored(place, name, part, own=False) | set(told.get(name, ()))) for name in sorted(names)}
    return Openings(own, {name: count for name, count in others.items() if count})


def part_of(place: Workspace, study: str) -> str:
    """The word of a study's test part; "" where the study or its data are gone, or have none."""
    try:
        data = data_of(place, study, study_status(place, study).identity)
    except (LesionError, SearchError):
        return ""
    return part_in(data.manifest)


def record(kept: Path, part: str) -> None:
    """Write beside the kept probabilities of which test part they are."""
    told = {"test_part": content_of(part), "test_photos": photos_of(part)}
    write_atomically(kept.with_suffix(".json"), json.dumps(told).encode())


def _scored(place: Workspace, study: str, part: str, *, own: bool = True) -> set[str]:
    """What tells the models of `study` apart that the part has scored.

    Probabilities of earlier releases do not say of which part they are: they are of the study's, if it is known. Where
    a note of it was cut, they count for every part: one opening too many is told, none too few.
    """
    folder = place.reports / study
    kept = folder.glob("tested-*[0-9a-f].npy")
    told: dict[str, str | None] = {path.stem.removeprefix("tested-"): _recorded(path) for path in kept}
    told |= {path.parent.name.removeprefix("promotion-"): "" for path in folder.glob(f"promotion-*/{OLD}")}
    if not told and any(folder.glob("promotion-*/test/per_image.csv")):
        told = {"whose probabilities were removed": ""}
    of_study = part if own else part_of(place, study) if "" in told.values() else ""
    return {key for key, of in told.items() if not part or of is None or same(of or of_study, part)}


def _recorded(kept: Path) -> str | None:
    """Of which part kept probabilities are; "" where nothing says so, None where that was cut."""
    try:
        told = json.loads(kept.with_suffix(".json").read_text())
        return named(str(told["test_part"]), str(told.get("test_photos", "")))
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
