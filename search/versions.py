"""The versions of a registered model: which one is champion, what came before, and the way back.

An alias is moved by promotion and by `rollback`, one at a time; `search.moves` says how.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from search.errors import PromotionBlockedError, PromotionError
from search.moves import Move, UnderWay, aliases_of, complete_move, make_champion, moves_of, under_way
from search.registered import CHAMPION, PREVIOUS, STUDY, Registry
from search.verdicts import GATES, STOPPED_BY, Judgement, judgements_of
from search.workspace import Workspace, checked_name, existing_workspace

ROLLED_BACK = "rolled back"
"""Why a champion moved, by `rollback`."""


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
    """Hold the workspace's lock of the registered model `name`; PromotionBlockedError where another process has it.

    MLflow has no lock: another workspace on the same server is not kept out.
    """
    place.path.joinpath("locks").mkdir(exist_ok=True)
    # Not at once: a doctor that asks whether somebody is at work holds it for a moment.
    lock = FileLock(place.path / "locks" / f"promote-{name}.lock", timeout=1)
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
        begun = complete_move(registry, name)
        aliases = aliases_of(registry, name)
        if begun is not None and begun.move.why == ROLLED_BACK and to in _asked(begun):
            return begun.move  # this very command, which was killed
        now, target = aliases.get(CHAMPION), to if to is not None else aliases.get(PREVIOUS)
        versions = _versions(registry, name)
        if target is None:
            raise PromotionError(f"{name} has no version before its champion; 'lesion-search history {name}' lists all")
        if target not in versions:
            raise PromotionError(f"{name} has no version {target}; it has {', '.join(map(str, sorted(versions)))}")
        if target == now:
            raise PromotionError(f"version {target} of {name} is the champion already")
        _require_passed(name, target, versions[target].tags)
        move = make_champion(registry, name, target, ROLLED_BACK)
        assert move is not None  # its target is not the champion
    return move


def _asked(begun: UnderWay) -> tuple[int | None, ...]:
    """Versions to which somebody may have asked to roll back who began this; None is the one before the champion."""
    return (begun.move.to, None) if begun.move.to == begun.previous else (begun.move.to,)


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
    """Every version of a registered model and every move of its champion; PromotionError for an unknown model.

    A move whose process was killed is completed, unless another process is at work on the model.
    """
    place = existing_workspace(workspace)
    name = checked_name(model)
    registry = Registry(tracking_uri or place.tracking_uri, place.artifacts)
    if under_way(registry, name) is not None:
        with suppress(PromotionBlockedError), alone(place, name):  # at work, or MLflow takes no writes
            complete_move(registry, name)
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
    return History(name, tuple(versions), tuple(reversed(moves_of(registry, name))))


def _versions(registry: Registry, name: str) -> dict[int, Any]:
    return {int(found.version): found for found in registry.versions(name)}
