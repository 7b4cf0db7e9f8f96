"""The database under the ledger: opened, waited for while its server is away, and its errors in words.

SQLite is a file of the workspace, and every statement waits while another program holds it (`search.busy`). A server
may be restarted under a search that has run for days: whatever was asked of it is asked again until it answers
(`Patience`). That is sound because every write of the ledger says what is to be, not what is to change; a new row and
an end look first whether they are there already.
What belongs together is one transaction (`SoleWriter.at_once`): a commit to a disk takes longer than all that it holds.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from json import JSONDecodeError
from pathlib import Path
from typing import Any, TypeVar, cast

import optuna
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage, _StudyInfo
from optuna.trial import FrozenTrial
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    OperationalError,
    PendingRollbackError,
    SQLAlchemyError,
)
from sqlalchemy.orm import Session, scoped_session

from search.busy import Wait, connect_args
from search.errors import LedgerAccessError, LedgerError
from search.journal import cut_journal

PATIENCE = 300.0
"""Seconds that a database server may be away under a running search."""
PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds between tries; the last one again and again."""
SQLITE_HEADER = 100
"""Bytes below which SQLite takes a file for an empty database."""
LIBPQ = ("psycopg", "psycopg2")
"""PostgreSQL drivers that take libpq's options."""

Result = TypeVar("Result")
_log = logging.getLogger(__name__)


class ServerAwayError(LedgerAccessError):
    """The database server does not answer, or has dropped the connection: worth asking again."""


class Storage(RDBStorage):
    """Optuna's storage, which makes a row once.

    Optuna answers an error while it makes a row by making it again, up to five times; where the server had made it and
    only the answer was lost, that is a row too many. Here the ledger sees to it, which knows its rows. Its connections
    are closed when it goes.
    """

    def __init__(self, url: str) -> None:
        self.wait = Wait()
        super().__init__(url, engine_kwargs=engine_options(url, self.wait))
        weakref.finalize(self, self.engine.dispose)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """What is written within, as one transaction: all of it at the end or, when something is raised, nothing."""
        session, separate = _Together(bind=self.engine), self.scoped_session
        # What each of Optuna's writes takes a session of its own from.
        self.scoped_session = scoped_session(cast(Any, lambda: session))
        try:
            yield
            self._commit(session)
        finally:
            self.scoped_session = separate
            session.end()

    def _commit(self, session: _Together) -> None:
        session.commit_all()

    def _create_new_trial(self, study_id: int, template_trial: Any = None) -> Any:
        self._rows_begun = 0
        return super()._create_new_trial(study_id, template_trial)

    def _get_prepared_new_trial(self, study_id: int, template_trial: Any, session: Any) -> Any:
        self._rows_begun += 1
        if self._rows_begun > 1 or getattr(session, "undone", False):
            raise ServerAwayError("cannot write to the ledger: the database did not say whether it made a row")
        return super()._get_prepared_new_trial(study_id, template_trial, session)


class _Together(Session):
    """A transaction of several of Optuna's, each of which commits and closes its own."""

    undone = False

    def commit(self) -> None:
        """The end of a part."""
        self.flush()

    def rollback(self) -> None:
        """The end of everything: Optuna goes on after some errors, and the parts before must not be missed."""
        self.undone = True
        super().rollback()

    def close(self) -> None:
        """Forget what was read: another part may change it behind SQLAlchemy's back."""
        self.expunge_all()

    def commit_all(self) -> None:
        """Commit all parts; raises LedgerAccessError where one of them was undone."""
        if self.undone:
            raise LedgerAccessError("cannot write to the ledger: the database refused a part of what belongs together")
        super().commit()

    def end(self) -> None:
        """Undo what was not committed, and give the connection back."""
        super().close()


