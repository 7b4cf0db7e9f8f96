"""One warp does what albumentations' transforms do one after another, and what one draws says nothing of another."""

import albumentations as A
import cv2
import numpy as np
import pytest

from lesion.augment import Augmenter, resize
from lesion.augment.policies import any_turn
from lesion.augment.warp import BORDER, DIHEDRAL, Ranges, Warp, matrix, warped

RANGES = Ranges((-180, 180), (0.7, 1.3), (0.7, 1.3), 10.0, 10.0, shift=0.1)


def photo(side=128, seed=0):
    """A smooth photo with a little texture: what differs is where things are, not how pixels are averaged."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 60, (side, side, 3))
    return np.clip(128 + 6 * cv2.GaussianBlur(noise, (0, 0), 6) + 0.05 * noise, 0, 255).astype(np.uint8)


def one_after_another(image, size, turn, zoom, shear, shift):
    """What the policies did before: albumentations at the size of the photo, then shrunk by areas."""
    side = image.shape[0]
    affine = A.Affine(
        rotate=(turn, turn), scale={"x": (zoom[0],) * 2, "y": (zoom[1],) * 2},
        shear={"x": (-shear[0],) * 2, "y": (-shear[1],) * 2},
        translate_px={axis: (round(part * side),) * 2 for axis, part in zip("xy", shift, strict=True)},
        border_mode=BORDER, p=1.0,
    )  # fmt: skip
    return resize(affine(image=image)["image"], size)


@pytest.mark.parametrize("size", [48, 64, 100, 128])
def test_one_warp_is_zoom_turn_shear_and_shift_one_after_another(size):
    rng = np.random.default_rng(1)
    for seed in range(8):
        turn, zoom, shear = rng.uniform(-180, 180), tuple(rng.uniform(0.7, 1.3, 2)), tuple(rng.uniform(-10, 10, 2))
        shift = tuple(rng.integers(-12, 13, 2) / 128)
        image = photo(seed=seed)
        expected = one_after_another(image, size, turn, zoom, shear, shift)
        drawn = warped(image, size, matrix(turn, zoom, shear), shift)
        assert np.abs(drawn.astype(int) - expected).mean() < 2.0  # an image moved by one pixel differs by five and more


def test_a_crop_mirrors_at_its_own_edge():
    image = photo(60)
    inner = np.ascontiguousarray(image[6:-6, 6:-6])
    wide = matrix(0.0, (0.7, 0.7), (0.0, 0.0))
    assert np.array_equal(warped(image, 32, wide, crop=0.1), warped(inner, 32, wide))


def test_the_identity_at_full_size_changes_nothing():
    image = photo(40)
    assert np.array_equal(warped(image, 40, ((1.0, 0.0), (0.0, 1.0))), image)
    views = {warped(image, 40, linear).tobytes() for linear in DIHEDRAL}
    turns = {np.rot90(view, turn).tobytes() for view in (image, image[::-1]) for turn in range(4)}
    assert views == turns


def test_texture_lies_between_that_of_both_ways_to_shrink():
    """Between a warp at full size that is then shrunk, and a photo that is only shrunk: neither blurred nor aliased."""

    def texture(image):
        return cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32), cv2.CV_32F).var()

    rng = np.random.default_rng(0)
    # The spectrum of skin falls with the square of the frequency.
    image = np.clip(128 + 10 * cv2.GaussianBlur(rng.normal(0, 30, (256, 256, 3)), (0, 0), 1.5), 0, 255).astype(np.uint8)
    found = []
    for _ in range(10):
        turn, zoom = rng.uniform(-180, 180), tuple(rng.uniform(0.8, 1.2, 2))
        drawn = texture(warped(image, 160, matrix(turn, zoom, (0.0, 0.0))))
        shrunk = texture(one_after_another(image, 160, turn, zoom, (0.0, 0.0), (0.0, 0.0)))
        found.append(drawn / shrunk)
    assert 0.7 < np.median(found) < 2.0


def test_what_a_warp_draws_fills_its_ranges():
    warp = any_turn(32, 0.3, 10.0, 0.1)
    warp.set_random_seed(0)
    drawn = [warp.get_params() for _ in range(400)]
    shift = np.array([each["shift"] for each in drawn])
    areas = np.array([abs(np.linalg.det(each["linear"])) for each in drawn])
    assert (abs(shift).max(), shift.mean()) == (pytest.approx(0.1, abs=0.002), pytest.approx(0, abs=0.006))
    assert 0.49 * 0.93 < areas.min() < 0.65
    assert 1.4 < areas.max() < 1.69 * 1.04
    mirrored = np.mean([np.linalg.det(each["linear"]) < 0 for each in drawn])
    assert mirrored == pytest.approx(0.5, abs=0.1)
    assert {each["crop"] for each in drawn} == {0.0}


class Mark(A.ImageOnlyTransform):
    """Sets one pixel, half of the time."""

    def __init__(self, place):
        super().__init__(p=0.5)
        self.place = place

    def apply(self, img, **params):
        img = img.copy()
        img[0, self.place] = 255
        return img


def test_whether_one_transform_takes_part_says_nothing_of_the_next():
    draw = Augmenter([Mark(0), Mark(1), A.OneOf([Mark(2), Mark(3)], p=0.5)], seed=3)
    black = np.zeros((2, 4, 3), np.uint8)
    drawn = np.array([draw(black, 0, position)[0, :, 0] > 0 for position in range(1600)])
    first, second, either = drawn[:, 0], drawn[:, 1], drawn[:, 2] | drawn[:, 3]
    for one, other in ((first, second), (second, either), (first, either)):
        # Four standard errors of a share of 1/4 among 1600.
        assert (one & other).mean() == pytest.approx(0.25, abs=0.044)
    assert drawn[either][:, 2].mean() == pytest.approx(0.5, abs=0.075)


def test_a_draw_is_named_whatever_was_drawn_before():
    one, other = (Augmenter([Warp(16, RANGES), A.GaussNoise(p=1.0)], seed=5) for _ in range(2))
    image = photo(32)
    forwards = [one(image, 2, position) for position in range(4)]
    backwards = [other(image, 2, position) for position in (3, 2, 1, 0)]
    assert all(np.array_equal(a, b) for a, b in zip(forwards, reversed(backwards), strict=True))
    assert len({each.tobytes() for each in forwards}) == 4
