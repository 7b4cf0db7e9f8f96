"""What a training frees stays with its process: counted in pages that the system hands out anew."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lesion.allocator import _glibc, keep_freed_memory

PROGRAM = """
import resource, sys
import torch
from lesion.allocator import keep_freed_memory

def pages(rounds):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        maps = [torch.ones(12, 2**20) for _ in range(4)]
        del maps
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "kept":
    assert keep_freed_memory()
pages(4)  # until the free pieces have their places
print(pages(5))
"""

HUGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
"""Where it says [always], maps are made of pages of two megabytes, and few of them."""


def pages_taken_again(how: str) -> int:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True, env=own)
    return int(done.stdout)


@pytest.mark.skipif(_glibc() is None, reason="another allocator than glibc's")
@pytest.mark.skipif(HUGE.exists() and "[always]" in HUGE.read_text(), reason="large pages everywhere")
def test_maps_are_not_cleared_again_for_each_step() -> None:
    assert pages_taken_again("plain") > 5 * 4 * 10_000  # all of them, 12,288 pages each
    assert pages_taken_again("kept") < 5_000


def test_nothing_is_done_under_another_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lesion.allocator._glibc", lambda: None)
    assert not keep_freed_memory()


@pytest.mark.parametrize(
    ("most", "asked", "kept"),
    [(2**30, [2**30, -1], True), (2**25, [2**30, 2**25, -1], True), (0, [2**30, 2**25], False)],
)
def test_what_an_older_glibc_takes(monkeypatch: pytest.MonkeyPatch, most: int, asked: list[int], kept: bool) -> None:
    values = []

    class Libc:
        def mallopt(self, name: int, value: int) -> int:
            values.append(value)
            return int(value <= most)

    monkeypatch.setattr("lesion.allocator._glibc", Libc)
    assert keep_freed_memory() is kept
    assert values == asked
