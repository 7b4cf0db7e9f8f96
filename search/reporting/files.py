"""The same as the page for programs: one JSON file of everything, and a CSV file for each table."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lesion.checkpoints import write_atomically
from search.leaderboard import study_json
from search.reporting.gather import Reading
from search.reporting.tables import per_class
from search.standings_table import finalists_json

JSON = "report.json"


def as_json(reading: Reading) -> dict[str, Any]:
    """Everything that the page tells, but for the single images' probabilities."""
    identity = reading.status.identity
    best = reading.best
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
        "validation": None if best is None else {"trial": best[0].number, **best[1].to_dict()},
        "finalists": [finalists_json(*each) for each in reading.finalists],
        "hardest": [{"image": each.image, "truth": each.truth, "decision": each.decision,
                     "probability": each.probability} for each in reading.hard],
        "test": [{"promotion": each.key, "trials": each.trials, "images": len(each.images),
                  "intervals": each.intervals} for each in reading.promotions],
        "test_part_opened": {"own": reading.opened.own, "others": dict(reading.opened.others)},
        "environment": dict(reading.environment),
    })  # fmt: skip
    return told


def write_tables(reading: Reading, folder: Path) -> list[Path]:
    """Write report.json and the CSV files into `folder`, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / JSON, json.dumps(as_json(reading), indent=2, ensure_ascii=False).encode())
    paths = [folder / JSON]
    tables: dict[str, tuple[Sequence[str], Iterable[Sequence[Any]]]] = {
        "trials.csv": _trials(reading),
        "learning_curves.csv": (
            ("trial", "epoch", reading.status.identity.objective),
            [(row.number, epoch, value) for row in reading.status.rows for epoch, value in row.history.items()],
        ),
        "effects.csv": (
            ("stage", "component", "option", "trials", "failed", "effect", "low", "high", "best", "verdict"),
            [(stage.name, *asdict(each).values()) for stage in reading.effects.stages for each in stage.effects],
        ),
        "importance.csv": (
            ("branch", "method", "trials", "setting", "share"),
            [(each.branch, each.method, each.trials, *item) for each in reading.importances
             for item in each.shares.items()],
        ),
        "failures.csv": (
            ("trial", "class", "epoch", "message"),
            [(row.number, row.failure, row.epoch, row.message) for row in reading.status.rows if row.failure],
        ),
        "per_class.csv": _per_class(reading),
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


def _trials(reading: Reading) -> tuple[Sequence[str], list[Sequence[Any]]]:
    """The wide table: a row a trial, with its settings, and its metrics after the last epoch."""
    settings = list(dict.fromkeys(name for row in reading.status.rows for name in row.settings))
    metrics = list(dict.fromkeys(name for row in reading.status.rows for name in row.metrics))
    columns = ["trial", "state", "epoch", "value", "seed", "seconds", "device_seconds", "examples", "failure"]
    rows: list[Sequence[Any]] = [
        [
            *(row.number, reading.status.state_of(row), row.epoch, row.value, row.seed, row.seconds),
            *(row.device_seconds, row.examples, row.failure),
            *(row.settings.get(name) for name in settings),
            *(row.metrics.get(name) for name in metrics),
        ]
        for row in reading.trials
    ]
    return [*columns, *settings, *(f"metric {name}" for name in metrics)], rows


def _per_class(reading: Reading) -> tuple[Sequence[str], list[Sequence[Any]]]:
    names = [f"{score}{end}" for score in ("auc", "ap", "sensitivity", "specificity") for end in ("", "_low", "_high")]
    rows: list[Sequence[Any]] = []
    if reading.best is not None:
        told = reading.best[1]
        scores = {name: [each.value, each.low, each.high] for name, each in told.intervals.items()}
        rows += _flat("validation", scores, told.classes)
    for each in reading.promotions:
        rows += _flat(f"test {each.key}", each.intervals, each.classes)
    return ["part", "class", *names], rows


def _flat(part: str, scores: Mapping[str, Sequence[float | None]], classes: Sequence[str]) -> list[Sequence[Any]]:
    return [(part, name, *(end for cell in cells for end in cell)) for name, cells in per_class(scores, classes)]
