"""What a narrow screen needs of a page's tables: the wide ones become cards, each cell with the name of its column."""

from __future__ import annotations

import re


def cards(page: str) -> list[list[str]]:
    """The columns of each table that becomes cards; an AssertionError for one of many columns that does not."""
    found = []
    for table in re.findall(r"<table.*?</table>", page, flags=re.DOTALL):
        columns, cells = re.findall(r"<th>(.*?)</th>", table), re.findall(r"<td([^>]*)>", table)
        if len(columns) <= 4:
            continue
        assert table.startswith('<table class="cards">'), columns
        labels = [re.findall(r'data-label="([^"]*)"', cell) for cell in cells]
        assert labels == [[name] for name in columns] * (len(cells) // len(columns))
        found.append(columns)
    return found
