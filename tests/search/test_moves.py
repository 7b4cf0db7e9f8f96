"""Promotion and rollback that die after each of their writes: the same command again leaves what one alone would."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from search.errors import PromotionBlockedError
from search.moves import MOVING, champion_of, complete_move, give_up_move, make_champion, rival_of
from search.registered import Registry
from search.verdicts import GATES
from search.versions import alone, history, rollback
from search.workspace import Workspace, open_workspace

Command = Callable[[], object]
WRITES = ("alias", "tag_model")
VERSIONS = {"promotion": 3, "the first promotion": 1, "rollback": 3, "rollback to 1": 4}


class Killed(BaseException):
    """What a kill -9 looks like."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return open_workspace(tmp_path_factory.mktemp("moves") / "workspace")


@pytest.fixture
def registry(place: Workspace) -> Registry:
    return Registry(place.tracking_uri, place.artifacts)


def registered(registry: Registry, name: str, versions: int = 3) -> None:
    """A model of some versions that no gate has stopped, promoted one after the other but for the last."""
    registry.client.create_registered_model(name)
    for number in range(1, versions + 1):
        registry.client.create_model_version(name, f"file:///nowhere/{number}")
        registry.tag(name, number, {GATES: "passed"})
        if number < versions:
            make_champion(registry, name, number, "promoted from tiny")


def state(place: Workspace, registry: Registry, name: str) -> tuple[Any, ...]:
    """Aliases and moves, without when they were made."""
    moves = [(move.to, move.before, move.why) for move in history(name, place).moves]
    return registry.model(name).aliases, moves, registry.model(name).tags.get(MOVING, "")


def writes(command: Command, most: int | None = None) -> int:
    """How many writes `command` does; it dies instead of one more than `most`."""
    done = 0
    with pytest.MonkeyPatch.context() as patch:
        for name in WRITES:
            write = getattr(Registry, name)

            def counted(*arguments: Any, write: Callable[..., None] = write) -> None:
                nonlocal done
                if done == most:
                    raise Killed
                write(*arguments)
                done += 1

            patch.setattr(Registry, name, counted)
        command()
    return done


def kill(command: Command, after: int) -> None:
    """Run `command`, which dies after so many writes."""
    with pytest.raises(Killed):
        writes(command, after)


@pytest.mark.parametrize("asked", VERSIONS)
def test_death_after_each_write_and_the_same_again(place: Workspace, registry: Registry, asked: str) -> None:
    def command(number: int) -> Command:
        name = f"{asked.replace(' ', '-')}-{number}"
        registered(registry, name, VERSIONS[asked])
        if "rollback" in asked:
            return lambda: rollback(name, place, to=1 if "to" in asked.split() else None)
        return lambda: promote_version(place, registry, name, VERSIONS[asked])

    def told(number: int) -> tuple[Any, ...]:
        return state(place, registry, f"{asked.replace(' ', '-')}-{number}")

    whole = writes(command(0))
    assert whole >= 4
    for after in range(whole):
        again = command(after + 1)
        kill(again, after)
        again()
        assert told(after + 1) == told(0), f"after {after} writes"
    assert (
        told(0)[0]
        == {
            "promotion": {"champion": 3, "previous": 2},
            "the first promotion": {"champion": 1},
            "rollback": {"champion": 1, "previous": 2},
            "rollback to 1": {"champion": 1, "previous": 3},
        }[asked]
    )


def promote_version(place: Workspace, registry: Registry, name: str, number: int) -> None:
    """What a promotion does once the gates let version `number` pass."""
    with alone(place, name):
        complete_move(registry, name)
        make_champion(registry, name, number, "promoted from tiny")


def test_the_next_command_completes_a_move_whatever_it_is(place: Workspace, registry: Registry) -> None:
    for number, follows in enumerate(("history", "rollback", "promotion")):
        for count in range(1, 4):
            name = f"{follows}-after-{count}"
            registered(registry, name)
            kill(partial(promote_version, place, registry, name, 3), count)
            if follows == "rollback":
                assert (rollback(name, place).to, champion_of(registry, name)) == (2, 2)
            if follows == "promotion":
                promote_version(place, registry, name, 1)
            moves = [move.to for move in history(name, place).moves]
            assert moves == [[3, 2, 1], [2, 3, 2, 1], [1, 3, 2, 1]][number], (follows, count)


def test_history_waits_for_nobody_and_completes_nothing_of_who_is_at_work(place: Workspace, registry: Registry) -> None:
    registered(registry, "busy")
    kill(lambda: promote_version(place, registry, "busy", 3), 2)
    before = registry.model("busy").aliases
    with alone(place, "busy"):
        assert [move.to for move in history("busy", place).moves] == [2, 1]
        assert registry.model("busy").aliases == before
    assert [move.to for move in history("busy", place).moves] == [3, 2, 1]


