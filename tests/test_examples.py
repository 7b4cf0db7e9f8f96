"""Which examples an epoch shows, in which order, and how they are drawn."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lesion.augment import Augmenter, augmentations
from lesion.examples import Epoch, ExampleOrder, batches

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 12, 12, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


@settings(deadline=None, derandomize=True, database=None)
@given(st.integers(1, 12), st.integers(1, 30), st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_every_row_is_shown_exactly_once_a_pass(count, length, seed, epochs):
    rows = np.arange(count) * 3 + 5
    order = ExampleOrder(rows, length, seed)
    shown = [order.epoch(epoch) for epoch in range(epochs)]
    assert {len(each) for each in shown} == {length}
    row = np.concatenate(shown)
    for start in range(0, len(row), count):
        one_pass = row[start : start + count].tolist()
        assert len(set(one_pass)) == len(one_pass)
        assert set(one_pass) <= set(rows.tolist())


def test_rows_that_balancing_repeats_are_repeated_in_every_pass():
    order = ExampleOrder(np.array([7, 7, 8]), 6, seed=0)
    assert all(np.bincount(order.epoch(epoch))[7:].tolist() == [4, 2] for epoch in range(5))


def test_the_order_of_an_epoch_does_not_depend_on_what_was_asked_before():
    one, other = (ExampleOrder(np.arange(40), 25, seed=3) for _ in range(2))
    forwards = [one.epoch(epoch).tolist() for epoch in range(5)]
    assert [other.epoch(epoch).tolist() for epoch in reversed(range(5))] == forwards[::-1]
    assert forwards[0] != ExampleOrder(np.arange(40), 25, seed=4).epoch(0).tolist()
    assert forwards[0] != sorted(forwards[0])


def epoch_of(rows, policy="none", epoch=0):
    return Epoch(IMAGES, LABELS, np.array(rows), Augmenter(augmentations[policy].build(12), seed=1), epoch)


def test_a_repeated_image_is_drawn_anew_at_each_place_and_in_each_epoch():
    places = [epoch_of([2, 2, 2], "strong", epoch)[place][0] for epoch in (0, 1) for place in (0, 1, 2)]
    assert len({image.numpy().tobytes() for image in places}) == 6
    again = epoch_of([2, 2, 2], "strong", 1)[1][0]
    assert torch.equal(again, places[4])


def test_batches_hold_images_and_labels_in_order_and_draw_from_no_shared_generator():
    rows = [4, 0, 5, 3, 1]
    before = torch.get_rng_state()
    shown = list(batches(epoch_of(rows), 2, workers=0, pinned=False))
    assert torch.equal(torch.get_rng_state(), before)
    assert [len(labels) for _, labels in shown] == [2, 2, 1]
    images, labels = (torch.cat(parts) for parts in zip(*shown, strict=True))
    assert images.dtype == torch.uint8
    assert np.array_equal(images.numpy(), IMAGES[rows])
    assert np.array_equal(labels.numpy(), LABELS[rows])
