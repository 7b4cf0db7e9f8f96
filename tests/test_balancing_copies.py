"""Copies and blends of pixels, and the memory that is said to be there."""

import numpy as np
import pytest

from lesion.balancing import blended, shown
from lesion.balancing.memory import available_memory, require_memory
from lesion.errors import SettingError

#          left   right
CORNERS = [[1, 2],
           [3, 4]]  # fmt: skip
IMAGE = np.repeat(np.array(CORNERS, np.uint8)[:, :, None], 3, axis=2)


@pytest.mark.parametrize(
    ("copy", "corners"),
    [
        (-1, CORNERS),
        (0, CORNERS),
        (1, [[2, 1], [4, 3]]),
        (2, [[3, 4], [1, 2]]),
        (3, [[2, 4], [1, 3]]),
        (4, [[4, 3], [2, 1]]),
    ],
)
def test_the_copies_are_the_flips_and_turns_by_hand(copy, corners):
    image = shown(IMAGE, copy)
    assert image[:, :, 1].tolist() == corners
    assert image.flags.c_contiguous


@pytest.mark.parametrize(("blend", "expected"), [(0.0, [250, 0, 9]), (1.0, [0, 255, 10]), (0.3, [175, 76, 9])])
def test_a_blend_is_rounded_and_stays_within_a_byte(blend, expected):
    one, other = (np.array([[values]], np.uint8) for values in ([250, 0, 9], [0, 255, 10]))
    mixed = blended(one, other, blend)
    assert mixed.dtype == np.uint8
    assert mixed[0, 0].tolist() == expected


def container(folder, limit):
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text("3000000\n")
    (folder / "memory.stat").write_text("anon 1000000\ninactive_file 500000\n")
    return folder


def test_a_container_s_memory_counts_and_what_the_cache_holds_is_free(tmp_path):
    assert available_memory(container(tmp_path, 4_000_000)) == 1_500_000
    assert available_memory(container(tmp_path, 1_000_000)) == 0


@pytest.mark.parametrize("limit", ["max", 2**60])
def test_without_a_limit_the_machine_s_memory_counts(tmp_path, limit):
    assert available_memory(container(tmp_path, limit)) > 4_000_000


def test_memory_that_is_not_there_is_refused_with_both_figures():
    require_memory(10, 10, "smote", "cap")
    with pytest.raises(SettingError, match=r"smote needs about 2\.00 KiB of memory, 10 bytes are available: cap"):
        require_memory(2048, 10, "smote", "cap")
