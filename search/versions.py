"""The versions of a registered model: which one is champion, what came before, and the way back.

An alias is moved by promotion and by `rollback`, one at a time, and every move is written down with the model itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from search.errors import PromotionBlockedError, PromotionError
from search.registered import CHAMPION, LONGEST_TAG, PREVIOUS, STUDY, Registry
from search.verdicts import GATES, STOPPED_BY, Judgement, judgements_of, newest_that_fit
from search.workspace import Workspace, checked_name, existing_workspace

MOVES = "lesion.moves"
"""Tag of a registered model: the moves of its champion as JSON."""
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
class Version:
    """One version: when it was made (ISO 8601, UTC), its aliases, and what the gates said, in words and by name.

    `gates` is "" where a promotion was killed before they were written down. `judgements` are all that it has had,
    oldest first: of the same trials by other gates.
    """

    number: int
    created: str
    study: str
    run_id: str
    aliases: tuple[str, ...]
    gates: str
    stopped_by: str
    judgements: tuple[Judgement, ...] = ()


@dataclass(frozen=True)
class History:
    """Versions and moves of a registered model, newest first."""

    model: str
    versions: tuple[Version, ...]
    moves: tuple[Move, ...]


@contextmanager
def alone(place: Workspace, name: str) -> Iterator[None]:
    """Hold the lock of the registered model `name`; PromotionBlockedError where another process has it."""
    place.path.joinpath("locks").mkdir(exist_ok=True)
    lock = FileLock(place.path / "locks" / f"promote-{name}.lock", timeout=0)
    try:
        with lock:
            yield
    except Timeout:
        raise PromotionBlockedError(
            f"{name} is being promoted, or rolled back, by another process; wait for it"
        ) from None


def promoting(place: Workspace) -> bool:
    """Whether some model of the workspace is being promoted, or rolled back, at this moment."""
    for path in place.path.joinpath("locks").glob("promote-*.lock"):
        try:
            with FileLock(path, timeout=0):
                pass
        except Timeout:
            return True
    return False


def make_champion(registry: Registry, name: str, number: int, why: str) -> None:
    """Make version `number` the champion and the one before it `previous`; nothing moves where it is already."""
    aliases = aliases_of(registry, name)
    before = aliases.get(CHAMPION)
    if before == number:
        return
    if before is not None:
        registry.alias(name, PREVIOUS, before)
    registry.alias(name, CHAMPION, number)
    _write_move(registry, name, Move(_now(), number, before, why))


def rollback(
    model: str,
    workspace: Workspace | Path | str | None = None,
    *,
    to: int | None = None,
    tracking_uri: str | None = None,
) -> Move:
    """Make the version before the champion, or version `to`, the champion again; the two change places.

    Raises PromotionError where there is no such version, or nothing to go back to, and for one that no gate has judged,
    or whose newest judgement stopped it, whether it was the champion before or not.
    """
    place = existing_workspace(workspace)
    name = checked_name(model)
    registry = Registry(tracking_uri or place.tracking_uri, place.artifacts)
    with alone(place, name):
        aliases = aliases_of(registry, name)
        now, target = aliases.get(CHAMPION), to if to is not None else aliases.get(PREVIOUS)
        versions = _versions(registry, name)
        if target is None:
            raise PromotionError(f"{name} has no version before its champion; 'lesion-search history {name}' lists all")
        if target not in versions:
            raise PromotionError(f"{name} has no version {target}; it has {', '.join(map(str, sorted(versions)))}")
        if target == now:
            raise PromotionError(f"version {target} of {name} is the champion already")
        _require_passed(name, target, versions[target].tags)
        # The champion first: a process that dies between the two leaves the model that was asked for in its place.
        registry.alias(name, CHAMPION, target)
        if now is not None:
            registry.alias(name, PREVIOUS, now)
        move = Move(_now(), target, now, "rolled back")
        _write_move(registry, name, move)
    return move


def _require_passed(name: str, number: int, tags: Mapping[str, str]) -> None:
    found, study = judgements_of(tags), tags.get(STUDY) or "STUDY"
    again = f"'lesion-search promote {study} --model {name}' with the options that it was made with"
    if not found:
        raise PromotionError(
            f"no gate has judged version {number} of {name}: its promotion was cut off before; {again} judges it by "
            "what is known, and opens nothing again"
        )
    if not found[-1].passed:
        raise PromotionError(
            f"version {number} of {name} cannot be the champion: {tags.get(STOPPED_BY) or 'a gate'} stopped it "
            f"({found[-1].by}); {again}, and with --gates FILE that lets it pass, is the way if that is what you want"
        )


def history(model: str, workspace: Workspace | Path | str | None = None, *, tracking_uri: str | None = None) -> History:
    """Every version of a registered model and every move of its champion; PromotionError for an unknown model."""
    place = existing_workspace(workspace)
    name = checked_name(model)
    registry = Registry(tracking_uri or place.tracking_uri, place.artifacts)
    aliases = aliases_of(registry, name)
    versions = [
        Version(
            number,
            datetime.fromtimestamp(found.creation_timestamp / 1000, UTC).isoformat(timespec="seconds"),
            found.tags.get(STUDY, ""),
            str(found.run_id),
            tuple(sorted(alias for alias, at in aliases.items() if at == number)),
            found.tags.get(GATES, ""),
            found.tags.get(STOPPED_BY, ""),
            judgements_of(found.tags),
        )
        for number, found in _versions(registry, name).items()
    ]
    versions.sort(key=lambda version: -version.number)
    return History(name, tuple(versions), tuple(reversed(_moves(registry, name))))


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


def _versions(registry: Registry, name: str) -> dict[int, Any]:
    return {int(found.version): found for found in registry.versions(name)}


def _moves(registry: Registry, name: str) -> list[Move]:
    tags: Mapping[str, str] = registry.model(name).tags
    try:
        return [Move(**entry) for entry in json.loads(tags.get(MOVES, "[]"))]
    except (ValueError, TypeError):  # somebody wrote into the tag; what is known besides stays readable
        return []


def _write_move(registry: Registry, name: str, move: Move) -> None:
    moves = [*_moves(registry, name), move][-KEPT:]
    registry.tag_model(name, MOVES, newest_that_fit([vars(each) for each in moves], LONGEST_TAG))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
