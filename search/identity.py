"""What a study is of: it may only go on with the same data, split, space and objective.

>>> before = Identity("isic2017", "d1", "holdout", "s1", "mean_auc", "maximize", {"objective": "mean_auc", "epochs": 4})
>>> before.difference(before)
[]
>>> from dataclasses import replace
>>> before.difference(replace(before, data_hash="d2"))
["data: 'isic2017' holds other images or labels than before (content hash was d1, is d2)"]
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lesion.tasks import Spelled
from search.space.space import difference


@dataclass(frozen=True)
class Identity:
    """Names and hashes of everything that the values of a study's trials depend on.

    `location` is where the data set was found last, a folder or an address, `id` what the ledger drew when the study
    began; neither says what the study is of, and neither counts in `hash` and `difference`.
    """

    data: str
    data_hash: str
    split: str
    split_hash: str
    objective: str
    direction: str
    semantics: Mapping[str, Any]
    location: str = ""
    id: str = ""

    @property
    def key(self) -> str:
        """What tells this study from every other one, another of the same identity included.

        A ledger begun anew and one in another workspace may hold the same study again. Studies from before ids are
        known by their hash.
        """
        return self.id or self.hash

    @property
    def task(self) -> Spelled | None:
        """The task, as `lesion.tasks` spells it; None for the classes of the data as they are."""
        return self.semantics.get("task")

    @property
    def space_hash(self) -> str:
        """SHA-256 (hex) of the space's semantics."""
        return _hash(self.semantics)

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of what counts; names of the data set and of the split do not."""
        return _hash([self.data_hash, self.split_hash, self.objective, self.direction, self.semantics])

    def difference(self, other: Identity) -> list[str]:
        """What `other` changes, a line each, in words; empty if a study of this one may go on as that."""
        lines = []
        if self.data_hash != other.data_hash:
            change = f"content hash was {self.data_hash[:12]}, is {other.data_hash[:12]}"
            same_name = f"{other.data!r} holds other images or labels than before"
            lines.append(
                f"data: {same_name if self.data == other.data else f'was {self.data!r}, is {other.data!r}'} ({change})"
            )
        if self.split_hash != other.split_hash:
            change = f"hash was {self.split_hash[:12]}, is {other.split_hash[:12]}"
            lines.append(f"split: was {self.split!r}, is {other.split!r} ({change})")
        if self.direction != other.direction:
            lines.append(f"direction of {other.objective}: was {self.direction}, is {other.direction}")
        return lines + difference(self.semantics, other.semantics)

    def to_json(self) -> dict[str, Any]:
        """As the ledger keeps it."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Identity:
        """From the ledger."""
        return cls(**stored)


def _hash(value: Any) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
