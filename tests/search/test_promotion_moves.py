"""Promotion that died as the alias moved: the same command again, by the same gates and by others."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from drawn_study import searched, workspace_with_data

from lesion.data.packed import open_data
from search.gates import Gates, read_gates
from search.promotion import Promotion, promote, rehearse
from search.registered import Registry
from search.versions import history
from search.workspace import Workspace

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
GATES = {
    "open": "",
    "closed": "metrics: {accuracy: {at_least: 1.0}}\n",
    "compared": "champion: {metrics: accuracy, margin: 1.0}\n",  # nothing is worse by more: models of one epoch guess
}

VIEWS = {1: 1, 2: 2, 3: 4}
"""Of each version: what makes the same trial another model."""


class Killed(BaseException):
    """What a kill -9 looks like."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    place = workspace_with_data(tmp_path_factory.mktemp("moves"))
    searched(place, open_data(place.path, "drawn"))
    return place


@pytest.fixture(scope="module")
def gates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Gates]:
    folder = tmp_path_factory.mktemp("gates")
    return {name: read_gates(written(folder / f"{name}.yaml", text)) for name, text in GATES.items()}


def written(path: Path, text: str) -> Path:
    path.write_text("decisions: balanced\n" + text)
    return path


@pytest.fixture
def registry(place: Workspace) -> Registry:
    return Registry(place.tracking_uri, place.artifacts)


def promoted(place: Workspace, name: str, gates: Gates, version: int) -> Promotion:
    """The promotion of a model that no other `version` of `name` is."""
    return promote("drawn", place, model=name, views=VIEWS[version], ensemble=1, gates=gates)


def kill(command: Callable[[], object], after: int) -> None:
    """Run `command`, which dies as it would write to a registered model once more than `after` times."""
    done = 0
    with pytest.MonkeyPatch.context() as patch:
        for name in ("alias", "tag_model"):
            write = getattr(Registry, name)

            def counted(*arguments: Any, write: Callable[..., None] = write) -> None:
                nonlocal done
                if done == after:
                    raise Killed
                write(*arguments)
                done += 1

            patch.setattr(Registry, name, counted)
        with pytest.raises(Killed):
            command()


def aliases(registry: Registry, name: str) -> dict[str, int]:
    return {alias: int(number) for alias, number in registry.model(name).aliases.items()}


@pytest.mark.parametrize("after", [1, 3])
def test_a_promotion_killed_as_the_alias_moved_is_judged_and_completed_as_it_was(place, registry, gates, after):
    name = f"moved-{after}"
    promoted(place, name, gates["open"], 1)
    kill(partial(promoted, place, name, gates["compared"], 2), after)
    again = promoted(place, name, gates["compared"], 2)
    assert (again.champion, [verdict.gate for verdict in again.verdicts]) == (True, ["accuracy against version 1"])
    assert aliases(registry, name) == {"champion": 2, "previous": 1}
    told = history(name, place)
    assert [(move.to, move.before) for move in told.moves] == [(2, 1), (1, None)]
    assert [each.told for each in told.versions[0].judgements] == ["passed"]  # by comparison with version 1, both times


@pytest.mark.parametrize("after", [1, 2])
def test_a_promotion_killed_as_the_alias_moved_and_stopped_by_other_gates(place, registry, gates, after):
    """Before the alias has been moved it stays; a version that is the champion already stays that, as always."""
    name = f"stopped-{after}"
    promoted(place, name, gates["open"], 1)
    kill(partial(promoted, place, name, gates["open"], 2), after)
    champion = aliases(registry, name)["champion"]
    assert champion == after
    again = promoted(place, name, gates["closed"], 2)
    assert (again.passed, again.champion) == (False, champion == 2)
    stays = "it was the champion before and stays it" if champion == 2 else "the champion stays what it was"
    assert f"stopped by accuracy: {stays}" in again.message
    assert aliases(registry, name) == ({"champion": 1} if champion == 1 else {"champion": 2, "previous": 1})
    assert [move.to for move in history(name, place).moves] == ([1] if champion == 1 else [2, 1])
    assert aliases(registry, name)["champion"] == champion  # `history` completes nothing that was given up


def test_what_a_gate_has_stopped_is_no_champion_whenever_its_judgement_dies(place, registry, gates, monkeypatch):
    promoted(place, "cut", gates["open"], 1)
    kill(partial(promoted, place, "cut", gates["open"], 2), 1)
    with monkeypatch.context() as patch:
        describe = Registry.describe

        def last(*arguments: Any) -> None:
            describe(*arguments)
            raise Killed

        patch.setattr(Registry, "describe", last)  # the last that is written of a judgement
        with pytest.raises(Killed):
            promoted(place, "cut", gates["closed"], 2)
    told = history("cut", place)
    assert told.versions[0].judgements[-1].told == "stopped by accuracy"
    assert aliases(registry, "cut") == {"champion": 1}


def test_a_promotion_killed_as_the_alias_moved_is_compared_with_what_somebody_made_the_champion_since(
    place, registry, gates
):
    for version in (1, 2):
        promoted(place, "by-hand", gates["open"], version)
    kill(partial(promoted, place, "by-hand", gates["compared"], 3), 1)
    registry.alias("by-hand", "champion", 1)
    again = promoted(place, "by-hand", gates["compared"], 3)
    assert [verdict.gate for verdict in again.verdicts] == ["accuracy against version 1"]
    assert aliases(registry, "by-hand") == {"champion": 3, "previous": 1}
    assert [(move.to, move.before) for move in history("by-hand", place).moves] == [(3, 1), (2, 1), (1, None)]


@pytest.mark.parametrize("after", [1, 2])
def test_a_promotion_killed_as_the_alias_moved_whose_champion_was_deleted_since(place, registry, gates, after):
    name = f"deleted-{after}"
    promoted(place, name, gates["open"], 1)
    kill(partial(promoted, place, name, gates["compared"], 2), after)
    registry.client.delete_model_version(name, "1")
    again = promoted(place, name, gates["compared"], 2)
    assert (again.champion, [verdict.outcome for verdict in again.verdicts]) == (True, ["not judged"])
    assert aliases(registry, name) == {"champion": 2}


@pytest.mark.parametrize("after", [1, 2])
def test_a_rehearsal_beside_a_killed_promotion_compares_as_a_promotion_would_and_moves_nothing(
    place, registry, gates, after
):
    name = f"rehearsed-{after}"
    promoted(place, name, gates["open"], 1)
    kill(partial(promoted, place, name, gates["open"], 2), after)
    found = registry.model(name).aliases, registry.model(name).tags
    for version, rival, first in ((2, 1, "judges it again first"), (3, 2, "finishes it first")):
        told = rehearse("drawn", place, model=name, views=VIEWS[version], ensemble=1, gates=gates["compared"])
        (verdict,) = told.verdicts
        assert f"it is compared with version {rival} there" in verdict.why
        assert f"the move of the champion to version 2 is not finished; a promotion {first}" in told.notes
        assert told.champion == after
        assert (registry.model(name).aliases, registry.model(name).tags) == found
    for version, rival in ((2, 1), (3, 2)):
        (verdict,) = promoted(place, name, gates["compared"], version).verdicts
        assert verdict.gate == f"accuracy against version {rival}"
