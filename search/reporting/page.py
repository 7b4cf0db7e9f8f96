"""The page: one HTML file that holds everything, plotly.js and the pictures included, and asks nobody for anything."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lesion.data.external import in_words
from lesion.metrics import Interval
from lesion.pages import style, template, thumbnail
from lesion.tasks import described
from search.display import duration, in_short, number, score, searched
from search.reporting import charts, judgement_charts
from search.reporting.files import plain
from search.reporting.gather import Reading
from search.reporting.importance import HELD, Importance
from search.reporting.judged import Hard
from search.reporting.parts import Part, parts_of
from search.reporting.promoted import Promoted
from search.reporting.tables import effect_cells, ordered, per_class
from search.series import Series
from search.space.domains import show
from search.standings import Standing
from search.standings_table import flattery, single_runs

HERE = Path(__file__).parent
SCORES = ("mean_auc", "balanced_accuracy", "macro_auc", "macro_ap", "accuracy", "macro_f1", "log_loss", "brier", "ece")


def page(reading: Reading) -> str:
    """The whole page as text."""
    from plotly.offline import get_plotlyjs  # noqa: PLC0415 - takes a second, which the tables alone need not wait for

    figures: dict[str, charts.Chart] = {}

    def figure(name: str, made: charts.Chart) -> str:
        """Keep a chart for the page; its name, or nothing where there is none."""
        if not made:
            return ""
        figures[name] = made
        return name

    content = _content(reading, figure)
    return template(HERE / "page.html").render(
        **content,
        style=style(),
        script=(HERE / "page.js").read_text(),
        plotly=get_plotlyjs(),
        # "</script>" inside a string would end the script.
        figures=json.dumps(plain(figures), separators=(",", ":")).replace("</", "<\\/"),
    )


def _content(reading: Reading, figure: Any) -> dict[str, Any]:
    status = reading.status
    identity = status.identity
    stages = [stage for stage in reading.effects.stages if stage.explained is not None]
    branches: dict[str, list[Importance]] = {"": []}
    for each in reading.importances:
        branches.setdefault(each.branch, []).append(each)
    whole = branches.pop("")
    return {
        "name": status.name,
        "objective": identity.objective,
        "direction": identity.direction,
        "data": identity.data,
        "split": identity.split,
        "task": described(identity.task) if identity.task is not None else "",
        "made": reading.made.strftime("%Y-%m-%d %H:%M %Z"),
        "notes": reading.notes,
        "tiles": _tiles(reading),
        "best": _best(reading),
        "finalists": [_finalists(series, standings) for series, standings in reading.finalists if standings],
        "progress": [figure(f"progress-{over}", charts.progress(reading, over)) for over in ("time", "cost")],
        "stages": [
            {
                "name": stage.name,
                "trials": stage.trials,
                "explained": f"{stage.explained:.0%}",
                "figure": figure(f"effects-{place}", charts.effects(stage, identity.direction)),
                "rows": [effect_cells(each) for each in ordered(stage, identity.direction)],
            }
            for place, stage in enumerate(stages)
        ],
        "held": HELD,
        "importance": figure("importance", charts.importance(whole) if whole else {}),
        "branches": [
            (branch, inside[0].trials, figure(f"branch-{place}", charts.importance(inside)))
            for place, (branch, inside) in enumerate(branches.items())
        ],
        "parallel": figure("parallel", charts.parallel(reading)),
        "curves": figure("curves", charts.learning_curves(reading) if reading.told else {}),
        "rungs": reading.rungs,
        "failures": sorted(reading.failures.items()),
        "failed": [row for row in status.rows if row.state == "failed"],
        "costs": [
            (state, trials, duration(hours * 3600), f"{devices:.2f}")
            for state, (trials, hours, devices) in reading.spent.items()
        ],
        "parts": [_part(reading, part, figure) for part in parts_of(reading)],
        "facts": _facts(reading),
        "settings": _fixed(reading),
    }


def _tiles(reading: Reading) -> list[tuple[str, str]]:
    status = reading.status
    counts = ", ".join(f"{count} {state}" for state, count in status.counts.items() if count)
    devices = sum(each for _, _, each in reading.spent.values())
    best = reading.ranked[0].score if reading.ranked else None
    told = "–"
    if best is not None:
        told = str(best) if math.isfinite(best.low) else score(best.value)
    return [
        (f"best {status.identity.objective}", told),
        ("trials", counts or "none yet"),
        ("device-hours", f"{devices:.2f}"),
        ("test part", reading.opened.in_words),
    ]


def _best(reading: Reading) -> list[dict[str, Any]]:
    names = searched(reading.status.identity.semantics)
    return [
        {
            "number": each.row.number,
            "score": str(each.score) if math.isfinite(each.score.low) else score(each.score.value),
            "behind": "" if each.behind is None else _value(each.behind),
            "equal": each.behind is not None and each.behind.low <= 0 <= each.behind.high,
            "epoch": each.row.epoch,
            "time": duration(each.row.seconds),
            "settings": in_short(each.row.settings, names),
        }
        for each in reading.ranked
    ]


def _finalists(series: Series, standings: Sequence[Standing]) -> dict[str, Any]:
    """What fresh runs of the best settings came to."""
    rows = [
        (
            str(each.trial.number),
            f"{each.mean:.4f}" if each.interval is None else _value(each.interval),
            "" if place == 0 or each.behind is None else _value(each.behind),
            score(each.deviation),
            f"{len(each.runs)} of {each.planned}",
            score(each.trial.value),
            "–" if each.drop is None else f"{each.drop:+z.4f}",
        )
        for place, each in enumerate(standings)
    ]
    what = "folds" if series.on_folds else "fresh seeds"
    lines = single_runs(series, standings) + flattery(series, standings)
    return {"title": f"On {what}, {series.epochs} epochs", "rows": rows, "lines": lines}


def _part(reading: Reading, part: Part, figure: Any) -> dict[str, Any]:
    """One section: how the images of a part were judged."""
    title, link = f"Validation part, {len(part.labels)} images, judged by {part.judge}", "Validation part"
    note = "Trials were chosen by these very images: the figures are too good. Decisions: the largest probability."
    hard_note = "the mean of the five best complete trials"
    if part.promotion is not None:
        title, link, note = _tested(reading, part.promotion)
        hard_note = "the promoted model"
        if reading.opened.warning:
            note += f" {reading.opened.warning}."
    images = part.data
    return {
        **_judgement(part, figure),
        **_scored(part.scores, part.classes),
        "title": title,
        "link": link,
        "note": note,
        "hard": [] if images is None else [_shown(each, thumbnail(images.images[each.row])) for each in part.hard],
        "hard_note": hard_note,
    }


def _tested(reading: Reading, promotion: Promoted) -> tuple[str, str, str]:
    """Heading, link and note of a promotion: as which version it was registered, and what the gates said of it."""
    versions = reading.versions.get(promotion.key, ())
    who = ", ".join(each.name for each in versions) or f"promotion {promotion.key[:8]}"
    link = "Test part"
    if len(reading.promotions) > 1:
        link += f", {', '.join(each.in_short for each in versions) or promotion.key[:8]}"
    trials = ", ".join(map(str, promotion.trials))
    note = f"Promotion {promotion.key} of trial{'' if len(promotion.trials) == 1 else 's'} {trials}"
    note += "".join(f"; gates of version {each.number}: {each.judged}" for each in versions if each.judged)
    title = f"Test part, {len(promotion.labels)} images, {who}"
    return title, link, f"{note}. Decisions: by the promoted model's rules."


def _judgement(part: Part, figure: Any) -> dict[str, Any]:
    prefix = part.name.replace(" ", "-")
    drawn = {
        "ROC": judgement_charts.roc,
        "Precision and recall": judgement_charts.precision_recall,
        "Reliability": judgement_charts.reliability,
        "Confusion": judgement_charts.confusion,
    }
    named = [
        (
            title,
            figure(
                f"{prefix}-{place}",
                draw(part.decisive if title == "Confusion" else part.probabilities, part.labels, part.classes),
            ),
        )
        for place, (title, draw) in enumerate(drawn.items())
    ]
    return {"figures": named, "id": prefix}


def _scored(scores: Mapping[str, Sequence[float | None]], classes: Sequence[str]) -> dict[str, Any]:
    return {
        "scores": [(name, _interval(scores[name])) for name in SCORES if name in scores],
        "classes": [(name, *map(_interval, cells)) for name, cells in per_class(scores, classes)],
    }


def _shown(each: Hard, source: str) -> dict[str, str]:
    return {
        "source": source,
        "image": each.image,
        "truth": each.truth,
        "decision": each.decision,
        "probability": f"{each.probability:.2f}",
    }


def _facts(reading: Reading) -> list[tuple[str, str]]:
    identity = reading.status.identity
    facts = [
        ("data", f"{identity.data}, content hash {identity.data_hash[:16]}"),
        ("split", f"{identity.split}, hash {identity.split_hash[:16]}"),
        ("space", f"hash {identity.space_hash[:16]}, at most {identity.semantics['epochs']} epochs"),
        ("objective", f"{identity.direction} {identity.objective}"),
        ("study", f"hash {identity.hash[:16]}" + (f", id {identity.id[:16]}" if identity.id else "")),
    ]
    if reading.judge is not None:
        data = reading.judge.data
        counts = ", ".join(f"{int((reading.judge.labels == k).sum())} {name}" for k, name in enumerate(data.classes))
        facts.insert(1, ("validation", f"{len(reading.judge.rows)} of {len(data)} images: {counts}"))
        if photos := in_words(data):
            facts.insert(1, ("external data", f"{photos}, trained on by the share that the setting external says"))
    return facts + [(name, str(value)) for name, value in reading.environment.items()]


def _fixed(reading: Reading) -> list[tuple[str, str]]:
    """What all trials had in common."""
    names = searched(reading.status.identity.semantics)
    rows = [row for row in reading.status.rows if row.settings]
    shared = [name for name in (rows[0].settings if rows else {}) if name not in names]
    return [
        (name, show(rows[0].settings[name]) if not isinstance(rows[0].settings[name], float) else
         number(rows[0].settings[name]))
        for name in shared
        if all(row.settings.get(name) == rows[0].settings[name] for row in rows)
    ]  # fmt: skip


def _interval(cells: Sequence[float | None]) -> str:
    value, low, high = cells
    if value is None or low is None or high is None or not math.isfinite(value):
        return "undefined"
    return f"{value:z.3f} ({low:z.3f}–{high:z.3f})"


def _value(interval: Interval) -> str:
    return f"{interval.value:z.4f}" + (
        f" ({interval.low:z.4f} to {interval.high:z.4f})" if math.isfinite(interval.low) else ""
    )
