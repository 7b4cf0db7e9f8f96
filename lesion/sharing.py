"""One GPU under several trainings: the bytes that each is given, and the cap that holds it to them.

Whoever places trainings reckons with `bytes_of`; each of their processes calls `cap_memory` with its share before its
first tensor. Both count what CUDA itself holds for a process, which lies outside of torch's allocator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lesion.footprint import Footprint

SPARE, CONTEXT = 1.15, 600 * 2**20
"""What a training reserves is more in some steps than in others; bytes of a process's own on the GPU, before any."""


def bytes_of(needed: Footprint) -> int:
    """GPU memory that a training is given."""
    return round(needed.device_bytes * SPARE) + CONTEXT


def cap_of(share: float, total: int) -> int:
    """Bytes of torch's own that a process with a share of a GPU of `total` bytes may hold.

    What CUDA holds for each process lies outside the cap; together they are the share. Of a share that CUDA alone would
    take up, half is left to try with.

    >>> cap_of(0.25, 16 * 2**30) // 2**20, cap_of(0.01, 16 * 2**30) // 2**20
    (3496, 81)
    """
    return round(max(share * total - CONTEXT, share * total / 2))


def cap_memory(share: float) -> None:
    """Keep this process within its share of the first GPU; a whole one, or none, has no cap.

    A tensor beyond the cap raises torch.OutOfMemoryError here, and nowhere else: without a cap one training's appetite
    is its neighbour's out-of-memory.
    """
    import torch  # noqa: PLC0415 - who only reckons with shares needs none of it

    if 0 < share < 1 and torch.cuda.is_available():
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(cap_of(share, total) / total)
