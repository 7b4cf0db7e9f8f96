"""The same as the page for programs: one JSON file of everything, and a CSV file for each table."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lesion.metrics import UNDECIDED, Interval, confusion_matrix
from lesion.writing import write_atomically
from search.leaderboard import study_json
from search.reporting.gather import Reading
from search.reporting.parts import Part, parts_of
from search.reporting.points import (
    CONFUSION_COLUMNS,
    CURVE_COLUMNS,
    RELIABILITY_COLUMNS,
    confusion_rows,
    curve_rows,
    reliability_rows,
)
from search.reporting.tables import PER_CLASS, per_class
from search.standings_table import finalists_json

JSON = "report.json"

HARD_COLUMNS = ("image", "truth", "decision", "probability")
Table = tuple[Sequence[str], Iterable[Sequence[Any]]]
"""Columns and rows of a CSV file."""


def as_json(reading: Reading) -> dict[str, Any]:
    """Everything that the page tells, but for the single images' probabilities."""
    identity = reading.status.identity
    best = reading.best
    told_of = {part.name: _judged(part) for part in parts_of(reading)}
    told: dict[str, Any] = plain({
        **study_json(reading.status),
        # Where the data lie on this machine is nobody else's business.
        "identity": {**identity.to_json(), "location": ""},
        "made": reading.made.isoformat(timespec="seconds"),
        "notes": list(reading.notes),
        "ranking": [
            {"trial": each.row.number, "score": vars(each.score), "behind": each.behind and vars(each.behind)}
            for each in reading.ranked
        ],
        "effects": asdict(reading.effects),
        "importances": [asdict(each) for each in reading.importances],
        "rungs": reading.rungs,
        "spent": {
            state: {"trials": trials, "hours": hours, "device_hours": devices}
            for state, (trials, hours, devices) in reading.spent.items()
        },
        "failures": reading.failures,
        "validation": None if best is None else
            {"trial": best[0].number, **best[1].to_dict(), **told_of["validation"]},
        "finalists": [finalists_json(*each) for each in reading.finalists],
        "hardest": told_of["validation"]["hardest"] if "validation" in told_of else [],
        "test": [
            {"promotion": each.key, "trials": each.trials, "images": len(each.images), "intervals": each.intervals,
             **told_of[f"test {each.key}"]}
            for each in reading.promotions
        ],
        "test_part_opened": {"own": reading.opened.own, "others": dict(reading.opened.others)},
        "environment": dict(reading.environment),
    })  # fmt: skip
    return told


def write_tables(reading: Reading, folder: Path) -> list[Path]:
    """Write report.json and the CSV files into `folder`, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / JSON, json.dumps(as_json(reading), indent=2, ensure_ascii=False).encode())
    paths = [folder / JSON]
    tables: dict[str, Table] = {
        "trials.csv": _trials(reading),
        "ranking.csv": _ranking(reading),
        "finalists.csv": _finalists(reading),
        "learning_curves.csv": (
            ("trial", "epoch", reading.status.identity.objective),
            [(row.number, epoch, value) for row in reading.status.rows for epoch, value in row.history.items()],
        ),
        "effects.csv": (
            ("stage", "component", "option", "trials", "failed", "effect", "low", "high", "best", "verdict"),
            [(stage.name, *asdict(each).values()) for stage in reading.effects.stages for each in stage.effects],
        ),
        "importance.csv": (
            ("branch", "method", "trials", "setting", "share", "chance"),
            [(each.branch, each.method, each.trials, setting, share, each.chance.get(setting))
             for each in reading.importances for setting, share in each.shares.items()],
        ),
        "failures.csv": (
            ("trial", "class", "epoch", "message"),
            [(row.number, row.failure, row.epoch, row.message) for row in reading.status.rows if row.failure],
        ),
        **_of_parts(parts_of(reading)),
    }  # fmt: skip
    for name, (columns, rows) in tables.items():
        write_atomically(folder / name, as_csv(columns, rows).encode())
        paths.append(folder / name)
    if reading.best is not None:
        path = folder / "per_image.csv"
        write_atomically(path, reading.best[1].per_image().to_csv(index=False).encode())
        paths.append(path)
    return paths


def as_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A CSV file; what is not known or not finite is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([["" if plain(cell) is None else cell for cell in row] for row in rows])
    return text.getvalue()


def plain(value: Any) -> Any:
    """Values that every reader of JSON takes: a number that is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _judged(part: Part) -> dict[str, Any]:
    """What the page tells of the images of a part, but for the points of its curves."""
    counts = confusion_matrix(part.decisive, part.labels, part.classes)
    return {
        "confusion": {"columns": [*part.classes, UNDECIDED], "rows": counts.tolist()},
        "per_class": {
            name: dict(zip(PER_CLASS, cells, strict=True)) for name, cells in per_class(part.scores, part.classes)
        },
        "reliability": [
            dict(zip(RELIABILITY_COLUMNS, row, strict=True))
            for row in reliability_rows(part.probabilities, part.labels, part.classes)
        ],
        "hardest": [dict(zip(HARD_COLUMNS, row, strict=True)) for row in _hard(part)],
    }


