"""The rows of `benchmarks/components.py`: trainings that their space files still allow."""

from pathlib import Path

import pytest

from benchmarks.components import ROWS, SPACES, Row
from search.space import load


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.study)
def test_each_is_one_epoch_of_one_branch_of_its_space(row: Row) -> None:
    space = load(SPACES / row.file, overrides=row.overrides(Path("weights")))
    assert (space.budget.trials, space.budget.epochs, space.scheduler) == (1, 1, None)
    assert space.branch_count() == 1


def test_no_two_are_one_study() -> None:
    assert len({row.study for row in ROWS}) == len(ROWS)
