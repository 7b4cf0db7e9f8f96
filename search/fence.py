"""The fence: of all attempts at one trial, only the one that the driver began last writes into the trial's folder.

A worker whose node was cut off, or whose raylet died, may train on beside its successor, on the same shared storage. So
the driver gives each attempt a name, notes it in the folder before the order goes out, and a worker looks there before
it writes: where another attempt's name stands, it writes nothing more and ends. It looks last when all is on the disk,
and a file has only to get its name or to go: making and writing a checkpoint takes seconds.

Names are compared, not counted: a ledger that was restored from an older copy, or begun anew, counts attempts from
lower numbers. Between looking and renaming there is a moment, in which a successor has its model still to build.
A note that was cut short names nobody, which its end tells: it keeps nobody out, or the one attempt that there is would
be taken for superseded.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from lesion.writing import write_atomically

NOTE = "attempt"
END = "\n"
"""The last character of a whole note; no name has it."""


class SupersededError(Exception):
    """Another attempt at the trial has begun; this one is to write nothing more."""


def raise_fence(folder: Path, attempt: str) -> None:
    """Note in the folder of a trial which attempt may write there from now on, and close it to all others.

    On a full disk the note of the attempt before goes, so that the new one is not taken for superseded. Raises OSError
    where not even that can be done.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f".{NOTE}.*.partial"):  # by a driver that was killed
            left.unlink(missing_ok=True)
        write_atomically(folder / NOTE, f"{attempt}{END}".encode())
    except OSError:
        (folder / NOTE).unlink(missing_ok=True)


def require_latest(folder: Path, attempt: str) -> None:
    """Raise SupersededError where the folder of a trial is another attempt's by now; an empty name is never fenced.

    A note that is not there, cannot be read or was cut short keeps nobody out.
    """
    noted = ""
    with suppress(OSError, ValueError):
        noted = (folder / NOTE).read_text()
    if attempt and noted.endswith(END) and noted != f"{attempt}{END}":
        raise SupersededError(f"{folder} is of attempt {noted.strip()} by now, this is {attempt}")