class SoleWriter(_CachedStorage):
    """A database whose studies this process alone writes to, as a driver does: rows are read again once written to.

    Optuna reads every unfinished row again whenever anything asks for the rows, in case another process wrote to them:
    with 800 trials at a time that is a second for each proposal.
    """

    _backend: Storage

    def __init__(self, backend: Storage) -> None:
        super().__init__(backend)
        self._together = False
        self.forget()

    @property
    def wait(self) -> Wait:
        """How long each statement waits for a file that another program holds."""
        return self._backend.wait

    def forget(self) -> None:
        """Read everything again: somebody else may have written."""
        super().__init__(self._backend)
        self._written: set[int] = set()
        self._newest: dict[int, int] = {}

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """What is written within reaches the database as a whole, or not at all; in a block of its kind, with that."""
        if self._together:
            yield
            return
        self._together = True
        try:
            with self._backend.at_once():
                yield
        except BaseException:
            self.forget()  # it may have read what is there no more
            raise
        finally:
            self._together = False

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """A row, read again if it was written to."""
        place = self._trial_id_to_study_id_and_number.get(trial_id)
        if place is None or trial_id in self._written:
            trial = self._backend.get_trial(trial_id)
            if place is None:
                return trial
            with self._lock:
                self._add_trials_to_cache(place[0], [trial])
            self._written.discard(trial_id)
        study, number = place
        return self._studies[study].trials[number]

    # A row counts as written to before it is: a write may arrive whose answer does not.
    def set_trial_param(self, trial_id: int, *what: Any, **named: Any) -> None:
        """A setting, of a row that is read again next time."""
        self._written.add(trial_id)
        super().set_trial_param(trial_id, *what, **named)

    def set_trial_state_values(self, trial_id: int, *what: Any, **named: Any) -> bool:
        """How a trial ended, of a row that is read again next time."""
        self._written.add(trial_id)
        return super().set_trial_state_values(trial_id, *what, **named)

    def set_trial_intermediate_value(self, trial_id: int, *what: Any, **named: Any) -> None:
        """A value after an epoch, of a row that is read again next time."""
        self._written.add(trial_id)
        super().set_trial_intermediate_value(trial_id, *what, **named)

    def set_trial_user_attr(self, trial_id: int, *what: Any, **named: Any) -> None:
        """What the ledger notes, of a row that is read again next time."""
        self._written.add(trial_id)
        super().set_trial_user_attr(trial_id, *what, **named)

    def set_trial_system_attr(self, trial_id: int, *what: Any, **named: Any) -> None:
        """What Optuna notes, of a row that is read again next time."""
        self._written.add(trial_id)
        super().set_trial_system_attr(trial_id, *what, **named)

    def _read_trials_from_remote_storage(self, study_id: int) -> None:
        newest = self._newest.get(study_id, -1)
        with self._lock:
            if study_id not in self._studies:
                self._studies[study_id] = _StudyInfo()
            trials = self._backend._get_trials(
                study_id, states=None, included_trial_ids=set(self._written), trial_id_greater_than=newest
            )
            self._add_trials_to_cache(study_id, trials)
            read = {trial._trial_id for trial in trials}
            self._written -= read
            self._newest[study_id] = max(read | {newest})


@dataclass
class Patience:
    """Asks a server again until it answers, for `seconds` at most; not at all once `hurried` or given up.

    What it waits for is logged once a wait, and that it is over.
    """

    seconds: float = PATIENCE
    hurried: Callable[[], bool] = lambda: False
    given_up: bool = False
    _within: bool = False

    def call(self, action: str, ask: Callable[[], Result]) -> Result:
        """What `ask` returns; raises LedgerError when the database cannot, and cannot be waited for.

        Within something that is asked again it is a part of that, and not asked again by itself.
        """
        if self._within:
            return ask()
        self._within = True
        try:
            return self._call(action, ask)
        finally:
            self._within = False

    def _call(self, action: str, ask: Callable[[], Result]) -> Result:
        began, tries = time.monotonic(), 0
        while True:
            try:
                with explained(action):
                    result = ask()
            except ServerAwayError as error:
                self._rest(error, began, tries)
                tries += 1
            else:
                if tries:
                    _log.warning("the ledger answers again, after %.0f s", time.monotonic() - began)
                return result

    def _rest(self, error: ServerAwayError, began: float, tries: int) -> None:
        if tries == 0:
            what = str(error).partition(". ")[0]
            _log.warning("%s; it is asked again for up to %.0f s", what, self.seconds)
        over = time.monotonic() + PAUSES[min(tries, len(PAUSES) - 1)]
        while True:
            self.given_up = self.given_up or time.monotonic() - began > self.seconds
            if self.given_up or self.hurried():
                raise error
            if time.monotonic() > over:
                return
            time.sleep(0.1)


