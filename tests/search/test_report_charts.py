"""Charts and costs of a report, on rows that no search has to run for."""

from __future__ import annotations

import csv
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from search.identity import Identity
from search.reporting.charts import importance, learning_curves, progress
from search.reporting.effects import ComponentEffects
from search.reporting.files import write_tables
from search.reporting.gather import Reading
from search.reporting.importance import Importance
from search.rows import TrialRow
from search.study import StudyStatus

BEGAN = datetime(2026, 11, 23, 8)
IDENTITY = Identity("d", "h", "holdout", "s", "mean_auc", "maximize", {"epochs": 3, "general": {}, "components": {}})


def row(number: int, state: str, value: float | None, began: float, hours: float, **noted: Any) -> TrialRow:
    """A trial on one device that began so many hours after the first, and took so many."""
    started = BEGAN + timedelta(hours=began)
    ended = None if state == "running" else started + timedelta(hours=hours)
    noted = {"seconds": 3600.0 * hours, "device_seconds": 3600.0 * hours, **noted}
    return TrialRow(number, state, value, 2, {}, {1: 0.7, 2: value or 0.7}, noted, started, ended)


def reading(*rows: TrialRow, driven: bool = False) -> Reading:
    status = StudyStatus("mine", IDENTITY, rows, driven)
    return Reading(
        status, rows, ComponentEffects("mine", "mean_auc", "maximize", (), ()), (), None, (), None, (), (), None, BEGAN
    )


@pytest.mark.parametrize(("over", "ends"), [("time", [11.0, 12.5]), ("cost", [11.0, 12.5])])
def test_what_failed_trials_took_is_spent(over: str, ends: list[float]) -> None:
    rows = (
        row(0, "failed", None, 0, 10, failure="error"),
        row(1, "complete", 0.8, 10, 1),
        row(2, "pruned", 0.7, 11, 1.5),
        row(3, "failed", None, 12.5, 2, failure="lost"),
    )
    pruned, complete, best = progress(reading(*rows), over)["data"]
    assert (complete["x"], pruned["x"]) == ([ends[0]], [ends[1]])
    assert best["x"] == [11.0, 14.5], "the best holds until now"
    # Of failed trials alone there is nothing to draw.
    assert progress(reading(replace(rows[0], history={})), over) == {}


@pytest.mark.parametrize(("driven", "state"), [(True, "running"), (False, "interrupted")])
def test_a_trial_that_nobody_runs_is_interrupted_in_costs_and_curves(driven: bool, state: str) -> None:
    found = reading(row(0, "complete", 0.8, 0, 1), row(1, "running", 0.6, 1, 0.5), driven=driven)
    assert found.spent == {"complete": (1, 1.0, 1.0), state: (1, 0.5, 0.5)}
    unfinished, _ = learning_curves(found)["data"]
    assert unfinished["hovertemplate"].startswith(f"trial 1, {state}<br>")


def test_settings_are_told_from_the_columns_of_every_trial(tmp_path: Path) -> None:
    """A setting may be called as a column is, such as one that says which epochs are trained."""
    trial = replace(row(0, "complete", 0.8, 0, 1, metrics={"mean_auc": 0.8}), settings={"epoch": "full", "seed": 7})
    write_tables(reading(trial), tmp_path)
    with (tmp_path / "trials.csv").open() as file:
        reader = csv.DictReader(file)
        (found,) = reader
    assert len(set(reader.fieldnames or ())) == len(reader.fieldnames or ())
    assert {name: found[name] for name in ("epoch", "seed", "setting epoch", "setting seed", "metric mean_auc")} == {
        "epoch": "2", "seed": "0", "setting epoch": "full", "setting seed": "7", "metric mean_auc": "0.8",
    }  # fmt: skip


def test_a_legend_grows_away_from_what_is_drawn() -> None:
    """On a narrow screen it has three rows: a legend that hangs from a fixed height would lie upon the first bars."""
    chart = importance([Importance("", "PED-ANOVA", 40, {"loss": 1.0}, {"loss": 0.2})])
    legend = chart["layout"]["legend"]
    assert (legend["y"], legend["yanchor"]) == (1, "bottom")
