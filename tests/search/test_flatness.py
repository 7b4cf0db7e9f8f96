"""Searches of a function that is known, so that what is left to gain is known too."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
import pytest

from search.flatness import Left, drawn, encoded, left_to_gain
from search.proposals import History, Proposal
from search.rows import TrialRow


class Hill:
    """Best at lr 0.001 with the focal loss and gamma 2, where it is 0.87; flat elsewhere in nothing."""

    def sample(self, trial: Any) -> dict[str, Any]:
        settings = {
            "lr": trial.suggest_float("lr", 1e-5, 1e-1, log=True),
            "loss": trial.suggest_categorical("loss", ["cross_entropy", "focal"]),
        }
        if settings["loss"] == "focal":
            settings["gamma"] = trial.suggest_float("gamma", 0.5, 3.0)
        return settings


def height(settings: Mapping[str, Any]) -> float:
    slope = 0.05 * (math.log10(settings["lr"]) + 3) ** 2 / 4
    return 0.85 - slope + (0.02 - 0.01 * abs(settings["gamma"] - 2) if "gamma" in settings else 0.0)


def searched(trials: int, noise: float = 0.0) -> list[TrialRow]:
    study, rng, rows = optuna.create_study(direction="maximize"), np.random.default_rng(0), []
    for number in range(trials):
        study.sampler = Proposal(number, History("maximize"))
        trial = study.ask()
        settings = Hill().sample(trial)
        value = height(settings) + noise * rng.normal()
        study.tell(trial, value)
        rows.append(TrialRow(number, "complete", value, 4, settings, {4: value}, {}))
    return rows


def left(rows: list[TrialRow], error: float = 0.015, direction: str = "maximize") -> Left | None:
    return left_to_gain(rows, Hill(), direction, lambda row: error)


@pytest.mark.slow
def test_a_search_that_has_found_the_top_is_flat_and_one_in_noise_is_not() -> None:
    rows = searched(31)
    found = left(rows)
    assert found is not None
    assert found.flat
    assert 0 <= 0.87 - max(row.value or 0.0 for row in rows) <= found.gain  # the bound holds
    noisy = left(searched(31, noise=0.02))
    assert noisy is not None
    assert not noisy.flat
    assert "is left to gain, the best value is uncertain by 0.015" in str(noisy)


@pytest.mark.slow
def test_direction_and_finer_noise_are_heeded() -> None:
    rows = searched(31)
    turned = [TrialRow(r.number, r.state, -(r.value or 0), 4, r.settings, {}, {}) for r in rows]
    there, back = left(rows, 1e-4), left(turned, 1e-4, "minimize")
    assert there is not None
    assert back is not None
    assert there.gain == pytest.approx(back.gain, abs=1e-6)
    assert not there.flat


def test_few_trials_and_unknown_noise_end_nothing() -> None:
    few = [TrialRow(n, "complete", 0.5, 4, {"lr": 0.1, "loss": "focal"}, {}, {}) for n in range(19)]
    assert left(few) is None
    pruned = [TrialRow(n, "pruned", 0.5, 1, {"lr": 0.1, "loss": "focal"}, {}, {}) for n in range(40)]
    assert left(pruned) is None
    assert left([*few, few[0]], float("nan")) is None


def test_settings_become_numbers_whatever_their_scale_and_branch() -> None:
    points = drawn(Hill(), 400)
    trials, table = encoded([{"lr": 1e-3, "loss": "cross_entropy"}], points)
    assert table.shape == (400, 4)  # gamma, loss twice, lr
    assert trials[0].tolist() == [0.5, 1.0, 0.0, pytest.approx(0.5, abs=0.05)]
    assert 0 <= table.min() < table.max() <= 1
