"""What the policies do to an image; that every draw is named is tested in contracts/."""

import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from lesion.augment import Augmenter, augmentations, published, resize
from lesion.prediction import dihedral

SIDE = 16
IMAGE = np.random.default_rng(0).integers(40, 200, (SIDE, SIDE, 3), dtype=np.uint8)


def augmenter(name, size=SIDE, **settings):
    return Augmenter(augmentations[name].build(size, **settings), seed=0)


def views():
    image = torch.from_numpy(IMAGE).permute(2, 0, 1)[None]
    return {dihedral(image, view)[0].permute(1, 2, 0).numpy().tobytes() for view in range(8)}


def test_none_leaves_the_image_as_it_is():
    assert np.array_equal(augmenter("none")(IMAGE, 0, 0), IMAGE)
    assert np.array_equal(augmenter("none", 8)(IMAGE, 0, 0), resize(IMAGE, 8))


def test_dihedral_draws_each_of_the_views_that_prediction_averages():
    draw = augmenter("dihedral")
    drawn = [draw(IMAGE, 0, position).tobytes() for position in range(200)]
    assert set(drawn) == views()
    assert min(drawn.count(view) for view in set(drawn)) > 10  # of about 25


def test_colour_without_strength_is_dihedral():
    draw, turned = augmenter("colour", strength=0.0), augmenter("dihedral")
    for position in range(4):
        difference = draw(IMAGE, 0, position).astype(int) - turned(IMAGE, 0, position)
        assert np.abs(difference).max() <= 1


def test_colour_changes_more_with_strength():
    weak, strong = (
        np.mean([abs(draw(IMAGE, 0, position).mean() - IMAGE.mean()) for position in range(20)])
        for draw in (augmenter("colour", strength=0.5), augmenter("colour", strength=1.5))
    )
    assert 0.5 < weak < strong


def test_geometry_keeps_the_middle_and_the_colours():
    disc = np.full((SIDE, SIDE, 3), (200, 150, 140), np.uint8)
    disc[6:10, 6:10] = (90, 50, 40)
    draw = augmenter("geometric", scale=0.1, shear=5.0, shift=0.0)
    for position in range(20):
        drawn = draw(disc, 0, position)
        assert drawn[7:9, 7:9].mean() < 100 < drawn[[0, 0, -1, -1], [0, -1, 0, -1]].mean()
        assert drawn.min() >= 40
        assert drawn.max() <= 200


@pytest.mark.parametrize("settings", [{"strength": 0.0}, {"strength": 3.0}], ids=str)
def test_the_ends_of_the_range_work(settings):
    for name in ("colour", "strong"):
        draw = augmenter(name, **settings)
        assert {draw(IMAGE, 0, position).shape for position in range(20)} == {(SIDE, SIDE, 3)}
    draw = augmenter("geometric", scale=0.9, shear=45.0, shift=0.5)
    assert {draw(IMAGE, 0, position).shape for position in range(20)} == {(SIDE, SIDE, 3)}


@pytest.mark.parametrize("name", ["crop_shear_jitter", "crop_flip_jitter", "challenge"])
@pytest.mark.parametrize("end", ["low", "high"])
def test_the_ends_of_published_ranges_work(name, end):
    settings = {s.name: getattr(s.range, end) for s in augmentations[name].settings.values()}
    draw = augmenter(name, **settings)
    drawn = [draw(IMAGE, 0, position) for position in range(20)]
    assert {(image.shape, image.dtype) for image in drawn} == {((SIDE, SIDE, 3), IMAGE.dtype)}


def test_nothing_is_drawn_from_shared_generators_and_the_image_stays():
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    kept = IMAGE.copy()
    augmenter("strong")(IMAGE, 0, 0)
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert np.array_equal(IMAGE, kept)


def test_shrinking_averages_areas_and_growing_interpolates():
    checks = np.indices((8, 8)).sum(axis=0) % 2 * 200
    image = np.repeat(checks[..., None], 3, axis=2).astype(np.uint8)
    assert np.array_equal(resize(image, 4), np.full((4, 4, 3), 100))
    assert resize(image, 12).shape == (12, 12, 3)
    assert resize(image, 8) is image


