"""Faults are injected into searches over the fake training of tests/search, wherever training has no part in them."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# Tests of the search import the fake training as a neighbour; so do these, and what they start (`drivers.py`).
sys.path.insert(0, str(HERE.parent / "search"))


@pytest.fixture(scope="module")
def one_ray() -> Iterator[None]:
    """One Ray session for the tests of a file whose search runs in this very process: starting one takes seconds."""
    from drivers import WORKERS

    from search.cluster import joined

    with pytest.MonkeyPatch.context() as patch:
        for name, value in WORKERS.items():
            patch.setenv(name, value)
        with joined(None):
            yield


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions of the test's own process end without figures, which take seconds (tests/search/test_artifacts.py)."""
    monkeypatch.setattr("search.study.show", lambda *_: "")


@pytest.fixture(autouse=True)
def _rungs_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    from rungs import note_rungs

    note_rungs(monkeypatch)


@pytest.fixture(autouse=True)
def _no_driver_outlives_its_test() -> Iterator[None]:
    yield
    from drivers import STARTED

    while STARTED:
        STARTED.pop().kill()
