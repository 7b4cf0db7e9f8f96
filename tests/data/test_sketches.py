"""Sketches of photos: how much two parts share, beside a count of what they share."""

from __future__ import annotations

import hashlib

import pytest

from lesion.data.sketches import LETTERS, MOST, shared, sketch


def digests(first: int, last: int) -> list[str]:
    return [hashlib.sha256(str(n).encode()).hexdigest() for n in range(first, last)]


@pytest.mark.parametrize(
    ("one", "other", "share", "tolerance"),
    [
        ((0, 100), (0, 100), 1.0, 0.0),
        ((0, 100), (75, 175), 0.25, 0.0),  # small parts are counted, not estimated
        ((0, 100), (50, 1000), 0.5, 0.3),
        ((0, 3000), (0, 3000), 1.0, 0.0),
        ((0, 3000), (300, 3000), 1.0, 0.0),
        ((0, 3000), (1500, 4500), 0.5, 0.1),
        ((0, 200), (0, 3000), 1.0, 0.0),
        ((0, 3000), (3000, 6000), 0.0, 0.0),
    ],
)
def test_the_share_is_that_of_the_photos(
    one: tuple[int, int], other: tuple[int, int], share: float, tolerance: float
) -> None:
    # Tolerances are three standard errors of what the sketches leave to count.
    a, b = sketch(digests(*one)), sketch(digests(*other))
    assert max(len(a), len(b)) <= MOST * LETTERS
    assert shared(a, b) == shared(b, a) == pytest.approx(share, abs=tolerance)


def test_nothing_is_shared_with_what_is_not_known() -> None:
    assert sketch(["", ""]) == ""
    assert shared("", sketch(digests(0, 5))) == shared("", "") == 0.0
