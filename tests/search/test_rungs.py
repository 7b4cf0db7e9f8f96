"""Rungs of a scheduler whose trials are rows of a ledger, under whatever names Ray has for them."""

from types import SimpleNamespace
from typing import Any

from search.rows import TrialRow
from search.searcher import ReplayedAsha
from search.space import Asha
from search.trial import Order


def unfinished(number: int, values: list[float]) -> TrialRow:
    history = dict(enumerate(values, 1))
    return TrialRow(number, "running", values[-1] if values else None, len(values), {}, history, {})


def ray_trial(name: str, number: int) -> Any:
    return SimpleNamespace(trial_id=name, config={"order": Order(number, 0)})


def told(asha: ReplayedAsha, trial: Any, epoch: int, value: float) -> str:
    return str(asha.on_trial_result(None, trial, {"epoch": epoch, "value": value}))


def asha_of(*rows: TrialRow) -> ReplayedAsha:
    return ReplayedAsha(Asha(1, 2), 8, "maximize", rows)


def test_an_adopted_row_that_goes_on_as_another_trial_is_in_each_rung_once() -> None:
    asha = asha_of(unfinished(0, [0.1, 0.2]))
    for name in ("a", "a", "b", "c"):  # its worker was lost, and then Ray gave it up, twice
        asha.on_trial_add(None, ray_trial(name, 0))
        assert asha.rungs() == {1: [0.1], 2: [0.2], 4: [], 8: []}


def test_a_row_that_goes_on_as_another_trial_is_judged_at_its_own_epochs() -> None:
    """What it was worth in this session, which no ledger had told of as it began, goes on with it."""
    asha = asha_of(*(unfinished(number, [0.1, 0.2, 0.3, 0.4]) for number in (1, 2, 3)))
    first = ray_trial("a", 0)
    asha.on_trial_add(None, first)
    assert [told(asha, first, epoch, value) for epoch, value in ((1, 0.5), (2, 0.6))] == ["CONTINUE"] * 2
    asha.on_trial_error(None, first)
    again = ray_trial("b", 0)
    asha.on_trial_add(None, again)
    # At epoch 3 there is no rung; taken for another trial, it would be judged by it in the rung of epoch 2, and stay.
    assert told(asha, again, 3, 0.1) == "CONTINUE"
    assert asha.rungs() == {1: [0.1, 0.1, 0.1, 0.5], 2: [0.2, 0.2, 0.2, 0.6], 4: [0.4, 0.4, 0.4], 8: []}
    assert told(asha, again, 4, 0.3) == "STOP"


def test_rows_that_wait_for_their_turn_are_in_the_rungs_already() -> None:
    asha = asha_of(*(unfinished(number, [0.5, 0.6, 0.7]) for number in range(3)), unfinished(3, []))
    assert asha.rungs() == {1: [0.5] * 3, 2: [0.6] * 3, 4: [], 8: []}
    first = ray_trial("a", 3)
    asha.on_trial_add(None, first)
    assert told(asha, first, 1, 0.4) == "STOP"
