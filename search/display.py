"""What the command shows: tables, bars, and numbers as people write them.

Listings go to stdout and progress to stderr, so that a pipe or ``--json`` gets the listing alone. Nothing is styled
through markup: names of files and messages may hold brackets.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from lesion.registry import Value
from search.stacked import StackedTable

if TYPE_CHECKING:
    from lesion.data.decoding import Progress as Tell

ENDLESS = 10_000
"""Columns where the output is no terminal: what reads it has no edge."""
WRAPPED = ("gate", "found", "must be", "settings", "meaning", "values", "when", "image", "trials", "gates")
"""Columns that may take several lines."""
STYLES = {
    "complete": "green",
    "pruned": "yellow",
    "failed": "red",
    "running": "cyan",
    "interrupted": "magenta",
    "waiting": "dim",
}
"""Colour of a trial's state."""


def console(stderr: bool = False) -> Console:
    """A console on stdout, or on stderr."""
    stream = sys.stderr if stderr else sys.stdout
    known = stream.isatty() or "COLUMNS" in os.environ
    return Console(stderr=stderr, width=None if known else ENDLESS, highlight=False, markup=False, emoji=False)


def say(*lines: str, style: str = "", stderr: bool = False) -> None:
    """Print lines as they are: a path or a command that is broken in two cannot be copied."""
    for line in lines:
        console(stderr).print(Text(line, style=style), soft_wrap=True)


def print_json(value: Any) -> None:
    """Print JSON that every reader takes: a number that is not finite becomes null."""
    print(json.dumps(_plain(value), indent=2, ensure_ascii=False))


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str | Text]],
    title: str = "",
    right: str = "",
    wrapped: Collection[str] = WRAPPED,
) -> StackedTable:
    """A table; the columns named in `right`, separated by spaces, hold numbers."""
    numbers = right.split()
    aligned = {name for name in columns if name.replace(" ", "_") in numbers}
    return StackedTable(columns, list(rows), title, aligned, wrapped)


@contextmanager
def bar(of_bytes: bool = False) -> Iterator[Tell]:
    """A callback (done, total, what) that draws a bar on stderr, or where that is no terminal a line a stage."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield _lines(screen)
        return
    amount = DownloadColumn() if of_bytes else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn())
    with Progress(*columns, console=screen) as progress:
        tasks: dict[str, Any] = {}

        def show(done: int, total: int, what: str) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield show


def _lines(screen: Console) -> Tell:
    told: set[str] = set()

    def show(done: int, total: int, what: str) -> None:
        if done >= total and what not in told:
            told.add(what)
            screen.print(f"{what}: {done:,} of {total:,}")

    return show


def searched(semantics: Mapping[str, Any]) -> frozenset[str]:
    """Names of the settings in which the trials of a space differ, by its semantics."""
    names = {name for name, domain in semantics["general"].items() if isinstance(domain, Mapping)}
    for kind, options in semantics["components"].items():
        if len(options) > 1:
            names.add(kind)
        for option, settings in options.items():
            names |= {f"{kind}.{option}.{name}" for name, domain in settings.items() if isinstance(domain, Mapping)}
    return frozenset(names)


def in_short(settings: Mapping[str, Value], names: Collection[str]) -> str:
    """The settings that are in `names`, a component with its own in brackets.

    >>> flat = {"image_size": 64, "loss": "focal", "loss.focal.gamma": 1.5311, "balancing": "none"}
    >>> in_short(flat, flat)
    'image_size 64 · focal (gamma 1.53) · balancing none'
    """
    words = []
    for name, value in settings.items():
        if "." in name:
            continue
        inner = [
            f"{path.removeprefix(f'{name}.{value}.')} {number(own)}"
            for path, own in settings.items()
            if path.startswith(f"{name}.{value}.") and path in names
        ]
        if name in names:
            plain = not isinstance(value, str) or value == "none"
            word = f"{name} {number(value)}" if plain else str(value)
            words.append(f"{word} ({', '.join(inner)})" if inner else word)
        else:
            words += inner
    return " · ".join(words)


def number(value: Value) -> str:
    """A value in at most three significant digits, but none that is not whole as a whole one.

    >>> number(0.0012345), number(0.9999), number(2.0)
    ('0.00123', '0.9999', '2')
    """
    if not isinstance(value, float):
        return str(value)
    short = f"{value:.3g}"
    return short if float(short) == value or not float(short).is_integer() else f"{value:.6g}"


def score(value: float | None) -> str:
    """A metric, or a dash where there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:z.4f}"


def duration(seconds: float | None) -> str:
    """Seconds as a clock shows them.

    >>> duration(7.4), duration(133), duration(3733), duration(None)
    ('0:07', '2:13', '1:02:13', '–')
    """
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def counted(counts: Mapping[str, int]) -> Text:
    """Trials by state, without the states in which there are none."""
    words = [Text(f"{count} {state}", STYLES.get(state, "")) for state, count in _in_order(counts) if count]
    return Text(", ").join(words) if words else Text("none yet", "dim")


def _in_order(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return [(state, counts[state]) for state in STYLES if state in counts]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
