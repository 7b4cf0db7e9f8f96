"""The table of faults names tests: each is there."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_every_test_that_the_table_names_is_there() -> None:
    table = (TESTS.parent / "docs" / "faults.md").read_text()
    named = re.findall(r"`([\w/]*(?:\.py)?)::(test_\w+)(?:\[[^`]*\])?`", table)
    assert len(named) > 80
    missing, file = [], ""
    for path, name in named:
        file = path or file  # `::test_more` is of the file before it
        if f"def {name}(" not in (TESTS / file).read_text():
            missing.append(f"{file}::{name}")
    assert missing == []
