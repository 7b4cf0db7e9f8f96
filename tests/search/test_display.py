"""Tables, lines and the live view, on states that no search has to run for."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from search import display, leaderboard
from search.identity import Identity
from search.live import Lines, dashboard, followed
from search.progress import RunningTrial, StudyState
from search.rows import TrialRow
from search.study import StudyStatus

FOCAL = {"image_size": 64, "backbone": "resnet18", "loss": "focal", "loss.focal.gamma": 1.5, "optimizer.adamw.lr": 1e-3}
SEMANTICS = {
    "objective": "mean_auc",
    "epochs": 4,
    "general": {"image_size": {"choice": [64, 96]}},
    "components": {
        "backbone": {"resnet18": {"weights": "none"}},
        "loss": {"focal": {"gamma": {"float": [0.5, 3.0]}}, "cross_entropy": {}},
    },
}
NAMES = display.searched(SEMANTICS)


def row(number: int, state: str, value: float | None = None, epoch: int = 4, **attributes: object) -> TrialRow:
    return TrialRow(number, state, value, epoch, FOCAL, {}, {"seconds": 61.0, **attributes})


def state(**changes: object) -> StudyState:
    empty = StudyState(
        "mine",
        "running",
        "mean_auc",
        "maximize",
        4,
        10,
        {"complete": 0},
        None,
        (),
        {},
        {},
        elapsed=75.0,
        remaining=None,
    )
    return replace(empty, **changes)


def printed(renderable: object, width: int = 100) -> str:
    screen = Console(file=io.StringIO(), width=width, markup=False)
    screen.print(renderable)
    return screen.file.getvalue()


def study(*rows: TrialRow, driven: bool = False) -> StudyStatus:
    return StudyStatus("mine", Identity("d", "h", "holdout", "s", "mean_auc", "maximize", SEMANTICS), rows, driven)


def test_what_differs_between_trials_is_shown_and_what_is_fixed_is_not() -> None:
    assert sorted(NAMES) == ["image_size", "loss", "loss.focal.gamma"]
    assert display.in_short(FOCAL, NAMES) == "image_size 64 · focal (gamma 1.5)"
    assert display.in_short(FOCAL, {"loss.focal.gamma"}) == "gamma 1.5", "the loss is always focal: no need to say"
    assert display.in_short({"balancing": "none"}, {"balancing"}) == "balancing none"


@pytest.mark.parametrize("width", [80, 100, 160])
def test_the_dashboard_fits_and_tells_everything(width: int) -> None:
    running = RunningTrial(7, 3, 0.8123, FOCAL, 61.0, attempt=2)
    text = printed(
        dashboard(
            state(
                counts={"complete": 3, "pruned": 2, "failed": 1, "running": 1, "waiting": 0},
                best=row(4, "complete", 0.9012),
                running=(running,),
                used={"CPU": 2, "GPU": 0},
                total={"CPU": 2, "GPU": 0},
                remaining=3733.0,
                mirror_waiting=12,
                mirror_problem="connection refused",
            ),
            NAMES,
        ),
        width,
    )
    assert max(map(len, text.splitlines())) <= width
    flat = " ".join(text.replace("│", " ").split())
    for told in (
        "6 of 10 trials", "1:15 so far, about 1:02:13 to go", "3 complete, 2 pruned, 1 failed, 1 running", "0.9012",
        "trial 4: image_size 64", "2 of 2 CPUs", "12 events wait on disk: connection refused", "3/4", "0.8123",
        "(attempt 2)", "Ctrl-C stops",
    ):  # fmt: skip
        assert told in flat
    assert "GPUs" not in flat, "there are none"


def test_a_terminal_gets_a_live_view(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    screen = Console(file=io.StringIO(), force_terminal=True, width=100)
    with followed(NAMES, screen) as progress:
        progress(state(phase="starting"))
        progress(state(counts={"complete": 10}, phase="ended"))
    assert "10 of 10 trials" in screen.file.getvalue()


def test_elsewhere_every_event_is_a_line() -> None:
    screen = Console(file=io.StringIO(), width=60, markup=False)
    lines = Lines(screen, NAMES)
    running = RunningTrial(0, 0, None, FOCAL, 1.0)
    lines.tell(state(phase="starting"))
    lines.tell(state(running=(running,)))
    lines.tell(state(running=(running,)))
    lines.tell(state(running=(replace(running, epoch=1, value=0.7),)))
    lines.tell(state(counts={"complete": 1}, best=row(0, "complete", 0.8), remaining=60.0))
    lines.tell(state(counts={"complete": 1}, best=row(0, "complete", 0.8), mirror_problem="gone"))
    lines.tell(state(counts={"complete": 1}, running=(running,)))
    lines.tell(state(counts={"complete": 1}, running=(running,), phase="stopping"))
    lines.tell(state(counts={"complete": 1}, phase="ended"))
    lines.tell(state(counts={"complete": 10}, phase="stopping"))
    told = [line.split(maxsplit=1)[1] for line in screen.file.getvalue().splitlines()]
    assert told == [
        "mine: starting",
        "0 of 10 trials have ended: none yet",
        "mine: running",
        "trial 0 begins: image_size 64 · focal (gamma 1.5)",
        "trial 0 epoch 1/4: mean_auc 0.7000",
        "1 of 10 trials have ended: 1 complete, about 1:00 to go",
        "best mean_auc 0.8000, trial 0",
        "MLflow does not answer, its events wait on disk: gone",
        "trial 0 begins: image_size 64 · focal (gamma 1.5)",
        "mine: stopping, what runs is kept",
        "mine: ended",
        "mine: winding up",
        "10 of 10 trials have ended: 10 complete",
    ]


def test_the_leaderboard_is_in_order_and_tells_why_trials_failed(capsys: pytest.CaptureFixture[str]) -> None:
    rows = (
        row(0, "failed", None, 1, failure="non-finite", message="the loss is nan"),
        row(1, "complete", 0.80),
        row(2, "pruned", 0.95, 2),
        row(3, "complete", 0.90),
        row(4, "running", 0.70, 1),
        row(5, "pruned", 0.60, 3),
        row(6, "complete", None),
    )
    assert [each.number for each in leaderboard.ranked(study(*rows))] == [3, 1, 6, 5, 2, 4, 0]
    leaderboard.show_leaderboard(study(*rows), 3)
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines()[:8])) <= 100
    assert "trial 0 failed (non-finite) after epoch 1: the loss is nan" in text
    assert "… and 4 more" in text
    leaderboard.show_studies([study(*rows)])
    assert "3 complete, 2 pruned, 1 failed, 1 interrupted" in capsys.readouterr().out


def test_json_holds_no_number_that_json_cannot_spell(capsys: pytest.CaptureFixture[str]) -> None:
    display.print_json({"a": [float("nan"), 1.0], "b": {1: (float("inf"),)}})
    assert json.loads(capsys.readouterr().out) == {"a": [None, 1.0], "b": {"1": [None]}}
    told = leaderboard.study_json(study(row(1, "complete", 0.8)))
    assert (told["best"], told["trials"][0]["settings"]) == (1, FOCAL)


def test_brackets_in_messages_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    display.say("[bold]photo[1].jpg[/nothing]")
    display.console().print(display.table(("image",), [("a[/b].jpg",)]))
    assert "[bold]photo[1].jpg[/nothing]" in (text := capsys.readouterr().out)
    assert "a[/b].jpg" in text


def test_long_paths_stay_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(Path("/", *["folder"] * 40))
    display.say(f"in {path}")
    assert path in capsys.readouterr().out


def test_a_bar_is_a_line_a_stage_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with display.bar() as progress:
        for done in range(3):
            progress(done, 2, "decoding")
        progress(2, 2, "decoding")
    assert capsys.readouterr().err == "decoding: 2 of 2\n"