def _hard(part: Part) -> list[tuple[str, str, str, float]]:
    return [(each.image, each.truth, each.decision, each.probability) for each in part.hard]


def _trials(reading: Reading) -> Table:
    """The wide table: a row a trial, with its settings, and its metrics after the last epoch."""
    settings = list(dict.fromkeys(name for row in reading.status.rows for name in row.settings))
    metrics = list(dict.fromkeys(name for row in reading.status.rows for name in row.metrics))
    columns = ["trial", "state", "epoch", "value", "seed", "seconds", "device_seconds", "examples", "failure"]
    columns += ["started", "ended"]
    rows: list[Sequence[Any]] = [
        [
            *(row.number, reading.status.state_of(row), row.epoch, row.value, row.seed, row.seconds),
            *(row.device_seconds, row.examples, row.failure),
            *(each.isoformat() if each else None for each in (row.started, row.ended)),
            *(row.settings.get(name) for name in settings),
            *(row.metrics.get(name) for name in metrics),
        ]
        for row in reading.trials
    ]
    return [*columns, *(f"setting {name}" for name in settings), *(f"metric {name}" for name in metrics)], rows


def _ranking(reading: Reading) -> Table:
    """The best complete trials, with the ends of their intervals; the first one is behind nobody."""
    rows = [
        (each.row.number, *_ends(each.score), *_ends(each.behind), each.row.epoch, each.row.seconds)
        for each in reading.ranked
    ]
    return ("trial", *_three("score"), *_three("behind"), "epochs", "seconds"), rows


def _finalists(reading: Reading) -> Table:
    columns = ("series", "trial", *_three("mean"), *_three("behind"), "deviation", "runs", "planned", "search", "drop")
    rows = [
        (
            *(series.name, each.trial.number, each.mean, *_ends(each.interval)[1:]),
            *_ends(each.behind if place else None),
            *(each.deviation, len(each.runs), each.planned, each.trial.value, each.drop),
        )
        for series, standings in reading.finalists
        for place, each in enumerate(standings)
    ]
    return columns, rows


def _of_parts(parts: Sequence[Part]) -> dict[str, Table]:
    """Tables of single images and of what is drawn of them, the parts one below another."""

    def of(columns: Sequence[str], rows: Callable[[Part], Iterable[Sequence[Any]]]) -> Table:
        return ("part", *columns), [(part.name, *row) for part in parts for row in rows(part)]

    names = [end for name in PER_CLASS for end in _three(name)]
    return {
        "per_class.csv": of(
            ("class", *names),
            lambda part: [
                (name, *(end for cell in cells for end in cell)) for name, cells in per_class(part.scores, part.classes)
            ],
        ),
        "curves.csv": of(CURVE_COLUMNS, lambda part: curve_rows(part.probabilities, part.labels, part.classes)),
        "reliability.csv": of(
            RELIABILITY_COLUMNS, lambda part: reliability_rows(part.probabilities, part.labels, part.classes)
        ),
        "confusion.csv": of(CONFUSION_COLUMNS, lambda part: confusion_rows(part.decisive, part.labels, part.classes)),
        "hardest.csv": of(HARD_COLUMNS, _hard),
    }


def _three(name: str) -> tuple[str, str, str]:
    return name, f"{name}_low", f"{name}_high"


def _ends(interval: Interval | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if interval is None else (interval.value, interval.low, interval.high)
