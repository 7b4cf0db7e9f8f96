"""The form of what the ledger keeps of a study: a number in the study, steps from each form to the next.

0  before ids: an identity without ``id`` and ``location``; the study goes by its hash for ever, as its runs and
   checkpoints do
1  an identity with an id

A study of an older form is read as it is and written in the present form by the next session. One of a newer form is
refused: what its rows mean is not known here. `tests/assets` holds a ledger of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search.errors import LedgerError
from search.identity import Identity

FORMAT = 1
KEY, IDENTITY, SEED = "format", "identity", "seed"
"""Names of the study's attributes."""


def format_of(attributes: Mapping[str, Any]) -> int:
    """The form of a study, by its attributes; those of 0.1 before there was a number have none."""
    return int(attributes.get(KEY, 1 if "id" in attributes.get(IDENTITY, {}) else 0))


def identity_in(name: str, attributes: Mapping[str, Any]) -> Identity:
    """What the study `name` is of; LedgerError where a newer lesion-search wrote it, or something else did."""
    if IDENTITY not in attributes:
        raise LedgerError(
            f"the study {name!r} is none of lesion-search's: it says nothing of its data and space. Give the search "
            "another name (--name), or the ledger another database"
        )
    form = format_of(attributes)
    if form > FORMAT:
        raise LedgerError(
            f"the study {name!r} was written by a newer lesion-search (form {form}, this one knows forms up to "
            f"{FORMAT}): update lesion-search, or use the one that wrote it"
        )
    # From 0 to 1: the id stays empty, which stands for the hash.
    try:
        return Identity.from_json({"id": "", "location": "", **attributes[IDENTITY]})
    except TypeError as error:
        raise LedgerError(
            f"the study {name!r} is damaged: its identity is not whole ({error}); restore a copy of the ledger"
        ) from error


def attributes_of(identity: Identity) -> dict[str, Any]:
    """What the study keeps, in the present form."""
    return {KEY: FORMAT, IDENTITY: identity.to_json()}
