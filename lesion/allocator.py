"""Memory that a training frees and takes again at the next layer stays with its process.

glibc may give feature maps back to the system as soon as they are free, and the system hands pages out again only after
clearing each. Whether it does depends on the order of sizes: at 192 and 224 pixels nothing was lost, at 128 pixels a
quarter of a step of MobileNetV2 and a tenth of EfficientNet-Lite0's (all stages trained, on one core of a Xeon).
Elsewhere than under glibc nothing is done. A process keeps what its largest training took; as many of these as run at
a time have to fit in any case.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""
_LARGEST = (2**30, 2**25)
"""Bytes from which on a block is mapped for itself all the same; glibc before 2.35 takes no more than the second."""
_NEVER = -1


def keep_freed_memory() -> bool:
    """Let the process keep what it frees from now on, in pieces of up to a gibibyte; False where that cannot be."""
    if (libc := _glibc()) is None:
        return False
    # Trimming alone must not be set: glibc then no longer adapts the size from which on it maps.
    taken = any(libc.mallopt(_M_MMAP_THRESHOLD, size) for size in _LARGEST)
    return taken and bool(libc.mallopt(_M_TRIM_THRESHOLD, _NEVER))


@lru_cache(maxsize=1)
def _glibc() -> Any:
    """The C library of this process where it is glibc, else None: musl, macOS and Windows have other allocators."""
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version, libc.mallopt  # noqa: B018 - missing elsewhere
    except (OSError, TypeError, AttributeError):
        return None
    return libc
