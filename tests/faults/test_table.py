"""The table of faults names tests, and so does the list of files that are cut: each is there."""

import re
from pathlib import Path

from state_files import CUT, unknown_files

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


def test_every_kind_of_file_is_cut_by_a_test_that_is_there() -> None:
    for kind, test in CUT.items():
        file, _, name = test.partition("::")
        text = (TESTS / "faults" / file).read_text()
        assert f"def {name}(" in text, kind
        assert "import cuts" in text, kind


def test_a_file_that_nobody_cuts_is_named(tmp_path: Path) -> None:
    for name in (
        "cache/new.json",
        "checkpoints/tiny/0/notes",
        "reports/tiny/promotion-0a/test/more.csv",
        "state.db",
        ".reach-0a/token",
        "cache/footprints/.0a.json.77",
        "reports/tiny/.report.html.77ab.partial",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
        assert [line.split(":")[0] for line in unknown_files(tmp_path)] == [name]
        (tmp_path / name).unlink()
