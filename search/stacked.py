"""A table that loses nothing where the terminal is narrow.

Rich cuts off what does not fit: a probability of 0.023 becomes "0.02", and a column without room is left blank. Here
only columns that may take several lines give way. What then does not fit goes into further tables below, as pandas
prints them, each of which begins with the first column.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

FIRST, OTHER = 24, 16
"""The least room of a first column that may take several lines, which names its row, and of any other such one."""
EDGES, BETWEEN = 2, 3
"""Blanks around a table and between two of its columns."""


@dataclass(frozen=True, eq=False)
class StackedTable:
    """Columns and rows to print; those in `right` are aligned there, those in `wrapped` may take several lines."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str | Text]]
    title: str = ""
    right: Collection[str] = ()
    wrapped: Collection[str] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The title, then the table, or as many as its columns need."""
        if self.title:
            yield Text(self.title, "bold")
        for places in self._groups(options.max_width):
            yield self._table(places, options.max_width)

    def _groups(self, room: int) -> list[list[int]]:
        """Places of the columns that are shown side by side; the first column is in every group."""
        groups: list[list[int]] = [[]]
        for place in range(len(self.columns)):
            if len(groups[-1]) > 1 and self._least_width([*groups[-1], place]) > room:
                groups.append([0])
            groups[-1].append(place)
        return groups

    def _table(self, places: Sequence[int], room: int) -> Table:
        # Where even two columns do not fit, they take several lines, rather than lose what is in them.
        narrow = self._least_width(places) > room
        least = [1 if narrow else self._least(place) for place in places]
        widths = _shared([self._natural(place) for place in places], least, room - _frame(len(places)))
        shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for place, width in zip(places, widths, strict=True):
            name = self.columns[place]
            wraps = narrow or name in self.wrapped
            justify = "right" if name in self.right else "left"
            shown.add_column(name, justify=justify, no_wrap=not wraps, overflow="fold", width=width)  # type: ignore[arg-type]
        for row in self.rows:
            shown.add_row(*(row[place] for place in places))
        return shown

    def _least_width(self, places: Sequence[int]) -> int:
        return sum(map(self._least, places)) + _frame(len(places))

    def _least(self, place: int) -> int:
        natural = self._natural(place)
        return min(natural, OTHER if place else FIRST) if self.columns[place] in self.wrapped else natural

    def _natural(self, place: int) -> int:
        cells = [self.columns[place], *(row[place] for row in self.rows)]
        return max(cell_len(line) for cell in cells for line in str(cell).split("\n"))


def _frame(columns: int) -> int:
    return EDGES + BETWEEN * (columns - 1)


def _shared(natural: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Widths of columns in `room`: all have their least, what is over goes evenly to those that want more.

    >>> _shared([6, 40, 100], [6, 16, 16], 80)
    [6, 37, 37]
    >>> _shared([6, 20, 100], [6, 16, 16], 80)
    [6, 20, 54]
    """
    widths, spare = list(least), max(room - sum(least), 0)
    by_want = sorted(range(len(widths)), key=lambda place: natural[place] - least[place])
    for done, place in enumerate(by_want):
        more = min(natural[place] - least[place], spare // (len(widths) - done))
        widths[place] += more
        spare -= more
    return widths
