"""Spaces and studies as tables and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from lesion.tasks import described
from search.display import STYLES, console, counted, duration, in_short, say, score, searched, table

if TYPE_CHECKING:
    from search.rows import TrialRow
    from search.space import CheckReport
    from search.study import StudyStatus

ORDER = ("complete", "pruned", "running", "interrupted", "failed", "waiting")


def ranked(study: StudyStatus) -> list[TrialRow]:
    """Rows from best to worst: complete ones by value, pruned ones by how far they went, then the others."""
    sign = -1.0 if study.identity.direction == "maximize" else 1.0

    def key(row: TrialRow) -> tuple[int, float, float, int]:
        value = sign * row.value if row.value is not None else float("inf")
        return ORDER.index(study.state_of(row)), -row.depth, value, row.number

    return sorted(study.rows, key=key)


def show_leaderboard(study: StudyStatus, top: int) -> None:
    """Print the first `top` trials, and why trials failed."""
    names = searched(study.identity.semantics)
    epochs = int(study.identity.semantics["epochs"])
    rows = ranked(study)
    shown = [
        (
            str(row.number),
            Text(study.state_of(row), STYLES[study.state_of(row)]),
            f"{row.epoch}/{epochs}",
            score(row.value),
            duration(row.seconds) if row.epoch else "–",
            in_short(row.settings, names),
        )
        for row in rows[:top]
    ]
    title = f"{study.name}: {study.identity.objective} on {study.identity.data}, split {study.identity.split}"
    if study.identity.task is not None:
        title += f", task {described(study.identity.task)}"
    columns = ("trial", "state", "epoch", "value", "time", "settings")
    console().print(table(columns, shown, title, right="trial epoch value time"))
    if len(rows) > top:
        say(f"… and {len(rows) - top} more (lesion-search status {study.name} --top 0)", style="dim")
    for row in rows:
        if row.failure:
            say(f"trial {row.number} failed ({row.failure}) after epoch {row.epoch}: {row.message}", style="red")


def show_studies(studies: Sequence[StudyStatus]) -> None:
    """Print a row a study."""
    rows = [
        (
            each.name,
            each.identity.data,
            each.identity.objective,
            score(each.best.value if each.best else None),
            counted(each.counts),
            "now" if each.driven else "",
        )
        for each in studies
    ]
    console().print(table(("study", "data", "objective", "best", "trials", "runs"), rows, right="best"))


def study_json(study: StudyStatus) -> dict[str, Any]:
    """A study with all its trials, best first."""
    return {
        "study": study.name,
        "identity": study.identity.to_json(),
        "driven": study.driven,
        "counts": dict(study.counts),
        "best": study.best.number if study.best else None,
        "trials": [_trial_json(study, row) for row in ranked(study)],
    }


def _trial_json(study: StudyStatus, row: TrialRow) -> dict[str, Any]:
    return {
        "trial": row.number,
        "state": study.state_of(row),
        "epoch": row.epoch,
        "value": row.value,
        "settings": dict(row.settings),
        "metrics": dict(row.metrics),
        "history": dict(row.history),
        "seconds": row.seconds,
        "device_seconds": row.device_seconds,
        "examples": row.examples,
        "seed": row.seed,
        "attempt": row.attempt,
        "failure": row.failure,
        "message": row.message,
        "started": row.started.isoformat() if row.started else None,
        "ended": row.ended.isoformat() if row.ended else None,
    }


def space_table(report: CheckReport, problems: Sequence[str], warnings: Sequence[str], following: str) -> None:
    """Print what a space searches, and what is wrong with it."""
    space = report.space
    budget = space.budget
    hours = f", {budget.hours:g} hours a session" if budget.hours else ""
    say(f"{space.name}: {space.description}".rstrip(": "), style="bold")
    say(f"{space.objective} ({space.direction}) on {space.data}, split {space.split or 'by default'}")
    if space.task is not None:
        say(f"task: {described(space.task)}")
    say(*(f"with --set {text}" for text in space.overrides))
    say(f"{budget.trials} trials of {budget.epochs} epochs{hours}; {len(space.start_with)} points are tried first")
    rows = [(parameter.name, parameter.distribution, parameter.condition) for parameter in report.parameters]
    if rows:
        console().print(table(("parameter", "values", "when"), rows))
    else:
        say("nothing is searched: every trial has the same settings, and another seed")
    tried = f", {report.walked:,} of them tried out" if report.limited else ", all tried out"
    say(f"{report.branches:,} branches{tried}; hash {space.hash[:12]}")
    say(*(f"warning: {warning}" for warning in warnings), style="yellow")
    say(*problems, style="red")
    if not problems:
        say("no mistakes", style="green")
        say(f"next: {following}", style="dim")


def space_json(report: CheckReport, problems: Sequence[str], warnings: Sequence[str]) -> dict[str, Any]:
    """What `space_table` prints, as JSON."""
    space = report.space
    return {
        "space": str(space.path),
        "name": space.name,
        "hash": space.hash,
        "data": space.data,
        "objective": space.objective,
        "direction": space.direction,
        "task": space.task,
        "overrides": list(space.overrides),
        "trials": space.budget.trials,
        "epochs": space.budget.epochs,
        "branches": report.branches,
        "walked": report.walked,
        "parameters": [
            {"name": each.name, "values": each.distribution, "when": each.condition} for each in report.parameters
        ],
        "problems": list(problems),
        "warnings": list(warnings),
    }
