"""Which images and labels of a data set are not those that a study began with, where that is still known.

A hash says that data differ, not where. So the first session on a data set notes in the cache what each of its images
was. The note may be lost: then hashes are all there is to tell.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lesion.data.packed import SEMANTIC, PackedDataset
from lesion.writing import write_atomically

SHOWN = 5
"""Images named in one line."""
BESIDES = tuple(name for name in SEMANTIC if name not in ("image", "label"))

Facts = Mapping[str, Mapping[str, str]]
"""By image: its label's name, a digest of its pixels, and one of what else is known of it."""


def remember(notes: Path, data: PackedDataset) -> None:
    """Note in the folder `notes` what each image of `data`, which were verified, is; a second for each gigabyte.

    Nothing is done where that is noted already, or cannot be; a note that was cut is written again.
    """
    path = _note(notes, data.content_hash)
    if _noted(path):
        return
    with suppress(OSError):
        notes.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(_facts(data)).encode())


def differences(notes: Path, content_hash: str, data: PackedDataset) -> list[str]:
    """In words, what `data` have otherwise than those of `content_hash`; empty where that is not known."""
    before = _noted(_note(notes, content_hash))
    return [*_lines(before, _facts(data))] if before else []


def _lines(before: Facts, now: Facts) -> Iterator[str]:
    both = [image for image in now if image in before]
    relabelled = [
        f"{image} (was {before[image]['label']}, is {now[image]['label']})"
        for image in both
        if before[image]["label"] != now[image]["label"]
    ]
    for what, images in (
        ("have another label", relabelled),
        ("have other pixels", [image for image in both if before[image]["pixels"] != now[image]["pixels"]]),
        (f"differ in {', '.join(BESIDES)}", [image for image in both if before[image]["rest"] != now[image]["rest"]]),
        ("are gone", [image for image in before if image not in now]),
        ("are new", [image for image in now if image not in before]),
    ):
        if images:
            more = ", …" if len(images) > SHOWN else ""
            yield f"{len(images)} of {len(now)} images {what}: {', '.join(images[:SHOWN])}{more}"


def _facts(data: PackedDataset) -> Facts:
    rest = data.table[list(BESIDES)].astype(str).agg("|".join, axis=1)
    return {
        str(image): {"label": data.classes[label], "pixels": _digest(pixels.tobytes()), "rest": _digest(text.encode())}
        for image, label, text, pixels in zip(data.table["image"], data.labels, rest, data.images, strict=True)
    }


def _digest(content: Any) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def _noted(path: Path) -> Facts:
    """What a note says; nothing where there is none, or it was cut."""
    try:
        facts: Facts = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return facts


def _note(notes: Path, content_hash: str) -> Path:
    return notes / f"images-{content_hash[:16]}.json"
