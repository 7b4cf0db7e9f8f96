"""What a test part is known by, in one word: its content hash and, where the packed set tells, a sketch of its photos.

>>> part = named("c0ffee", "")
>>> part, content_of(part), photos_of(part)
('c0ffee', 'c0ffee', '')
>>> content_of(named("c0ffee", "0123456789abcdef")), photos_of(named("c0ffee", "0123456789abcdef"))
('c0ffee', '0123456789abcdef')
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lesion.data.sketches import shared

TEST_PART, TEST_PHOTOS = "lesion.test_part", "lesion.test_photos"
"""Tags of a promotion's run: content hash and sketch of the test part that it scored."""
MOSTLY = 0.5
"""Share of the photos from which on two parts are one: the same photos prepared again, or most of them."""


def named(content: str, photos: str) -> str:
    """The word of a test part of this content hash and sketch of photos, either of which may be "" for unknown."""
    return f"{content}:{photos}" if photos else content


def part_in(manifest: Mapping[str, Any]) -> str:
    """The test part that the manifest of a packed set tells of; "" where there is none."""
    told = manifest.get("test") or {}
    return named(str(told.get("content_hash", "")), str(told.get("photos", "")))


def part_of_tags(tags: Mapping[str, str]) -> str:
    """The test part that a promotion's run with these tags scored; "" where they do not say."""
    return named(tags.get(TEST_PART, ""), tags.get(TEST_PHOTOS, ""))


def tags_of_part(part: str) -> dict[str, str]:
    """The tags that say so."""
    return {TEST_PART: content_of(part)} | ({TEST_PHOTOS: photos_of(part)} if photos_of(part) else {})


def content_of(part: str) -> str:
    """The content hash."""
    return part.partition(":")[0]


def photos_of(part: str) -> str:
    """The sketch of the photos; "" where an earlier release packed them."""
    return part.partition(":")[2]


def same(one: str, other: str) -> bool:
    """Whether two words are of one test part: the same content, or mostly the same photos, whatever their size."""
    return content_of(one) == content_of(other) or shared(photos_of(one), photos_of(other)) >= MOSTLY


def shares_all(one: str, other: str) -> bool:
    """Whether all photos of the smaller part are in the larger one, whatever their size; False where it is not known.

    >>> shares_all(named("c0ffee", "ab" * 8), named("deca", "ab" * 8)), shares_all("c0ffee", "c0ffee")
    (True, False)
    """
    return shared(photos_of(one), photos_of(other)) == 1.0
