"""Which examples an epoch shows, in which order, and how they are drawn."""

from dataclasses import replace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lesion.augment import Augmenter, augmentations
from lesion.balancing import AUGMENTED, Draws, blended
from lesion.examples import Epoch, ExampleOrder, Photos, batches

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 12, 12, 3), dtype=np.uint8)
ROWS = np.array([0, 1, 3, 4, 6, 7])  # where the training part stands in the packed set


@settings(deadline=None, derandomize=True, database=None)
@given(st.integers(1, 12), st.integers(1, 30), st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_every_row_is_shown_exactly_once_a_pass(count, length, seed, epochs):
    order = ExampleOrder(Draws.everything(count), length, seed)
    shown = [order.epoch(epoch) for epoch in range(epochs)]
    assert {len(each) for each in shown} == {length}
    row = np.concatenate(shown)
    for start in range(0, len(row), count):
        one_pass = row[start : start + count].tolist()
        assert len(set(one_pass)) == len(one_pass)
        assert set(one_pass) <= set(range(count))


def test_draws_by_chance_come_as_often_as_it_says_and_again_for_the_same_epoch():
    draws = replace(Draws.everything(3), chance=np.array([0.0, 0.25, 0.75]))
    order = ExampleOrder(draws, 4000, seed=0)
    share = np.bincount(order.epoch(1), minlength=3) / 4000
    np.testing.assert_allclose(share, [0.0, 0.25, 0.75], atol=0.03)  # four standard errors
    assert np.array_equal(order.epoch(1), ExampleOrder(draws, 4000, seed=0).epoch(1))
    assert not np.array_equal(order.epoch(1), order.epoch(2))


def test_the_order_of_an_epoch_does_not_depend_on_what_was_asked_before():
    one, other = (ExampleOrder(Draws.everything(40), 25, seed=3) for _ in range(2))
    forwards = [one.epoch(epoch).tolist() for epoch in range(5)]
    assert [other.epoch(epoch).tolist() for epoch in reversed(range(5))] == forwards[::-1]
    assert forwards[0] != ExampleOrder(Draws.everything(40), 25, seed=4).epoch(0).tolist()
    assert forwards[0] != sorted(forwards[0])


def epoch_of(indices, policy="none", epoch=0, draws=None):
    augmenter = Augmenter(augmentations[policy].build(12), seed=1)
    source = Photos(IMAGES, ROWS, draws or Draws.everything(len(ROWS)), 12, augmenter)
    return Epoch(source, np.array(indices), epoch)


def test_a_repeated_image_is_drawn_anew_at_each_place_and_in_each_epoch():
    places = [epoch_of([2, 2, 2], "strong", epoch)[place][0] for epoch in (0, 1) for place in (0, 1, 2)]
    assert len({image.numpy().tobytes() for image in places}) == 6
    again = epoch_of([2, 2, 2], "strong", 1)[1][0]
    assert torch.equal(again, places[4])


def test_an_image_that_is_there_once_more_augmented_is_there_as_it_is_too():
    everything = Draws.everything(len(ROWS))
    draws = everything.concatenate(everything.copied(AUGMENTED))
    count = len(everything)
    for epoch in (0, 1):
        shown = [image.numpy() for image, _ in epoch_of(np.arange(2 * count), "strong", epoch, draws)]
        assert np.array_equal(shown[:count], IMAGES[ROWS])
        assert all(not np.array_equal(*pair) for pair in zip(shown[:count], shown[count:], strict=True))


def test_batches_hold_images_and_their_draws_in_order_and_draw_from_no_shared_generator():
    indices = [4, 0, 5, 3, 1]
    before = torch.get_rng_state()
    shown = list(batches(epoch_of(indices), 2, workers=0, pinned=False))
    assert torch.equal(torch.get_rng_state(), before)
    assert [len(each) for _, each in shown] == [2, 2, 1]
    images, drawn = (torch.cat(parts) for parts in zip(*shown, strict=True))
    assert images.dtype == torch.uint8
    assert np.array_equal(images.numpy(), IMAGES[ROWS[indices]])
    assert drawn.tolist() == indices


def test_a_photo_that_nothing_is_done_to_is_a_copy_of_the_mapped_one():
    images = IMAGES.copy()
    images.flags.writeable = False
    source = Photos(images, ROWS, Draws.everything(len(ROWS)), 12, Augmenter(augmentations["none"].build(12), seed=1))
    shown = source.example(2, 0, 0)  # torch warns of an array that may not be written to
    assert np.array_equal(shown.numpy(), IMAGES[3])
    shown.zero_()
    assert np.array_equal(images, IMAGES)


def test_copies_are_turned_and_synthetic_draws_blended_when_they_are_shown():
    draws = replace(
        Draws.everything(2),
        copy=np.array([1, 3], np.int8),
        partner=np.array([0, 2]),
        partner_copy=np.array([1, 2], np.int8),
        blend=np.array([0.0, 0.25], np.float32),
    )
    flipped, between = (epoch_of([0, 1], draws=draws)[position][0].numpy() for position in (0, 1))
    assert np.array_equal(flipped, IMAGES[0][:, ::-1])
    assert np.array_equal(between, blended(np.rot90(IMAGES[1]), IMAGES[3][::-1], 0.25))
