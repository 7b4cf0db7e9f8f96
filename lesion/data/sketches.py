"""Which photos a part of a data set is of, in a word short enough for a tag: a sketch of their digests.

A content hash tells packed sets apart that differ by a pixel. The same photos packed at another size, or all but one of
them, are other data by it and the same photos by their sketch: the smallest of their files' digests, a sample that is
the same wherever a photo occurs (bottom-k sketch; Cohen and Kaplan 2007, "Summarizing data using bottom-k sketches").

>>> one, other = sketch(["a" * 64, "b" * 64]), sketch(["b" * 64, "c" * 64, ""])
>>> one
'aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbb'
>>> shared(one, other)
0.5
"""

from __future__ import annotations

from collections.abc import Iterable

MOST = 256
"""Photos in a sketch at most: between parts of one size a share of one half is known to 0.03 (standard error)."""
LETTERS = 16
"""Of each digest, 64 bits: that two of a million photos agree by chance happens in one of 10⁷ data sets."""


def sketch(digests: Iterable[str]) -> str:
    """The sketch of photos by their SHA-256 digests (hex; "" is left out); "" of none."""
    return "".join(sorted({each[:LETTERS] for each in digests if each})[:MOST])


def digests_in(word: str) -> frozenset[str]:
    """The digests, 16 letters each, that a word is made of."""
    return frozenset(word[start : start + LETTERS] for start in range(0, len(word), LETTERS))


def shared(one: str, other: str) -> float:
    """The share of the photos of the smaller of two parts that are in both, 0 to 1, by their sketches; 0 without one.

    Of parts of more than `MOST` photos it is an estimate.
    """
    sketches = [digests_in(one), digests_in(other)]
    # A full sketch is silent about digests above its largest one.
    known = min((max(each) for each in sketches if len(each) >= MOST), default="g")
    a, b = ({digest for digest in each if digest <= known} for each in sketches)
    smaller = min(len(a), len(b))
    return len(a & b) / smaller if smaller else 0.0
