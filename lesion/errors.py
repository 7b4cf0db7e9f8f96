"""The errors of ``lesion``: what a user can mend, said with the place, the rule and the likely fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LesionError(Exception):
    """Root of every error that ``lesion`` raises on purpose."""


class Failure:
    """Mixed into errors that no other input would have avoided: a full disk, a server that is down, another process."""


class DataError(LesionError):
    """A source of images or labels, or a packed data set, is not what it must be."""


class DataAccessError(DataError, Failure):
    """Images or labels could not be fetched or written, whatever they are."""


class SettingError(LesionError):
    """A component or one of its settings is unknown or out of range."""


class WeightsError(LesionError):
    """A weights file does not fit the model it is loaded into."""


class CheckpointError(LesionError, Failure):
    """A checkpoint is missing, damaged or of another training."""


class CheckpointAccessError(LesionError, Failure):
    """A checkpoint may be sound and could not be read just now: the storage did not answer. No reason to go without."""


class RankError(LesionError, Failure):
    """One of the processes that train a model together is lost: it died, or no longer answers."""


class NonFiniteLossError(LesionError, Failure):
    """The loss became NaN or infinite; training on would only waste time."""


def unknown(what: str, given: str, known: Iterable[str]) -> str:
    """Message for a name that is not known, with the nearest known one.

    >>> unknown("loss", "focl", ["cross_entropy", "focal"])
    "no loss 'focl'; known: cross_entropy, focal (did you mean 'focal'?)"
    """
    names = sorted(known)
    near = difflib.get_close_matches(given, names, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    shown = ", ".join(names) if len(names) <= 24 else ", ".join(names[:24]) + f", … ({len(names)} in all)"
    return f"no {what} {given!r}; known: {shown}{hint}"


def counted(count: int, one: str) -> str:
    """A number of things, whose plural ends in s.

    >>> counted(1, "image"), counted(2000, "image")
    ('1 image', '2,000 images')
    """
    return f"{count:,} {one}{'' if count == 1 else 's'}"
