"""Shares of settings and what shuffled values reach: both are parts of a whole, and noise is rarely called more."""

from __future__ import annotations

import numpy as np
import pytest

from search.reporting.charts import importance
from search.reporting.design import Factor, Number
from search.reporting.importance import PED_ANOVA, Importance, _told
from search.rows import TrialRow

SETTINGS = (
    Factor("loss", ("cross_entropy", "focal")),
    Factor("head", ("linear", "dense", "mlp", "cosine")),
    Factor("image_size", (32, 64)),
    Number("optimizer.adamw.lr", 1e-4, 1e-2, log=True),
    Number("head.dropout", 0.0, 0.5),
)

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::optuna.exceptions.ExperimentalWarning")


def drawn(seed: int, trials: int, lr: float = 0.0, size: float = 0.0) -> Importance:
    """PED-ANOVA of a study of noise, besides which the rate's distance to 0.001 and the larger size count so much."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(trials):
        settings = {
            "loss": str(rng.choice(["cross_entropy", "focal"], p=[0.9, 0.1])),
            "head": str(rng.choice(["linear", "dense", "mlp", "cosine"])),
            "image_size": int(rng.choice([32, 64])),
            "optimizer.adamw.lr": float(10 ** rng.uniform(-4, -2)),
            "head.dropout": float(rng.uniform(0, 0.5)),
        }
        value = float(rng.normal()) - lr * abs(np.log10(settings["optimizer.adamw.lr"]) + 3)
        value += size * (settings["image_size"] == 64)
        rows.append(TrialRow(number, "complete", value, 1, settings, {1: value}, {}))
    return _told("", PED_ANOVA, rows, SETTINGS, 1, "maximize", 0)


def test_what_shuffled_values_reach_is_a_share_and_is_drawn_whole() -> None:
    above, most = 0, 0.0
    for seed in range(5):
        found = drawn(seed, 40)
        assert all(0 <= each <= 1 for each in found.chance.values()), found.chance
        above += sum(share > found.chance[name] for name, share in found.shares.items())
        most = max(most, *found.chance.values())
        chart = importance([found])
        assert max(x for bar in chart["data"] for x in bar["x"]) < chart["layout"]["xaxis"]["range"][1]
    assert most > 0.5, "shuffled values give a setting more than half of the rest"
    # Of 25 settings that do nothing 1.25 are to be expected; more than five of them in 0.1 % of such draws.
    assert above <= 5


def test_a_setting_that_decides_does_not_hide_what_another_adds() -> None:
    found = drawn(7, 120, lr=6.0, size=3.0)
    above = {name for name, share in found.shares.items() if share > found.chance[name]}
    assert {"optimizer.adamw.lr", "image_size"} <= above
    assert found.shares["image_size"] < 0.3
