"""The rollback journal beside an SQLite ledger: whether SQLite can undo by it what a killed driver had begun to write.

SQLite plays back as many pages as a journal has, without a word where it has fewer than it says; the ledger would hold
half of a write. A journal says how many pages it has only once they are on the disk, and the database is written to
after that; so one that says nothing undoes nothing, and one that is shorter than it says was cut
(https://www.sqlite.org/fileformat2.html#the_rollback_journal).
"""

from __future__ import annotations

import sqlite3
import struct
from contextlib import closing
from pathlib import Path

MAGIC = bytes.fromhex("d9d505f920a163d7")
_HEADER = struct.Struct(">8sIIIII")  # magic, pages, nonce, pages of the database, bytes of a sector, bytes of a page
SECTOR = 512
"""The fewest bytes that the header of a journal takes."""
_AROUND = 8
"""Bytes around each page: its number, and a checksum."""
_NOT_SAID = (0, 0xFFFFFFFF)
"""Pages of a journal that nothing depends on yet, or that goes as far as its file does."""


def cut_journal(database: Path) -> str | None:
    """What is wrong with the journal beside the SQLite file `database`; None where it is whole, or there is none.

    To be asked before SQLite opens the database, for it deletes the journal that it has played back.
    """
    journal = database.with_name(f"{database.name}-journal")
    while (found := _read(journal)) is not None:
        head, size = found
        magic, pages, _, _, sector, page = _HEADER.unpack(head)
        if magic == MAGIC and size >= max(sector, SECTOR):
            whole = sector + pages * (page + _AROUND)
            if pages in _NOT_SAID or size >= whole:
                return None
            return _told(journal, database, f"is cut short: it has {size:,} of {whole:,} bytes")
        # A driver killed as it began to write leaves such a one as well, beside a database that is as it was.
        problem = _unsound(database)
        if problem is None:
            return None
        if _read(journal) == found:  # else a driver lives, and has gone on meanwhile
            return _told(journal, database, f"is cut short, and the database is left half-written: {problem}")
    return None


def _read(journal: Path) -> tuple[bytes, int] | None:
    """The header, filled up with zeros where it is cut, and the bytes of the file; None where there is none."""
    try:
        with journal.open("rb") as file:
            return file.read(_HEADER.size).ljust(_HEADER.size, b"\0"), file.seek(0, 2)
    except OSError:  # where it cannot be read, SQLite says so itself
        return None


def _unsound(database: Path) -> str | None:
    # Immutable: else SQLite would delete the journal, and nobody could tell any more that there was one.
    address = f"{database.absolute().as_uri()}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(address, uri=True)) as connection:
            said = [str(line) for (line,) in connection.execute("PRAGMA integrity_check(3)")]
    except sqlite3.Error as error:
        said = [str(error)]
    return None if said == ["ok"] else "; ".join(said)


def _told(journal: Path, database: Path, what: str) -> str:
    return (
        f"{journal} {what}. By it the last write of a driver that was killed is undone. Restore a copy of it, or a "
        f"copy of {database} with the journal moved away; without any, save what can be read: move the journal away, "
        f"then sqlite3 {database} .recover | sqlite3 ledger-recovered.db"
    )
