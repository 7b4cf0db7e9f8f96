"""Files cut short, as a full disk, a lost machine or an interrupted copy leave them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path


def cuts(path: Path, count: int, seed: int = 0) -> Iterator[int]:
    """`path` cut at the ends, and at random offsets between, one after another; whole again at last."""
    content = path.read_bytes()
    rng = random.Random(seed)
    for offset in [0, 1, len(content) - 1, *(rng.randrange(len(content)) for _ in range(count))]:
        path.write_bytes(content[:offset])
        yield offset
    path.write_bytes(content)
