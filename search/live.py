"""A search while it runs: a table that renews itself on a terminal, a line an event everywhere else."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from search.display import console, counted, duration, in_short, score, table
from search.progress import StudyState
from search.stacked import StackedTable


@contextmanager
def followed(names: Collection[str], screen: Console | None = None) -> Iterator[Callable[[StudyState], None]]:
    """What `run_study` takes as `progress`; `names` are the settings in which trials differ."""
    screen = screen or console()
    if not screen.is_terminal:
        yield Lines(screen, names).tell
        return
    with Live(Spinner("dots", "reading the space"), console=screen, refresh_per_second=4) as live:
        yield lambda state: live.update(dashboard(state, names))


def dashboard(state: StudyState, names: Collection[str]) -> RenderableType:
    """The whole state, for a terminal of 80 columns or more."""
    parts: list[RenderableType] = [_bar(state), _facts(state, names)]
    if state.running:
        parts.append(_running(state, names))
    if state.phase in ("starting", "stopping"):
        parts.append(Spinner("dots", _phase(state)))
    elif state.phase == "running":
        parts.append(Text("Ctrl-C stops; the same command continues", "dim"))
    return Panel(
        Group(*parts),
        title=f"{state.study} · {_phase(state).partition(',')[0]}",
        title_align="left",
        border_style="dim",
    )


def _bar(state: StudyState) -> Table:
    done = _ended(state)
    times = f"{duration(state.elapsed)} so far"
    if state.remaining is not None and state.phase == "running":
        times += f", about {duration(state.remaining)} to go"
    row = Table.grid(padding=(0, 2), expand=True)
    row.add_column(ratio=1)
    row.add_column(no_wrap=True)
    row.add_column(no_wrap=True)
    row.add_row(ProgressBar(max(state.target, 1), done), f"{done} of {state.target} trials", times)
    return row


def _facts(state: StudyState, names: Collection[str]) -> Table:
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column()
    facts.add_row("trials", counted(state.counts))
    best = Text("–")
    if state.best is not None:
        which = f"  trial {state.best.label}: {in_short(state.best.settings, names)}"
        best = Text.assemble((score(state.best.value), "bold green"), which)
    facts.add_row(f"best {state.objective}", best)
    if state.total and state.phase == "running":
        facts.add_row("in use", _use(state))
    if state.mirror_problem:
        text = f"does not answer, {state.mirror_waiting} events wait on disk: {state.mirror_problem}"
        facts.add_row("MLflow", Text(text, "yellow"))
    return facts


def _use(state: StudyState) -> str:
    return ", ".join(
        f"{state.used.get(kind, 0):g} of {total:g} {kind}s" for kind, total in state.total.items() if total
    )


def _running(state: StudyState, names: Collection[str]) -> StackedTable:
    rows = [
        (
            trial.label or str(trial.number),
            f"{trial.epoch}/{state.epochs}",
            score(trial.value),
            duration(trial.seconds),
            in_short(trial.settings, names) + (f" (attempt {trial.attempt})" if trial.attempt > 1 else ""),
        )
        for trial in sorted(state.running, key=lambda trial: trial.number)
    ]
    return table(("trial", "epoch", "value", "time", "settings"), rows, right="trial epoch value time")


def _phase(state: StudyState) -> str:
    if state.phase != "stopping":
        return state.phase
    return "stopping, what runs is kept" if state.running else "winding up"


def _ended(state: StudyState) -> int:
    return sum(state.counts.get(name, 0) for name in ("complete", "pruned", "failed"))


class Lines:
    """Tells what has changed from one state to the next, a line each."""

    def __init__(self, screen: Console, names: Collection[str]) -> None:
        self._screen, self._names = screen, names
        self._last: StudyState | None = None

    def tell(self, state: StudyState) -> None:
        """Print what is new in `state`."""
        for line in self._news(state):
            self._screen.print(f"{duration(state.elapsed):>7}  {line}", soft_wrap=True)
        self._last = state

    def _news(self, state: StudyState) -> Iterator[str]:
        last = self._last
        if last is None or last.phase != state.phase:
            yield f"{state.study}: {_phase(state)}"
        before = {trial.number: trial for trial in last.running} if last else {}
        for trial in state.running:
            if trial.number not in before:
                yield f"trial {trial.label or trial.number} begins: {in_short(trial.settings, self._names)}"
            elif trial.epoch > before[trial.number].epoch:
                told = f"{state.objective} {score(trial.value)}"
                yield f"trial {trial.label or trial.number} epoch {trial.epoch}/{state.epochs}: {told}"
        if last is None or _ended(state) > _ended(last):
            left = f", about {duration(state.remaining)} to go" if state.remaining else ""
            yield f"{_ended(state)} of {state.target} trials have ended: {counted(state.counts).plain}{left}"
        if state.best is not None and (last is None or last.best is None or last.best.number != state.best.number):
            yield f"best {state.objective} {score(state.best.value)}, trial {state.best.label}"
        if state.mirror_problem and (last is None or last.mirror_problem != state.mirror_problem):
            yield f"MLflow does not answer, its events wait on disk: {state.mirror_problem}"
