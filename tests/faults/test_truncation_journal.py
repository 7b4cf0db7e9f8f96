"""The journal by which SQLite undoes the last write of a killed driver, cut short: nothing is taken for what it is not.

A process that writes to a ledger is stopped at random moments; its files are what a kill at that moment leaves.
"""

import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from cuts import cuts
from writer import IDENTITY

from search.doctor import examine
from search.errors import LedgerAccessError
from search.journal import MAGIC, SECTOR, cut_journal
from search.ledger import open_ledger
from search.study import study_status
from search.workspace import Workspace, open_workspace

PAGE = 4096
FROZEN = 5
"""Moments at which the ledger is looked at; more where the driver had written to it at none of them."""


def frozen(place: Path) -> Iterator[tuple[bytes, bytes, list[int]]]:
    """Ledger, journal and trials confirmed so far, where a kill leaves a journal by which something is undone."""
    rng = random.Random(0)
    command = [sys.executable, str(Path(__file__).with_name("writer.py")), str(place)]
    database, journal, ended = place / "ledger.db", place / "ledger.db-journal", place / "ended"
    with subprocess.Popen(command) as writer:
        try:
            deadline = time.monotonic() + 100
            while time.monotonic() < deadline:
                time.sleep(rng.random() / 50)
                writer.send_signal(signal.SIGSTOP)
                os.waitid(os.P_PID, writer.pid, os.WSTOPPED)
                if ended.exists() and journal.exists() and any((head := journal.read_bytes())[8:12]):
                    yield database.read_bytes(), head, [int(line) for line in ended.read_text().split()]
                writer.send_signal(signal.SIGCONT)
        finally:
            writer.kill()


def rows_of(place: Workspace) -> list[dict[str, Any]]:
    return [asdict(row) for row in study_status(place, "tiny").rows]


def opened(place: Workspace, database: bytes, journal: bytes | None) -> list[dict[str, Any]] | None:
    """The rows of a ledger that a driver left so; None where it is refused, by everybody, and left as it is."""
    files = {place.path / "ledger.db": database, place.path / "ledger.db-journal": journal}
    for path, content in files.items():
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
    if cut_journal(place.path / "ledger.db") is None:
        return rows_of(place)
    how = rf"{place.path}/ledger.db-journal is cut short.*Restore a copy of it, or a copy of {place.path}/ledger.db"
    with pytest.raises(LedgerAccessError, match=how):
        rows_of(place)
    with pytest.raises(LedgerAccessError, match=how):
        open_ledger(place.ledger_url, "tiny", IDENTITY, 7)
    [finding] = examine(place).findings
    assert (finding.kind, finding.where) == ("damaged ledger", f"{place.path}/ledger.db-journal")
    assert {path: path.read_bytes() for path in files} == files
    return None


def confirmed(told: list[dict[str, Any]], before: list[dict[str, Any]], after: list[dict[str, Any]] | None) -> bool:
    """Whether no row is lost or doubled, and all but the one that was being written are as they were."""
    numbers = [[row["number"] for row in rows] for rows in (told, before, after or before)]
    whole = [row for row in before if row["state"] == "complete"]
    return numbers[0] in numbers[1:] and told[: len(whole)] == whole


def half_written(before: bytes, after: bytes) -> Iterator[bytes]:
    """What the driver leaves on its way from one to the other, page after page, as SQLite writes them."""
    pages = range(0, max(len(before), len(after)), PAGE)
    changed = [page for page in pages if before[page : page + PAGE] != after[page : page + PAGE]]
    left = bytearray(before)
    for page in changed[:-1]:
        left[page : page + PAGE] = after[page : page + PAGE].ljust(PAGE, b"\0")
        yield bytes(left)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_journal_of_a_driver_killed_in_a_write_cut_at_random_offsets(tmp_path: Path) -> None:
    """Either all that was confirmed is there, no row lost or doubled, or the journal is named and nothing touched."""
    place, found = open_workspace(tmp_path / "left"), Counter[str]()
    (tmp_path / "written").mkdir()
    for moment, (database, journal, ended) in enumerate(frozen(tmp_path / "written")):
        if moment >= FROZEN and found["half-written, refused"]:
            break
        before = opened(place, database, journal)
        undone = (place.path / "ledger.db").read_bytes()
        assert before is not None
        assert [row["number"] for row in before if row["state"] == "complete"][: len(ended)] == ended
        assert len(ended) <= len(before) <= len(ended) + 1
        after = opened(place, database, None)  # where all of the write arrived: it was not confirmed, and is whole
        kept = tmp_path / f"journal-{moment}"
        kept.write_bytes(journal)
        for offset in cuts(kept, 8, seed=moment):
            told = opened(place, database, kept.read_bytes())
            assert told is None if offset >= SECTOR else told in (None, before, after), (moment, offset)
            found["refused" if told is None else "whole"] += 1
        for left in half_written(undone, database):
            for offset in (0, 1, 11, 23, SECTOR - 1):
                told = opened(place, left, journal[:offset])
                assert told is None or confirmed(told, before, after), (moment, offset)
                found["half-written, refused" if told is None else "half-written, whole"] += 1
    print(dict(found))
    assert found["refused"] >= 5 * FROZEN
    assert found["half-written, refused"] > 0


def test_a_journal_that_undoes_nothing_is_borne(tmp_path: Path) -> None:
    """A driver killed before its journal was on the disk: the ledger has not been written to."""
    place = open_workspace(tmp_path)
    before = open_ledger(place.ledger_url, "tiny", IDENTITY, 7).rows()
    database = (tmp_path / "ledger.db").read_bytes()
    header = struct.pack(">8sIIIII", MAGIC, 0, 7, len(database) // PAGE, SECTOR, PAGE)
    for journal in (b"", b"\0" * SECTOR, header.ljust(SECTOR, b"\0"), header.ljust(SECTOR + 5000, b"\0")):
        assert opened(place, database, journal) == before == []
        assert cut_journal(tmp_path / "ledger.db") is None
