"""External photos that a model's networks have learnt from: to be said beside every figure of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lesion.data.external import SETTINGS, in_words
from lesion.data.packed import PackedDataset
from lesion.registry import Value
from lesion.settings import GENERAL
from search.starts import starts_in

TOLD = "external_photos"
"""Key of it in a model's provenance."""


def share_of(settings: Mapping[str, Value]) -> float:
    """The share of the external photos that a training with these flat settings takes, in some epochs or in all."""
    share, epochs = (float(settings.get(name, GENERAL.settings[name].default)) for name in SETTINGS)
    return share if epochs > 0 else 0.0


def provenance_of(data: PackedDataset, settings: Sequence[Mapping[str, Value]]) -> dict[str, Any]:
    """The entry of a model's provenance, by the `settings` of its networks; none where no network took any."""
    shares = [share_of(each) for each in settings]
    told = [in_words(data, share) for share in shares]
    if not any(told):
        return {}
    return {TOLD: {"networks": sum(map(bool, told)), "of": len(told), "photos": in_words(data, max(shares))}}


def told_in(provenance: Mapping[str, Any]) -> str:
    """What a model's provenance says of external photos, in words; "" where it says nothing.

    >>> told_in({TOLD: {"networks": 2, "of": 4, "photos": "2,841 external photos of isic2018"}})
    '2,841 external photos of isic2018, in the training part of 2 of 4 networks, in no validation or test part'
    """
    told = provenance.get(TOLD)
    if not isinstance(told, Mapping):
        return ""
    return (
        f"{told.get('photos')}, in the training part of {told.get('networks')} of {told.get('of')} networks, in no "
        "validation or test part"
    )


def external_data(provenance: Mapping[str, Any], settings: Sequence[Mapping[str, Value]]) -> list[str]:
    """All external data of a model of networks with these `settings`, a line each: files of weights, and photos."""
    return [*(start.in_words for start in starts_in(provenance, settings)), *filter(None, [told_in(provenance)])]
