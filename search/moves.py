"""How the alias `champion` of a registered model moves: as a whole, whenever the process that moves it dies.

A move is several writes of MLflow. So it is noted with the model before the first of them, and the note goes after the
last; what comes next (a promotion, a rollback, `history`) completes what a process that died has left.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from search.errors import PromotionBlockedError, PromotionError
from search.registered import CHAMPION, LONGEST_TAG, PREVIOUS, Registry
from search.verdicts import newest_that_fit

MOVES = "lesion.moves"
"""Tag of a registered model: the moves of its champion as JSON."""
MOVING = "lesion.moving"
"""Tag of a registered model: the move that is under way as JSON; empty where none is."""
KEPT = 40
"""Moves that are kept, or as many of the newest as fit into the tag."""


@dataclass(frozen=True)
class Move:
    """Version `to` became the champion in place of `before` (None: there was none), and why."""

    at: str
    to: int
    before: int | None
    why: str


@dataclass(frozen=True)
class UnderWay:
    """A move that is noted and may not have been made as a whole; `previous` is that alias before it."""

    move: Move
    previous: int | None

    @property
    def aliases(self) -> dict[str, int]:
        """The aliases after it."""
        after = {CHAMPION: self.move.to, PREVIOUS: self.move.before}
        return {alias: number for alias, number in after.items() if number is not None}

    def leaves(self, aliases: Mapping[str, int]) -> bool:
        """Whether these are the aliases at some moment of it; somebody has moved them by hand where they are not."""
        return aliases.get(CHAMPION) in (self.move.before, self.move.to) and aliases.get(PREVIOUS) in (
            self.previous, self.aliases.get(PREVIOUS, self.previous),
        )  # fmt: skip


def make_champion(registry: Registry, name: str, number: int, why: str) -> Move | None:
    """Make version `number` the champion and the one before it `previous`; None where it is the champion already.

    The caller is alone with the model, and no move of it is under way.
    """
    aliases = aliases_of(registry, name)
    before = aliases.get(CHAMPION)
    if before == number:
        return None
    begun = UnderWay(Move(_now(), number, before, why), aliases.get(PREVIOUS))
    registry.tag_model(name, MOVING, json.dumps({**vars(begun.move), "previous": begun.previous}))
    _carry_out(registry, name, begun)
    return begun.move


def complete_move(registry: Registry, name: str, but: int | None = None) -> UnderWay | None:
    """Make what is left of a move whose process died; returns it, None where there is none.

    One to version `but` stays as it is. One whose versions were deleted since, or after which somebody has moved the
    aliases by hand, is given up. The caller is alone with the model.
    """
    begun = under_way(registry, name)
    if begun is None or begun.move.to == but:
        return None
    if _stands(registry, name, begun):
        _carry_out(registry, name, begun)
        return begun
    registry.tag_model(name, MOVING, "")
    return None


def give_up_move(registry: Registry, name: str, number: int) -> None:
    """Give up a move to version `number` whose process died before the champion was moved: a gate now stops it.

    Where it is the champion already the move stays as it is: no judgement takes that away, and the rest of the move is
    what `rollback` and `history` need. The caller is alone with the model.
    """
    begun = under_way(registry, name)
    if begun is not None and begun.move.to == number and champion_of(registry, name) != number:
        registry.tag_model(name, MOVING, "")


def under_way(registry: Registry, name: str) -> UnderWay | None:
    """The move that is noted as under way; None where none is, or there is no such model."""
    tags = _tags(registry, name)
    try:
        noted = json.loads(tags.get(MOVING) or "null")
        return UnderWay(previous=noted.pop("previous"), move=Move(**noted)) if noted else None
    except (ValueError, TypeError, KeyError, AttributeError):  # somebody wrote into the tag
        return None


def moves_of(registry: Registry, name: str) -> list[Move]:
    """The moves of a model, oldest first; none where there is no such model."""
    try:
        return [Move(**entry) for entry in json.loads(_tags(registry, name).get(MOVES, "[]"))]
    except (ValueError, TypeError):  # somebody wrote into the tag; what is known besides stays readable
        return []


def aliases_of(registry: Registry, name: str) -> dict[str, int]:
    """The aliases of a registered model; PromotionError for one that is not there."""
    return {alias: int(number) for alias, number in registry.model(name).aliases.items()}


def champion_of(registry: Registry, name: str) -> int | None:
    """The version that is the champion; None where there is none, or no such model yet."""
    try:
        return aliases_of(registry, name).get(CHAMPION)
    except PromotionBlockedError:
        raise
    except PromotionError:
        return None


def rival_of(registry: Registry, name: str, number: int | None) -> int | None:
    """The version with which version `number` is compared: the champion, or none where it is that itself.

    `number` is None for a version that is yet to be made. Where the process died that made it the champion, it is
    compared with the one before: the promotion is judged as it was then. A move to another version is taken as made,
    for a promotion completes it first; one that would be given up counts for nothing.
    """
    begun = unfinished(registry, name)
    if begun is None:
        now = champion_of(registry, name)
    else:
        now = begun.move.before if begun.move.to == number else begun.move.to
    return None if now == number else now


def unfinished(registry: Registry, name: str) -> UnderWay | None:
    """The move that is noted as under way and can be completed; None where there is none."""
    begun = under_way(registry, name)
    return begun if begun is not None and _stands(registry, name, begun) else None


def _stands(registry: Registry, name: str, begun: UnderWay) -> bool:
    """Whether a move can be completed: its versions are there, and nobody has moved the aliases by hand since."""
    versions = {int(found.version) for found in registry.versions(name)}
    return begun.leaves(aliases_of(registry, name)) and versions.issuperset(begun.aliases.values())


def _carry_out(registry: Registry, name: str, begun: UnderWay) -> None:
    # The champion first: where nobody comes to complete it, the model that was asked for is in its place.
    for alias, number in begun.aliases.items():
        registry.alias(name, alias, number)
    _write_move(registry, name, begun.move)
    registry.tag_model(name, MOVING, "")


def _write_move(registry: Registry, name: str, move: Move) -> None:
    moves = moves_of(registry, name)
    if moves[-1:] != [move]:
        kept = [*moves, move][-KEPT:]
        registry.tag_model(name, MOVES, newest_that_fit([vars(each) for each in kept], LONGEST_TAG))


def _tags(registry: Registry, name: str) -> Mapping[str, str]:
    try:
        tags: Mapping[str, str] = registry.model(name).tags
    except PromotionBlockedError:
        raise
    except PromotionError:
        return {}
    return tags


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
