"""Searches that die at random, hundreds of times, at every kind of point, and come to what undisturbed ones come to.

How they die is told in `deaths`. A search with one worker must come to the very same rows and rungs. One with several
is told things in another order after a death, and what TPE proposes and whom the scheduler stops goes by what was told
before. With both it is held to what must be equal all the same: exactly the rows asked for, every value that of an
undisturbed training, failures that were decided, and rungs that are a replay's, at every moment. Where proposals go by
a trial's number alone and nobody is stopped, its rows must be the very same as well.
"""

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deaths import (
    ASHA,
    BY_NUMBER,
    EPOCHS,
    GRIEF,
    MENDED,
    TRIALS,
    Disk,
    Faults,
    make_dangerous,
    rungs_of,
    search,
    shared_storage,
    without_faults,
    wrong,
)
from whole import failures, of_rows, of_rungs, results

from search.database import Storage
from search.rows import LOST
from search.study import StudyStatus

SEEDS = 5
KILLS: dict[int, int] = {}
"""How often the driver died in the search of each seed, as far as they ran."""


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    with shared_storage(tmp_path) as storage:
        yield storage


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyStatus, Any]:
    return without_faults(tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture(scope="module")
def by_number(tmp_path_factory: pytest.TempPathFactory) -> StudyStatus:
    """A search in which nothing goes by what was told before."""
    return without_faults(tmp_path_factory.mktemp("by-number"), **BY_NUMBER)[0]


def test_the_undisturbed_search_has_all_kinds_of_rows(undisturbed: tuple[StudyStatus, Any]) -> None:
    status, scheduler = undisturbed
    assert Counter(row.state for row in status.rows).keys() >= {"complete", "pruned", "failed"}
    assert {row.number: row.attempt for row in status.rows if row.attempt > 1} == dict.fromkeys(GRIEF, 2)
    assert not [*of_rows(status.rows, TRIALS, EPOCHS), *of_rungs(status, ASHA, EPOCHS, scheduler)]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_one_worker_comes_to_the_same_rows_and_rungs(
    storage: Storage, undisturbed: tuple[StudyStatus, Any], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = Faults(random.Random(seed), kills=0.1, losses=0.05)
    make_dangerous(storage, faults, monkeypatch)
    status, scheduler = search(faults, workers=1, forgets=0.2)
    whole, whole_scheduler = undisturbed
    assert results(status) == results(whole)
    assert [(row.failure, row.metrics) for row in status.rows] == [(row.failure, row.metrics) for row in whole.rows]
    assert all(row.attempt >= once.attempt for row, once in zip(status.rows, whole.rows, strict=True))
    assert rungs_of(scheduler) == rungs_of(whole_scheduler)
    KILLS[seed] = faults.killed


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_several_workers_come_to_the_rows_asked_for(
    storage: Storage, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = Faults(random.Random(seed), kills=0.1, losses=0.05)
    make_dangerous(storage, faults, monkeypatch)
    status, scheduler = search(faults, workers=3, forgets=0.2, disk=Disk(GRIEF | MENDED))
    found = [*of_rows(status.rows, TRIALS, EPOCHS), *of_rungs(status, ASHA, EPOCHS, scheduler), *wrong(status.rows)]
    assert not found, "\n".join(found)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(3))
def test_several_workers_come_to_the_same_rows_where_the_order_does_not_matter(
    storage: Storage, by_number: StudyStatus, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = Faults(random.Random(seed), kills=0.05, losses=0.03)
    make_dangerous(storage, faults, monkeypatch)
    status, _ = search(faults, workers=3, forgets=0.2, **BY_NUMBER)
    assert results(status) == results(by_number)
    whole = [(row.failure, row.metrics) for row in by_number.rows]
    assert [(row.failure, row.metrics) for row in status.rows] == whole
    print(faults.killed, "deaths")
    assert faults.killed > 10


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Storage]:
    """A storage whose rows are given up over the death of their second driver."""
    with shared_storage(tmp_path, losses=2) as storage:
        yield storage


@pytest.mark.slow
def test_of_several_rows_that_alone_is_failed_which_takes_its_driver_down(
    impatient: Storage, by_number: StudyStatus
) -> None:
    disk = Disk(GRIEF, deadly={4})
    status, _ = search(Faults(random.Random(0), 0.0, 0.0), workers=3, disk=disk, **BY_NUMBER)
    assert failures(status) == failures(by_number) | {4: LOST}
    assert [each for each in results(status) if each[0] != 4] == [each for each in results(by_number) if each[0] != 4]
    beside, alone = disk.flights[:-1], disk.flights[-1]
    assert (len(disk.flights), alone) == (3, {4})
    assert all(len(flight) == 3 for flight in beside)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(3))
def test_where_drivers_die_at_random_no_row_is_failed_for_it_that_was_not_alone(
    impatient: Storage, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = Faults(random.Random(seed), kills=0.05, losses=0.03)
    make_dangerous(impatient, faults, monkeypatch)
    disk = Disk(GRIEF | MENDED, deadly={7})
    status, scheduler = search(faults, workers=3, forgets=0.2, disk=disk)
    assert not [*of_rows(status.rows, TRIALS, EPOCHS), *of_rungs(status, ASHA, EPOCHS, scheduler), *wrong(status.rows)]
    failed = [row for row in status.rows if str(row.message).startswith("the driver ended")]
    assert 7 in {row.number for row in failed}
    for row in failed:
        flights = [flight for flight in disk.flights if row.number in flight]
        assert flights[-1] == {row.number}
        assert len(flights) >= row.losses >= 2
    print(faults.killed, "deaths;", [row.number for row in failed], "failed for them")


@pytest.mark.slow
def test_the_searches_died_hundreds_of_times() -> None:
    """Those with one worker; a server that was away is borne by the same driver, and does not count."""
    if len(KILLS) < SEEDS:
        pytest.skip("some of the searches that are counted did not run")
    print(sum(KILLS.values()), "deaths")
    assert sum(KILLS.values()) >= 200, KILLS