def open_storage(url: str) -> Storage:
    """The database at `url`; LedgerError says why it cannot be opened, or that what undoes a write of it was cut.

    SQLite keeps its rollback journal: unlike WAL it is sound on network file systems and leaves a single file to copy.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    file = sqlite_file(url)
    if file is not None and (problem := cut_journal(file)):
        raise LedgerAccessError(problem)
    with explained("open"):
        try:
            return Storage(url)
        except RuntimeError as error:  # the tables are of another version of Optuna, which says what to do
            raise LedgerError(f"cannot open the ledger: {error}") from error


def cut_short(url: str, leftovers: Iterable[Path]) -> str | None:
    """What is wrong with an SQLite file that is empty although there are `leftovers` of its studies; None if nothing.

    SQLite takes an empty file for an empty database, and a study would begin anew over the trials of an earlier one.
    """
    path = Path(url.removeprefix("sqlite:///"))
    if not url.startswith("sqlite:///") or not path.exists() or path.stat().st_size >= SQLITE_HEADER:
        return None
    names = sorted(each.name for each in leftovers if each.is_dir())
    if not names:
        return None
    return (
        f"{path} is empty, and there are trials of {', '.join(names[:5])}: the ledger was cut short. Restore a copy of "
        "it, or delete it to begin those studies anew"
    )


def sqlite_file(url: str) -> Path | None:
    """The file of the SQLite database at `url`; None where it is in memory, or on a server.

    >>> sqlite_file("sqlite:////shared/ledger.db"), sqlite_file("sqlite://"), sqlite_file("postgresql://host/name")
    (PosixPath('/shared/ledger.db'), None, None)
    """
    with explained("open"):
        parsed = make_url(url)
    name = parsed.database or ""
    return Path(name) if parsed.get_backend_name() == "sqlite" and name not in ("", ":memory:") else None


def engine_options(url: str, wait: Wait | None = None) -> dict[str, Any]:
    """How SQLAlchemy is to treat the database at `url`, `wait`ing for its file; ArgumentError for what is no URL."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return {"connect_args": connect_args(wait or Wait())}
    options: dict[str, Any] = {"pool_pre_ping": True}
    if parsed.get_driver_name() in LIBPQ:
        # A host that lost its power says no goodbye: either side shall notice within a minute.
        alive = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
        server = " ".join(f"-c tcp_{name}={value}" for name, value in alive.items())
        options["connect_args"] = {**alive, "connect_timeout": 10, "options": server}
    return options


@contextmanager
def explained(action: str) -> Iterator[None]:
    """Turn what a database says into a LedgerError that says what to do."""
    try:
        yield
    except (ArgumentError, ImportError) as error:
        raise LedgerError(
            f"cannot {action} the ledger: {error}. LESION_LEDGER is the URL of a database whose driver is installed, "
            "such as postgresql+psycopg://user@host/name (pip install 'lesion-search[postgres]'); without it the "
            "ledger is a file of the workspace"
        ) from error
    except optuna.exceptions.UpdateFinishedTrialError as error:
        raise LedgerAccessError(
            f"cannot {action} the ledger: {error} Another driver has ended it meanwhile; run the same command again"
        ) from error
    except JSONDecodeError as error:
        raise LedgerAccessError(
            f"cannot {action} the ledger: a value in it is damaged ({error}); restore a copy of the ledger"
        ) from error
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        # Optuna's error has the database's for its cause.
        cause = error if isinstance(error, SQLAlchemyError) else error.__cause__ or error
        text = " ".join(str(getattr(cause, "orig", cause)).split()).rstrip(".") or type(cause).__name__
        kind = ServerAwayError if _is_away(cause) else LedgerAccessError
        raise kind(f"cannot {action} the ledger: {text}. {_advice(text)}") from error


def _is_away(error: BaseException) -> bool:
    """Whether a server restarts, dropped us or cannot be reached; SQLite has no server."""
    if isinstance(error, PendingRollbackError):  # Optuna went on after the connection had been dropped
        return True
    if not isinstance(error, DBAPIError) or type(error.orig).__module__.startswith("sqlite"):
        return False
    return error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)


def _advice(text: str) -> str:
    advice: Mapping[str, str] = {
        "disk is full": "Free some disk space and run the same command again: nothing that was recorded is lost.",
        "No space left": "Free some disk space and run the same command again: nothing that was recorded is lost.",
        "disk I/O": "Look after the disk (full? gone?), then run the same command again.",
        "locked": "Another program holds the database; close it and run the same command again.",
        "readonly": "Make the ledger and its folder writable for you.",
        "not a database": "The file is damaged or something else; restore a copy, or move it away to begin anew.",
        "malformed": "The file is damaged; restore a copy, or move it away to begin anew.",
        "password": "Say who you are in LESION_LEDGER, or in a file ~/.pgpass.",
    }
    return next((hint for key, hint in advice.items() if key in text), "Run the same command again once it answers.")
