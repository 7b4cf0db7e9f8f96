"""What waits for an SQLite file that another program holds, statement by statement."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from search.busy import Wait, connect_args

INSERT = "INSERT INTO numbers VALUES (?)"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE numbers (number INTEGER)")
    connection.close()
    return path


@pytest.fixture
def connection(path: Path) -> Iterator[Any]:
    connection = sqlite3.connect(path, **connect_args(Wait()))
    yield connection
    connection.close()


@pytest.fixture
def other(path: Path) -> Iterator[sqlite3.Connection]:
    other = sqlite3.connect(path, isolation_level=None, timeout=0, check_same_thread=False)
    yield other
    other.close()


def numbers(connection: sqlite3.Connection) -> list[int]:
    return [number for (number,) in connection.cursor().execute("SELECT number FROM numbers ORDER BY number")]


@pytest.mark.parametrize("many", [False, True])
def test_a_file_that_is_held_is_waited_for_and_written_once(connection: Any, other: Any, many: bool) -> None:
    other.execute("BEGIN EXCLUSIVE")
    release = threading.Timer(0.8, lambda: other.execute("COMMIT"))
    release.start()
    cursor = connection.cursor()
    cursor.executemany(INSERT, ((number,) for number in (1, 2))) if many else cursor.execute(INSERT, (1,))
    connection.commit()
    release.join()
    assert numbers(other) == ([1, 2] if many else [1])


def test_a_commit_waits_for_readers(connection: Any, other: Any) -> None:
    other.execute("BEGIN")
    other.execute("SELECT * FROM numbers").fetchall()
    release = threading.Timer(0.8, lambda: other.execute("COMMIT"))
    release.start()
    connection.cursor().execute(INSERT, (1,))
    connection.commit()
    release.join()
    assert numbers(other) == [1]


def test_what_the_other_one_waits_for_is_not_held_on_to(connection: Any, other: Any) -> None:
    """Both have read, and both want to write: SQLite says so at once, and whoever hears it has to begin anew."""
    connection.cursor().execute("BEGIN")
    assert numbers(connection) == []
    other.execute("BEGIN IMMEDIATE")
    other.execute(INSERT, (1,))
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("COMMIT")  # it waits for the reader
    began = time.monotonic()
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        connection.cursor().execute(INSERT, (2,))
    assert time.monotonic() - began < 1
    connection.rollback()
    other.execute("COMMIT")
    assert numbers(connection) == [1]


def test_patience_ends_and_comes_back_with_the_file(path: Path, other: Any) -> None:
    wait = Wait(seconds=0.7)
    connection = sqlite3.connect(path, **connect_args(wait))
    other.execute("BEGIN EXCLUSIVE")
    for seconds in (0.9, 0.4):  # given up, it is asked once and no more
        began = time.monotonic()
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            connection.cursor().execute(INSERT, (1,))
        assert seconds < time.monotonic() - began < seconds + 1
    other.execute("COMMIT")
    connection.cursor().execute(INSERT, (1,))
    assert not wait.given_up
    connection.close()
