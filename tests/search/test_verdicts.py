"""Judgements of a version: none is erased by a later one, and what a tag cannot hold goes from the old end."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

from search.gates import Verdict, read_gates
from search.moves import Move, _write_move, moves_of
from search.registered import LONGEST_TAG
from search.verdicts import (
    GATES,
    GATES_FILE,
    JUDGEMENTS,
    Judgement,
    judgements_of,
    newest_that_fit,
    tags_of,
    with_latest,
)

DAY = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
STRICT = replace(read_gates(), file="somewhere/strict.yaml", digest="5" * 64)
FAILED = (Verdict("accuracy", "failed", None, "≥ 0.9", "0.5 is below 0.9"),)


def test_a_judgement_is_read_back_from_the_tags_as_it_was_written() -> None:
    first = Judgement.now(STRICT, FAILED, DAY)
    assert first == Judgement("2026-01-02T03:04:05+00:00", "strict.yaml", "5" * 12, "stopped by accuracy")
    second = Judgement.now(read_gates(), (), DAY)
    both = with_latest([first], second)
    assert judgements_of(tags_of(read_gates(), (), both, LONGEST_TAG)) == (first, second)
    assert [each.passed for each in both] == [False, True]
    assert with_latest(both, replace(second, at="later")) == both
    assert len(with_latest(both, replace(first, at="later"))) == 3


def test_the_one_judgement_of_an_earlier_release_is_known_and_of_none_nothing() -> None:
    old = {GATES: "stopped by accuracy", GATES_FILE: "my gates.yaml 0123"}
    assert judgements_of(old) == (Judgement("", "my gates.yaml", "0123", "stopped by accuracy"),)
    assert judgements_of({**old, JUDGEMENTS: "torn"}) == judgements_of(old)
    assert judgements_of({}) == judgements_of({GATES: ""}) == ()


def test_the_newest_judgements_fit_into_a_tag_however_many_gates_stopped() -> None:
    many = tuple(replace(FAILED[0], gate=f"{'class ' * 30}{n}") for n in range(200))
    judgements: tuple[Judgement, ...] = ()
    for n in range(40):
        judgements = with_latest(judgements, Judgement.now(replace(STRICT, digest=f"{n:064}"[::-1]), many, DAY))
    tag = tags_of(STRICT, many, judgements, LONGEST_TAG)[JUDGEMENTS]
    assert len(tag) <= LONGEST_TAG
    kept = judgements_of({JUDGEMENTS: tag})
    assert len(kept) > 3
    assert kept == judgements[-len(kept) :]
    assert newest_that_fit([{"name": "x" * 99}], 50) == "[]"


class Tags:
    """A registered model that holds no tag of more characters than MLflow does."""

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}

    def model(self, name: str) -> Tags:
        return self

    def tag_model(self, name: str, tag: str, value: str) -> None:
        assert len(value) <= LONGEST_TAG, f"{len(value)} characters"
        self.tags[tag] = value


def test_forty_moves_of_a_study_with_a_long_name_fit_into_their_tag() -> None:
    registry, why = Tags(), f"promoted from {'s' * 120}"
    moves = [Move(DAY.isoformat(), n, n - 1, why) for n in range(1, 41)]
    for move in moves:
        _write_move(registry, "model", move)  # type: ignore[arg-type]
    kept = moves_of(registry, "model")  # type: ignore[arg-type]
    assert 10 < len(kept) < 40
    assert kept == moves[-len(kept) :]
    assert len(json.dumps([vars(move) for move in moves[-len(kept) - 1 :]])) > LONGEST_TAG
