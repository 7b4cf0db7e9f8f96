"""External photos: of another source, to learn from and never to be judged by.

They are packed beside the photos of a data set, in a part of their own. Every split trains on them, none validates on
them, and neither folds nor shares count them: with them and without them a data set is split alike, so trials that
learn from them and trials that do not can be compared and averaged. A photo of a lesion that the data set has too
would show the model what it is judged by; it is left out.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lesion.data.archives import Member
from lesion.data.findings import Finding
from lesion.data.layouts import read_listing
from lesion.data.listing import External, Listing, assemble
from lesion.data.packed import EXTERNAL, PackedDataset, Split, split_hash
from lesion.errors import DataError, unknown

SETTINGS = SHARE, EPOCHS = ("external", "external_epochs")
"""General settings of a training: the share of them that it takes, and of its epochs that show them."""
NAMED = 5
"""Photos that a message names."""
_JUDGED = ("validation", "test")
_DRAW = 0xE7  # so that lesions are not drawn by the numbers that make the splits

Chosen = NDArray[np.bool_]


@dataclass(frozen=True)
class ExternalSource:
    """Where external photos come from: a `source` as `lesion.data.prepare` takes it, and which class is which.

    `classes` maps classes of the source to those of the data set; other classes are left out, and so are photos of
    parts that the source is judged by itself. `most` is how many lesions of each of its classes are drawn, one photo
    of each; None takes every photo.
    """

    source: Path
    classes: Mapping[str, str] = field(default_factory=dict)
    most: int | None = None


def with_external(listing: Listing, source: ExternalSource, *, seed: int) -> Listing:
    """`listing` and the photos of `source` as external ones.

    Raises DataError for classes that either side does not have, and for an id that both sides have.
    """
    other = read_listing(Path(source.source))
    _refuse_classes(listing, other, source.classes)
    other.refuse()
    table = other.table
    label = table["label"].map(dict(enumerate(other.classes)))
    judges = table["part"].isin(_JUDGED)
    named = label.isin(source.classes.keys())
    _refuse_shared_ids(listing, other, table["image"][named & ~judges])
    kept = (named & ~judges).to_numpy()
    if source.most is not None:
        kept &= _drawn(table, kept, source.most, seed)
    left_out = Counter(f"of class {name}" for name in label[~named & ~judges])
    left_out |= Counter(f"of its {part} part" for part in table["part"][judges])
    if more := int((named & ~judges).sum() - kept.sum()):
        left_out[f"beyond one each of {source.most:,} lesions of a class"] = more
    told = External(other.name, frozenset(table["image"][kept]), dict(source.classes), dict(left_out))
    return _joined(listing, other, np.flatnonzero(kept).tolist(), told)


def leaking(table: pd.DataFrame) -> Chosen:
    """Which rows (N,) are external photos of a group, as the column `group` numbers it, that has other photos too."""
    external = (table["part"] == EXTERNAL).to_numpy()
    return np.asarray(external & table["group"].isin(table["group"][~external]).to_numpy())


def leak(images: Sequence[str]) -> list[Finding]:
    """The finding that these external photos show what photos of the data set show; none for none."""
    if not images:
        return []
    shown = ", ".join(images[:NAMED]) + (", …" if len(images) > NAMED else "")
    message = (
        f"{len(images)} external photo{'s' * (len(images) > 1)} left out, of a lesion, patient or look that photos to "
        f"be searched or tested with have too: {shown}"
    )
    return [Finding(EXTERNAL, message, tuple(images))]


def told_of(listing: Listing, table: pd.DataFrame) -> list[dict[str, Any]]:
    """What a manifest says of the external photos that are in `table`, a mapping for each source; none without any."""
    images = set(table.loc[table["part"] == EXTERNAL, "image"])
    theirs = {image for source in listing.external for image in source.images}
    own = External(listing.name, frozenset(images - theirs), {}, {})
    return [
        {
            "source": source.source,
            "photos": count,
            "classes": dict(source.classes),
            "left_out": dict(source.left_out),
        }
        for source in (own, *listing.external)
        if (count := len(images & source.images))
    ]


def limited(data: PackedDataset, split: Split, share: float) -> Split:
    """`split` with about the `share` (0 to 1) of the external photos in its training part; with all of them, itself.

    Which ones depends on the names of the photos alone, photos of one lesion together, and those of a smaller share are
    among those of a larger one.
    """
    if share >= 1.0:
        return split
    left_out = ~learnt_from(data, share)
    if not left_out.any():
        return split
    train = split.train[~left_out[split.train]]
    rows = np.concatenate([train, split.validation])
    validates = np.arange(len(rows)) >= len(train)
    return Split(split.name, train, split.validation, split_hash(data.table["image"].iloc[rows], validates))


def learnt_from(data: PackedDataset, share: float) -> Chosen:
    """Which rows (N,) are a training's or its validation's where it takes the `share` of the external photos."""
    table, everything = data.table, np.ones(len(data.table), dtype=bool)
    if share >= 1.0 or not (external := (table["part"] == EXTERNAL).to_numpy()).any():
        return everything
    first = table["image"].groupby(table["group"]).transform("min")
    places = first[external].map({name: _place(name) for name in first[external].unique()})
    chosen = ~external
    chosen[external] = places.to_numpy() < share
    return np.asarray(chosen)


def in_words(data: PackedDataset, share: float = 1.0) -> str:
    """How many external photos a training learns from that takes this `share`, and from where; "" for none.

    Data sets without any need no column `part`.
    """
    told = data.manifest.get(EXTERNAL, [])
    count = int((learnt_from(data, share) & (data.table["part"] == EXTERNAL).to_numpy()).sum()) if told else 0
    return f"{count:,} external photos of {' and '.join(str(each['source']) for each in told)}" if count else ""


def _place(name: str) -> float:
    """A number from 0 to 1, below 1, that depends on the name alone, evenly spread over names."""
    return int.from_bytes(hashlib.sha256(f"{EXTERNAL} {name}".encode()).digest()[:6]) / 2**48


def _refuse_classes(listing: Listing, other: Listing, classes: Mapping[str, str]) -> None:
    if not classes:
        raise DataError(
            f"external source {other.name}: which of its classes is which? Say so with --as OURS=THEIRS "
            f"(classes=); ours: {', '.join(listing.classes)}; theirs: {', '.join(other.classes)}"
        )
    lines = [
        f"{place}: {unknown('class', name, known)}"
        for place, names, known in (
            (f"source {listing.name}", classes.values(), listing.classes),
            (f"external source {other.name}", classes.keys(), other.classes),
        )
        for name in dict.fromkeys(names)
        if name not in known
    ]
    if lines:
        raise DataError("\n".join(lines))


def _refuse_shared_ids(listing: Listing, other: Listing, images: pd.Series) -> None:
    both = sorted(set(listing.table["image"]) & set(images))
    if both:
        shown = ", ".join(both[:NAMED]) + (", …" if len(both) > NAMED else "")
        raise DataError(
            f"external source {other.name}: {len(both)} ids stand in source {listing.name} too ({shown}): leave these "
            "photos out of it or, where they are others, give them other names"
        )


def _drawn(table: pd.DataFrame, among: Chosen, most: int, seed: int) -> Chosen:
    """One photo each of `most` lesions of every class, of the rows `among` (N,); a photo without lesion id is one."""
    rng = np.random.default_rng((_DRAW, seed))
    chosen = np.zeros(len(table), dtype=bool)
    lesion = table["lesion"].where(table["lesion"] != "", "photo " + table["image"])
    for _, rows in table.loc[among].sort_values("image").groupby("label"):
        shuffled = rows.iloc[rng.permutation(len(rows))]
        firsts = shuffled.index[~lesion[shuffled.index].duplicated()]
        chosen[firsts[:most]] = True
    return chosen


def _joined(listing: Listing, other: Listing, kept: Sequence[int], told: External) -> Listing:
    label = {name: number for number, name in enumerate(listing.classes)}
    ours = zip(listing.table.to_dict("records"), listing.members, strict=True)
    theirs = other.table.assign(
        part=EXTERNAL, label=[label.get(told.classes.get(other.classes[old], ""), -1) for old in other.table["label"]]
    ).to_dict("records")
    rows: list[tuple[dict[str, object], Member]] = [
        ({str(key): value for key, value in record.items()}, member)
        for record, member in (*ours, *((theirs[row], other.members[row]) for row in kept))
    ]
    joined = assemble(
        listing.name, listing.layout, listing.classes, rows, [*listing.files, *other.files],
        list(listing.missing), [*listing.extra, *other.extra], listing.mistakes,
    )  # fmt: skip
    return replace(joined, external=(*listing.external, told))