def test_what_somebody_moved_by_hand_meanwhile_stays(place: Workspace, registry: Registry) -> None:
    registered(registry, "by-hand", 4)
    kill(lambda: promote_version(place, registry, "by-hand", 4), 1)
    registry.alias("by-hand", "champion", 1)
    assert [move.to for move in history("by-hand", place).moves] == [3, 2, 1]
    assert registry.model("by-hand").aliases == {"champion": 1, "previous": 2}
    assert rollback("by-hand", place).to == 2


def test_a_version_that_was_deleted_meanwhile_stops_nobody(place: Workspace, registry: Registry) -> None:
    registered(registry, "deleted")
    kill(lambda: promote_version(place, registry, "deleted", 3), 1)
    registry.client.delete_model_version("deleted", "3")
    assert rollback("deleted", place).to == 1


def test_a_move_is_given_up_only_before_the_champion_has_moved(place: Workspace, registry: Registry) -> None:
    for count, (champion, moves) in {1: (2, [2, 1]), 2: (3, [3, 2, 1]), 3: (3, [3, 2, 1])}.items():
        name = f"given-up-{count}"
        registered(registry, name)
        kill(partial(promote_version, place, registry, name, 3), count)
        give_up_move(registry, name, 2)  # another version than the one that was on its way
        assert registry.model(name).tags[MOVING]
        give_up_move(registry, name, 3)
        assert [move.to for move in history(name, place).moves] == moves
        assert registry.model(name).aliases == {"champion": champion, "previous": champion - 1}
        give_up_move(registry, name, 3)  # no move is under way
    assert champion_of(registry, "given-up-1") == 2


def test_a_version_whose_move_was_cut_off_is_compared_with_the_champion_before(
    place: Workspace, registry: Registry
) -> None:
    registered(registry, "compared")
    assert (rival_of(registry, "compared", 3), rival_of(registry, "compared", 2)) == (2, None)
    for count in (1, 2, 3):
        kill(partial(promote_version, place, registry, "compared", 3), count)
        assert rival_of(registry, "compared", 3) == 2
        complete_move(registry, "compared")
        assert rival_of(registry, "compared", 3) is None
        rollback("compared", place)
    assert rival_of(registry, "nobody", 1) is None


def test_another_version_is_compared_with_what_is_the_champion_once_the_move_is_completed(
    place: Workspace, registry: Registry
) -> None:
    registered(registry, "another", 4)
    registry.client.create_model_version("another", "file:///nowhere/5")
    kill(lambda: promote_version(place, registry, "another", 4), 1)
    before = registry.model("another").aliases, registry.model("another").tags
    asked = (4, 5, 3, 1, None)
    assert [rival_of(registry, "another", number) for number in asked] == [3, 4, 4, 4, 4]
    assert (registry.model("another").aliases, registry.model("another").tags) == before
    complete_move(registry, "another")
    assert [rival_of(registry, "another", number) for number in asked] == [None, 4, 4, 4, 4]


def test_a_version_is_compared_with_the_champion_of_now_where_somebody_has_moved_it_by_hand(
    place: Workspace, registry: Registry
) -> None:
    for count in (1, 2, 3):
        name = f"by-hand-{count}"
        registered(registry, name)
        kill(partial(promote_version, place, registry, name, 3), count)
        registry.alias(name, "champion", 1)
        assert rival_of(registry, name, 3) == 1
        promote_version(place, registry, name, 3)
        assert registry.model(name).aliases == {"champion": 3, "previous": 1}


def test_a_version_is_compared_with_none_that_was_deleted_meanwhile(place: Workspace, registry: Registry) -> None:
    for count in (1, 2, 3):
        name = f"gone-{count}"
        registered(registry, name)
        kill(partial(promote_version, place, registry, name, 3), count)
        registry.client.delete_model_version(name, "2")  # and the aliases that it had, as MLflow does
        assert rival_of(registry, name, 3) is None
        promote_version(place, registry, name, 3)
        assert champion_of(registry, name) == 3


def test_mlflow_that_takes_no_writes_still_tells_the_history(
    place: Workspace, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered(registry, "read-only")
    kill(lambda: promote_version(place, registry, "read-only", 3), 1)

    def refuse(*arguments: Any) -> None:
        raise PromotionBlockedError("MLflow did not do it")

    for name in WRITES:
        monkeypatch.setattr(Registry, name, refuse)
    assert [move.to for move in history("read-only", place).moves] == [2, 1]
