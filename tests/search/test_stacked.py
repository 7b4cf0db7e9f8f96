"""No terminal is so narrow that a table loses a digit, a column or a name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesion.judgements import PredictionTable
from lesion.metrics import Interval
from lesion.metrics.paired import Paired
from search.commands.predict import _show_predictions
from search.display import console, table
from search.identity import Identity
from search.reporting import comparison
from search.reporting.comparison_page import SHORT, short_cells
from search.rows import TrialRow
from search.series import Series
from search.standings import Standing
from search.standings_table import COLUMNS, show_finalists

ISIC_2018 = ("melanoma", "nevus", "basal_cell", "actinic_keratosis", "benign_keratosis", "dermatofibroma", "vascular")
PHOTO = "photos/ISIC_0012358.jpg"
WIDTHS = [60, 80, 90, 100, 200]


@pytest.fixture(params=WIDTHS)
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("COLUMNS", str(request.param))
    return int(request.param)


def missing(text: str, cells: list[str]) -> list[str]:
    """Those of `cells` that are not there as a whole."""
    padded = " ".join(["", *text.split(), ""])
    return [cell for cell in cells if f" {cell} " not in padded]


def test_predictions_of_seven_classes_are_printed_with_all_digits(width: int, capsys: pytest.CaptureFixture[str]):
    p = np.array([[0.023, 0.611, 0.104, 0.052, 0.113, 0.031, 0.066]])
    _show_predictions(PredictionTable(ISIC_2018, (PHOTO,), p, np.array([0.12])), 10)
    text = capsys.readouterr().out
    assert missing(text, [*ISIC_2018, PHOTO, "nevus", "0.12", *(f"{each:.3f}" for each in p[0])]) == []
    assert max(map(len, text.splitlines())) <= width


def test_every_table_of_predictions_says_of_which_photo_it_is(width: int, capsys: pytest.CaptureFixture[str]):
    p = np.full((2, 7), 1 / 7)
    _show_predictions(PredictionTable(ISIC_2018, (PHOTO, "b.jpg"), p, np.zeros(2)), 10)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    tables = sum("─" in line for line in lines)
    assert (sum("image" in line for line in lines), sum(PHOTO in line for line in lines)) == (tables, tables)
    assert (tables == 1) == (width == 200)


def test_the_ends_of_a_comparison_s_intervals_are_whole(width: int, capsys: pytest.CaptureFixture[str]):
    tested = comparison.Tested(
        "auc_seborrheic_keratosis", Paired("DeLong", 0.912, 0.851, 0.061, 0.033, 0.094, 1e-4), 0.0004
    )
    console().print(table(SHORT, [short_cells(tested)], right="first second difference p_(Holm)"))
    text = capsys.readouterr().out
    assert missing(text, [*SHORT, "0.912", "0.851", "+0.061", "+0.033 to +0.094", "0.0004"]) == []
    assert max(map(len, text.splitlines())) <= width


def test_finalists_are_told_with_all_digits(width: int, capsys: pytest.CaptureFixture[str]):
    identity = Identity("tiny", "d", "holdout", "s", "mean_auc", "maximize", {"epochs": 4, "general": {},
                        "components": {}})  # fmt: skip
    rows = tuple(TrialRow(number, "complete", 0.91, 4, {}, {}, {}) for number in (12, 7))
    found = [
        Standing(row, rows[:1] * 3, 3, 0.9258, 0.0123, Interval(0.9258, 0.8864, 0.9615),
                 Interval(0.0066, -0.0252, 0.0416), 0.0073)
        for row in rows
    ]  # fmt: skip
    found[1] = replace(found[1], mean=0.9192)
    show_finalists(Series("tiny.finalists", "tiny", identity, ()), found)
    text = capsys.readouterr().out
    told = ["0.9258", "0.9192", "0.8864–0.9615", "0.0123", "3/3", "0.0066 (-0.0252 to 0.0416)", "+0.0073"]
    assert missing(text, [*COLUMNS, *told]) == []


def test_what_is_piped_has_no_edge(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.delenv("COLUMNS")
    settings = "image_size 64 · focal (gamma 1.53) · " * 8
    console().print(table(("trial", *ISIC_2018, "settings"), [("7", *["0.123"] * 7, settings)]))
    text = capsys.readouterr().out
    assert text.count("─ ") + text.count("─\n") == 1
    (row,) = [line for line in text.splitlines() if "0.123" in line]
    assert row.split() == ["7", *["0.123"] * 7, *settings.split()]


@given(st.lists(st.tuples(st.integers(1, 40), st.booleans()), min_size=1, max_size=12), st.integers(85, 200))
def test_every_cell_is_whole_and_no_line_too_long(columns: list[tuple[int, bool]], room: int):
    names = [f"{chr(97 + place)}{'x' * (length - 1)}" for place, (length, _) in enumerate(columns)]
    wrapped = [name for name, (_, wraps) in zip(names, columns, strict=True) if wraps]
    screen = console()
    screen.width = room
    with screen.capture() as captured:
        screen.print(table(names, [names], "the title", right=names[-1], wrapped=wrapped))
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= room
    assert set(names) - set(wrapped) <= {word for line in lines for word in line.split()}


def test_where_two_columns_do_not_fit_they_take_several_lines():
    screen = console()
    screen.width = 40
    with screen.capture() as captured:
        screen.print(table(("score", "interval"), [("s" * 30, "0123456789" * 3)]))
    text = captured.get()
    assert max(map(len, text.splitlines())) <= 40
    assert (text.count("s"), *(text.count(digit) for digit in "0123456789")) == (31, *[3] * 10)
