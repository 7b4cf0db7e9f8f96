"""No lesion on both sides, every class on each, the same seed the same split."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesion.data.splits import folds, group_rows, hold_out
from lesion.errors import DataError

CLASSES = ("nevus", "melanoma", "keratosis")


@st.composite
def lesions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels and groups of images: at least six lesions a class, one to four images each."""
    counts = draw(st.lists(st.integers(6, 25), min_size=3, max_size=3))
    labels = np.repeat(np.arange(3), counts)
    sizes = draw(st.lists(st.integers(1, 4), min_size=len(labels), max_size=len(labels)))
    return np.repeat(labels, sizes), np.repeat(np.arange(len(labels)), sizes)


@settings(max_examples=25, deadline=None)
@given(lesions(), st.sampled_from([0.15, 0.2, 0.3]), st.integers(0, 3))
def test_a_part_held_out_tears_no_lesion_and_has_every_class(data, share, seed):
    labels, group = data
    side = hold_out(labels, group, share, seed=seed, classes=CLASSES)
    assert not set(group[side]) & set(group[~side])
    assert set(labels[side]) == set(labels[~side]) == {0, 1, 2}
    assert abs(side.mean() - share) < 0.15  # six lesions cannot be cut finer
    again = hold_out(labels, group, share, seed=seed, classes=CLASSES)
    assert (side == again).all()


@settings(max_examples=25, deadline=None)
@given(lesions(), st.integers(2, 5))
def test_folds_tear_no_lesion_and_validate_every_image_once(data, count):
    labels, group = data
    fold = folds(labels, group, count, seed=0, classes=CLASSES)
    assert set(fold) == set(range(count))
    assert all(len(set(fold[group == g])) == 1 for g in np.unique(group))


def test_folds_are_stratified():
    labels = np.repeat([0, 1, 2], [600, 200, 50])
    fold = folds(labels, np.arange(850), 5, seed=1, classes=CLASSES)
    counts = np.array([np.bincount(labels[fold == k], minlength=3) for k in range(5)])
    assert (np.ptp(counts, axis=0) <= 1).all()


def test_a_class_with_too_few_lesions_is_named():
    labels, group = np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 3, 3])
    with pytest.raises(DataError, match=r"2 folds needs at least 2 lesions of every class; melanoma has 1"):
        folds(labels, group, 2, seed=0, classes=CLASSES[:2])


def test_groups_join_by_way_of_others():
    group = group_rows(["L1", "L1", "L2", "", ""], ["", "P1", "P1", "P2", ""], ["d1", "d2", "d3", "d4", "d1"])
    assert group.tolist() == [0, 0, 0, 1, 0]
