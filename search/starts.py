"""The weights that a model's backbones started from, what these had learnt from, and test photos among that.

A backbone of another search is external data, which has to be said beside every figure; one that has learnt photos of
the test part makes every figure on it worthless.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

from lesion.data.packed import PackedDataset
from lesion.learnt import Learnt, of_weights, weights_file
from lesion.training import LEARNT as KEPT
from search.errors import PromotionError

LEARNT, STARTS = "learnt", "started_from"
"""Keys of a model's provenance: what it has learnt from in all, and the files of weights that it started from."""


@dataclass(frozen=True)
class Start:
    """A file of weights, as the settings name it, and what it had learnt from; None where that is not known."""

    weights: str
    learnt: Learnt | None

    @property
    def in_words(self) -> str:
        """The file and what is known of it, in one line."""
        if self.learnt is None:
            return f"{self.weights}: what it has learnt from is not known, test photos may be among it"
        some = "" if self.learnt.whole else "; not all of these photos are known, test photos may be among them"
        return f"{self.weights}: has learnt from {self.learnt.in_words}{some}"


def start_of(settings: Mapping[str, Any], training: Mapping[str, Any]) -> Start | None:
    """The file of weights that a trial started from, as its `training` state tells; None where it had none.

    A state of an earlier release does not tell: there the file counts, as it is now.
    """
    if not (name := weights_file(settings)):
        return None
    return Start(name, Learnt.from_json(training[KEPT]) if KEPT in training else of_weights(Path(name)))


def provenance_of(data: PackedDataset, starts: Sequence[Start], external: float = 1.0) -> dict[str, Any]:
    """The entries of a model's provenance; `external` is the largest share of external photos that a network took."""
    whole = all(start.learnt is not None for start in starts)
    everything = reduce(or_, (start.learnt for start in starts if start.learnt), Learnt.of(data, external))
    kept = everything.to_json() | {"whole": everything.whole and whole}
    told = [{"weights": start.weights, **(start.learnt.to_json() if start.learnt else {})} for start in starts]
    # The photos are among those of `learnt`.
    return {LEARNT: kept, STARTS: [each | ({"photos": ""} if "photos" in each else {}) for each in told]}


def learnt_by(provenance: Mapping[str, Any]) -> Learnt | None:
    """What a model has learnt from; of one of an earlier release its data alone, None where it says nothing."""
    if (kept := Learnt.from_json(provenance.get(LEARNT))) is not None:
        return kept
    identity = provenance.get("identity")
    if not isinstance(identity, Mapping) or not identity.get("data"):
        return None
    return Learnt((f"{identity['data']} (content {str(identity.get('data_hash', ''))[:12]})",))


def starts_in(provenance: Mapping[str, Any], settings: Iterable[Mapping[str, Any]]) -> tuple[Start, ...]:
    """The files that a model's provenance names; of an earlier release those that the members' settings name."""
    kept = provenance.get(STARTS)
    if not isinstance(kept, list):
        return tuple(Start(name, None) for name in _files(settings))
    return tuple(Start(str(each["weights"]), Learnt.from_json(each)) for each in kept if "weights" in each)


def refuse_seen(starts: Sequence[Start], photos: frozenset[str]) -> None:
    """Raise PromotionError where weights have learnt some of these `photos` of a test part (`lesion.learnt`)."""
    for start in starts:
        if start.learnt is not None and (seen := start.learnt.photos & photos):
            raise PromotionError(
                f"the test part cannot judge this model: {start.weights}, which it started from, has learnt from "
                f"{start.learnt.in_words}, and with it {len(seen)} of the {len(photos)} test photos that were looked "
                "for. Nothing was scored; search from other weights, or on data with none of them in their test part"
            )


def _files(settings: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    return (name for name in dict.fromkeys(map(weights_file, settings)) if name)
