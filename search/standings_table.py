"""Finalists as tables and as JSON."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from search.display import console, in_short, say, score, searched, table
from search.standings import Standing, dropped, expected_drop

if TYPE_CHECKING:
    from lesion.metrics import Interval
    from search.rows import TrialRow
    from search.series import Series

COLUMNS = ("trial", "search", "fresh mean", "95 %", "spread", "runs", "behind", "drop")


def show_finalists(series: Series, standings: Sequence[Standing]) -> None:
    """Print the settings of a series, best mean first, what the search had flattered, and why runs failed."""
    names = searched(series.identity.semantics)
    what = "folds" if series.on_folds else "fresh seeds"
    title = f"{series.study}: finalists on {what}, {series.epochs} epochs, {series.identity.objective}"
    rows = [
        (
            str(each.trial.number),
            score(each.trial.value),
            score(each.mean),
            _range(each.interval),
            score(each.deviation),
            f"{len(each.runs)}/{each.planned}",
            "–" if each is standings[0] else _signed_range(each.behind),
            "–" if each.drop is None else f"{each.drop:+z.4f}",
        )
        for each in standings
    ]
    if not rows:
        say(title, "no fresh run has ended yet")
    else:
        console().print(table(COLUMNS, rows, title, right="trial search fresh_mean spread runs drop"))
    words = [(each.trial.number, in_short(each.trial.settings, names)) for each in standings]
    say(*(f"trial {number}: {text}" for number, text in words if text), style="dim")
    say(*single_runs(series, standings))
    say(*flattery(series, standings))
    say(f"{series.name}: {_counted(series.rows)}", style="dim")
    for row in series.rows:
        if row.failure:
            say(f"trial {row.label} failed ({row.failure}) after epoch {row.epoch}: {row.message}", style="red")


def single_runs(series: Series, standings: Sequence[Standing]) -> list[str]:
    """What is not known of settings with a single run, in words; a line for those with an interval, one for others."""
    alone = [each for each in standings if len(each.runs) == 1]
    if alone and len(alone) == len(standings):
        more = "" if series.on_folds else " (--seeds 2)"
        return [f"one run each: how much runs differ is not known, so there are no intervals{more}"]
    borrowed = [each.trial.number for each in alone if each.interval is not None]
    without = [each.trial.number for each in alone if each.interval is None]
    lines = []
    if borrowed:
        lines.append(f"{_trials(borrowed)}: a single run; how much runs differ is taken from the other settings")
    if without:
        lines.append(f"{_trials(without)}: a single run, and no interval yet")
    return lines


def _trials(numbers: Sequence[int]) -> str:
    return f"trial{'' if len(numbers) == 1 else 's'} {', '.join(map(str, numbers))}"


def flattery(series: Series, standings: Sequence[Standing]) -> list[str]:
    """The winner's curse in words, a line each."""
    lines = []
    expected = expected_drop(standings, on_folds=series.on_folds)
    if expected is not None:
        count = len(dropped(standings, on_folds=series.on_folds))
        lines.append(
            f"expected drop from search score to fresh score: {expected.value:+z.4f} "
            f"({expected.low:+z.4f} to {expected.high:+z.4f}) over {count} settings"
        )
    sound = [(place, each) for place, each in enumerate(standings, 1) if each.drop is not None]
    if sound:
        sign = 1.0 if series.identity.direction == "maximize" else -1.0
        place, best = max(sound, key=lambda item: sign * float(item[1].trial.value or 0.0))
        lines.append(
            f"the search's best of them, trial {best.trial.number}, went from {score(best.trial.value)} to "
            f"{score(best.mean)} and is number {place} of {len(standings)}"
        )
    elif standings and not series.as_long_as_the_search:
        lines.append("no drop is told: the search trained for another number of epochs")
    return lines


def finalists_json(series: Series, standings: Sequence[Standing]) -> dict[str, Any]:
    """A series with its standings, best first."""
    expected = expected_drop(standings, on_folds=series.on_folds)
    return {
        "series": series.name,
        "kind": series.kind,
        "epochs": series.epochs,
        "objective": series.identity.objective,
        "direction": series.identity.direction,
        "expected_drop": None if expected is None else asdict(expected),
        "counts": dict(Counter(row.state for row in series.rows)),
        "standings": [_standing_json(each) for each in standings],
    }


def _standing_json(each: Standing) -> dict[str, Any]:
    return {
        "trial": each.trial.number,
        "search": each.trial.value,
        "mean": each.mean,
        "deviation": each.deviation,
        "interval": None if each.interval is None else [each.interval.low, each.interval.high],
        "behind": None if each.behind is None else asdict(each.behind),
        "drop": each.drop,
        "runs": [
            {"run": row.number, "index": row.index, "split": row.split, "seed": row.seed, "value": row.value}
            for row in each.runs
        ],
        "planned": each.planned,
        "settings": dict(each.trial.settings),
    }


def _counted(rows: Sequence[TrialRow]) -> str:
    counts = Counter(row.state for row in rows)
    return ", ".join(f"{count} {'unfinished' if state == 'running' else state}" for state, count in counts.items())


def _range(interval: Interval | None) -> str:
    if interval is None or not math.isfinite(interval.low):
        return "–"
    return f"{interval.low:z.4f}–{interval.high:z.4f}"


def _signed_range(interval: Interval | None) -> str:
    if interval is None or not math.isfinite(interval.low):
        return "–"
    return f"{interval.value:z.4f} ({interval.low:z.4f} to {interval.high:z.4f})"
