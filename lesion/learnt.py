"""What weights have learnt from: data sets by name and content, and their photos by the digests of their files.

It is kept with a model and in the metadata of a backbone that is written for other searches, and is handed on from one
to the next, so that photos a model is tested on can be looked for among those it came from, however it came from them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors

from lesion.data.external import in_words, learnt_from
from lesion.data.packed import PackedDataset
from lesion.data.sketches import LETTERS, digests_in
from lesion.models.weights import SUFFIXES

METADATA = "lesion"
"""Key of it in the metadata of a safetensors file."""
MOST = 100_000
"""Photos that are listed at most, 1.6 MB; the model folder's configuration has room for no more."""
LONGEST = 200
_PHOTOS = re.compile(f"([0-9a-f]{{{LETTERS}}})*")


@dataclass(frozen=True)
class Learnt:
    """Names of data sets with their content hashes, and the photos that are known of them, 16 letters of each digest.

    `whole` says whether these are all photos.
    """

    data: tuple[str, ...]
    photos: frozenset[str] = frozenset()
    whole: bool = False

    @classmethod
    def of(cls, data: PackedDataset, external: float = 1.0) -> Learnt:
        """Training and validation part of a packed set: a search has chosen by the latter.

        Of external photos the share that the setting `external` says.
        """
        table = data.table[learnt_from(data, external)]
        known = photos_in(table)
        names = (f"{data.name} (content {data.content_hash[:12]})", *filter(None, [in_words(data, external)]))
        if len(known) > MOST:
            return cls(names)
        return cls(names, known, len(known) > 0 and "" not in set(table["digest"]))

    def __or__(self, other: Learnt) -> Learnt:
        """From both."""
        data, photos = tuple(dict.fromkeys((*self.data, *other.data))), self.photos | other.photos
        few = len(photos) <= MOST
        return Learnt(data, photos if few else frozenset(), self.whole and other.whole and few)

    @property
    def in_words(self) -> str:
        """The data sets."""
        return ", ".join(self.data)

    def to_json(self) -> dict[str, Any]:
        """As it is kept."""
        return {"data": list(self.data), "photos": "".join(sorted(self.photos)), "whole": self.whole}

    @classmethod
    def from_json(cls, kept: object) -> Learnt | None:
        """From what was kept; None for anything else, which a file of somebody's weights may hold."""
        told = kept if isinstance(kept, Mapping) else {}
        data, photos, whole = (told.get(key) for key in ("data", "photos", "whole"))
        if not isinstance(data, list) or not data or not all(isinstance(name, str) for name in data):
            return None
        if not isinstance(photos, str) or not _PHOTOS.fullmatch(photos) or not isinstance(whole, bool):
            return None
        # Names go into cards and notes: one line each.
        return cls(tuple(" ".join(name.split())[:LONGEST] for name in data), digests_in(photos), whole)


def photos_in(table: pd.DataFrame) -> frozenset[str]:
    """The photos of a packed set's table, 16 letters of each digest; those without one are left out."""
    return frozenset(each[:LETTERS] for each in map(str, table.get("digest", ())) if each)


def weights_file(settings: Mapping[str, Any]) -> str:
    """The file of weights that a training of flat `settings` starts from, as they name it; empty where it has none."""
    named = str(settings.get(f"backbone.{settings.get('backbone')}.weights", ""))
    return named if named.endswith(SUFFIXES) else ""


def of_weights(path: Path) -> Learnt | None:
    """What a file of weights says that it has learnt from; None where it is silent, or not there."""
    if path.suffix != ".safetensors":
        return None
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return Learnt.from_json(json.loads((file.metadata() or {}).get(METADATA, "null")))
    except (OSError, ValueError, safetensors.SafetensorError):
        return None


def metadata_of(learnt: Learnt | None) -> dict[str, str] | None:
    """The metadata of a file of weights that says so."""
    return None if learnt is None else {METADATA: json.dumps(learnt.to_json())}
