"""Waiting for an SQLite file that another program holds, such as a dashboard or a backup.

SQLite waits by itself, but in C: no signal is heard meanwhile, and two Ctrl-C become one. So it is told to wait for a
moment only, and asked again from here, statement by statement, which is what it would have done. A statement that it
refused without waiting is not asked again: there it has found that this connection itself is what the other one waits
for.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

SECONDS = 60.0
"""How long a statement waits for another program to let go of the file."""
HURRIED_SECONDS = 5.0
"""And where the session is to end: what it notes then keeps interruptions from being held against its trials."""
SLICE = 0.5
"""Seconds that SQLite waits by itself."""

Result = TypeVar("Result")


@dataclass
class Wait:
    """Asks again for `seconds` at most, and less once `hurried`; not at all once given up, until the file is free."""

    seconds: float = field(default_factory=lambda: SECONDS)
    hurried: Callable[[], bool] = lambda: False
    given_up: bool = False

    def until_free(self, ask: Callable[[], Result], unchanged: Callable[[], bool] = lambda: True) -> Result:
        """What `ask` returns, again and again while the file is held and `unchanged` says that nothing was written."""
        began = time.monotonic()
        while True:
            asked = time.monotonic()
            try:
                result = ask()
            except sqlite3.OperationalError as error:
                waited = _is_held(error) and time.monotonic() - asked > SLICE / 2
                if not waited or not unchanged() or self._over(time.monotonic() - began):
                    raise
            else:
                self.given_up = False
                return result

    def _over(self, seconds: float) -> bool:
        most = min(self.seconds, HURRIED_SECONDS) if self.hurried() else self.seconds
        self.given_up = self.given_up or seconds > most
        return self.given_up


def connect_args(wait: Wait) -> dict[str, Any]:
    """What `sqlite3.connect` is told for connections that wait as `wait` says."""

    class Connection(_Connection):
        pass

    Connection.wait = wait
    return {"timeout": SLICE, "factory": Connection}


class _Connection(sqlite3.Connection):
    wait: Wait

    def cursor(self, *arguments: Any, **options: Any) -> Any:
        return super().cursor(*(arguments or (_Cursor,)), **options)

    def commit(self) -> None:
        self.wait.until_free(super().commit)


class _Cursor(sqlite3.Cursor):
    connection: _Connection

    def execute(self, sql: str, parameters: Any = ()) -> Any:
        return self.connection.wait.until_free(partial(super().execute, sql, parameters))

    def executemany(self, sql: str, parameters: Iterable[Any]) -> Any:
        every, before = [*parameters], self.connection.total_changes
        # Where some rows are in, all of them asked again would be too many.
        return self.connection.wait.until_free(
            partial(super().executemany, sql, every), lambda: self.connection.total_changes == before
        )


def _is_held(error: sqlite3.OperationalError) -> bool:
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_BUSY
