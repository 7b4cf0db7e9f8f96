"""How numbers of reports and gates are spelled: what rounds to nothing has no minus."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from lesion.metrics import Interval, Paired
from search.display import score
from search.gates.judging import champion_rule
from search.gates.reading import ChampionGate
from search.gates.verdict import bounded
from search.reporting import charts, comparison
from search.reporting.comparison_page import cells, short_cells
from search.reporting.effects import Effect, Stage
from search.reporting.tables import effect_cells

NOTHING = -0.00001


def told_of_nothing() -> list[Any]:
    """What is told of numbers that round to 0 from below, wherever reports and gates tell of one."""
    effect = Effect("loss", "focal", 9, 0, NOTHING, NOTHING, NOTHING, 0.5, "not distinguishable")
    drawn = charts.effects(Stage(1, 18, (effect, effect), 0.5), "maximize")
    tested = comparison.Tested("accuracy", Paired("bootstrap", 0.5, 0.5, NOTHING, NOTHING, NOTHING, 1.0), 1.0)
    interval = Interval(NOTHING, NOTHING, NOTHING)
    verdict = bounded("accuracy against version 1", interval, -1e-12, "value")
    return [
        *effect_cells(effect), *drawn["data"][0]["text"], *cells(tested), *short_cells(tested), str(interval),
        verdict.rule, verdict.why, champion_rule(ChampionGate(("accuracy",), 0.0)), score(NOTHING),
    ]  # fmt: skip


def test_what_rounds_to_nothing_has_no_minus() -> None:
    told = told_of_nothing()
    assert sum("0.000" in text for text in told) >= 10
    assert not [text for text in told if "-0.000" in text]


def test_no_number_with_a_sign_is_spelled_elsewhere_in_another_way() -> None:
    """The page of a report and the table of finalists have rows of their own."""
    package = Path(charts.__file__).parents[1]
    files = [*package.rglob("*.py"), *package.rglob("*.html")]
    assert len(files) > 100
    assert not [file.name for file in files if re.search(r":\+\.[1-9]", file.read_text())], "':+z.4f' has no minus zero"