def square(of=48, side=16):
    """A dark square in the middle, a white mark above it, on skin of one colour."""
    image = np.full((of, of, 3), (200, 150, 140), np.uint8)
    low, high = (of - side) // 2, (of + side) // 2
    image[low:high, low:high] = (90, 50, 40)
    image[low - 4 : low, of // 2 - 2 : of // 2 + 2] = 255
    return image


def test_crop_shear_jitter_turns_to_the_left_and_makes_wide():
    draw = augmenter("crop_shear_jitter", 48, crop=0.0, shear=0.0, light=0.0, hue=0.0)
    for position in range(5):
        drawn = draw(square(), 0, position)
        dark = np.argwhere((drawn < 100).all(axis=2))
        height, width = np.ptp(dark, axis=0) + 1
        assert (height, width) == (pytest.approx(0.8 * 16, abs=1.5), pytest.approx(1.2 * 16, abs=1.5))
        row, column = np.argwhere((drawn > 230).all(axis=2)).mean(axis=0)
        assert row == pytest.approx(23.5, abs=1.5)
        assert column == pytest.approx(23.5 - 1.2 * 10, abs=1.5)


def test_crop_shear_jitter_crops_all_sides_alike():
    draw = augmenter("crop_shear_jitter", 96, shear=0.0, light=0.0, hue=0.0)
    dark = [np.argwhere((draw(square(96, 32), 0, i) < 130).all(axis=2)) for i in range(60)]
    heights, widths = (np.array([np.ptp(places[:, axis]) + 1 for places in dark]) for axis in (0, 1))
    assert 1.2 * 32 - 1 <= widths.min() < 1.25 * 32
    assert 0.95 * 2 * 32 < widths.max() <= 1.2 / 0.6 * 32 + 1
    assert np.abs(heights / widths - 0.8 / 1.2).max() < 0.05


def test_crop_flip_jitter_crops_half_of_the_area_at_most():
    places = np.indices((240, 240)).astype(np.uint8).transpose(1, 2, 0)
    image = np.concatenate([places, places[..., :1]], axis=2)  # row, column, row
    draw = augmenter("crop_flip_jitter", 240, brightness=0.0, colour=0.0, hue=0.0)
    spans = np.array([np.ptp(draw(image, 0, i).reshape(-1, 3), axis=0)[:2] + 1.0 for i in range(60)]) / 240
    areas, aspects = spans.prod(axis=1), spans[:, 1] / spans[:, 0]
    assert 0.48 < areas.min() < 0.6
    assert 0.9 < areas.max() <= 1.0
    assert 0.73 < aspects.min() < 0.85
    assert 1.15 < aspects.max() < 1.36


def test_crop_flip_jitter_adds_brightness():
    draw = augmenter("crop_flip_jitter", colour=0.0, hue=0.0)
    drawn = [draw(np.full((SIDE, SIDE, 3), 100, np.uint8), 0, position) for position in range(60)]
    assert all(np.ptp(image) == 0 for image in drawn)
    levels = [int(image[0, 0, 0]) for image in drawn]
    assert 68 <= min(levels) < 75
    assert 125 < max(levels) <= 132


def test_challenge_at_nothing_only_turns_and_at_most_cuts_a_hole():
    plain = np.full((64, 64, 3), (200, 150, 140), np.uint8)
    calm = augmenter("challenge", 64, strength=0.0, distortion=0.0, clahe=0.0, cutout=0.0)
    holed = augmenter("challenge", 64, strength=0.0, distortion=0.0, clahe=0.0, cutout=1.0)
    for position in range(20):
        assert np.abs(calm(plain, 0, position).astype(int) - plain).max() <= 1
        hole = (holed(plain, 0, position) == 0).all(axis=2).mean()
        assert 0.08**2 < hole < 0.36**2


def test_elastic_moves_pixels_by_a_hundredth_of_the_side():
    size = 100
    columns = np.repeat(np.tile(np.arange(size, dtype=np.uint8) * 2, (size, 1))[..., None], 3, axis=2)
    draw = Augmenter([published._elastic(size)], seed=0)
    draw._policy[0].p = 1.0
    moved = np.stack([draw(columns, 0, i)[10:-10, 10:-10].astype(float) for i in range(20)])
    assert (moved - columns[10:-10, 10:-10]).std() / 2 == pytest.approx(size / 100, rel=0.25)


@pytest.mark.slow
def test_importing_asks_nobody_on_the_network():
    code = (
        "import socket, sys\n"
        "def refuse(*_): print('asked'); raise SystemExit(1)\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "import lesion.augment"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0), done.stderr
