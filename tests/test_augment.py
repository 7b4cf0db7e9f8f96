"""What the policies do to an image; that every draw is named is tested in contracts/."""

import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from lesion.augment import Augmenter, augmentations, resize
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
