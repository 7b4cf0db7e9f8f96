"""From images to probabilities, by a model that sees where each pixel is."""

import dataclasses

import numpy as np
import pytest
import torch
from small_data import small_data, small_training
from torch import nn

from lesion.prediction import dihedral, predict_probabilities, to_model_input

SIDE = 6
IMAGES = np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE, 3), dtype=np.uint8)
TURNS = [lambda image, k=k: np.rot90(image, k) for k in range(4)]
MIRRORED = [lambda image, k=k: np.fliplr(np.rot90(image, k)) for k in range(4)]
INVARIANT = {1: [], 2: [MIRRORED[0]], 4: [TURNS[2], MIRRORED[0], MIRRORED[2]], 8: TURNS[1:] + MIRRORED}


class Seen(nn.Sequential):
    """All of it is the head."""

    backbone = nn.Identity()


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Seen(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


def predict(model, images, **options):
    return predict_probabilities(model, images, image_size=SIDE, precision="float32", **options)


@pytest.mark.parametrize("views", [1, 2, 4, 8])
def test_the_mean_over_views_does_not_see_what_the_views_turn(model, views):
    upright = predict(model, IMAGES, views=views)
    for turn in TURNS[1:] + MIRRORED:
        turned = predict(model, np.stack([turn(image) for image in IMAGES]), views=views)
        difference = np.abs(turned - upright).max()
        assert (difference < 1e-6) == (turn in INVARIANT[views]), difference


def test_the_mean_over_views_is_that_of_probabilities(model):
    views = [predict(model, np.stack([turn(image) for image in IMAGES])) for turn in TURNS + MIRRORED]
    np.testing.assert_allclose(predict(model, IMAGES, views=8), np.mean(views, axis=0), atol=1e-6)


def test_the_eight_views_are_all_there_are():
    image = torch.arange(9.0).view(1, 1, 3, 3)
    views = {tuple(dihedral(image, view).flatten().tolist()) for view in range(8)}
    assert len(views) == 8
    assert torch.equal(dihedral(image, 0), image)


def test_probabilities_sum_to_one_and_do_not_depend_on_batches(model):
    together = predict(model, IMAGES, views=2)
    assert together.dtype == np.float64
    assert together.shape == (5, 3)
    np.testing.assert_allclose(together.sum(axis=1), 1.0, rtol=1e-14)
    np.testing.assert_allclose(predict(model, IMAGES, views=2, batch_size=2), together, atol=1e-6)


@pytest.mark.parametrize("mode", [True, False])
def test_dropout_is_off_and_the_mode_comes_back(model, mode):
    model.train(mode)
    assert np.array_equal(predict(model, IMAGES), predict(model, IMAGES))
    assert model.training is mode
    with pytest.raises(RuntimeError, match="shapes"):
        predict_probabilities(model, IMAGES, image_size=SIDE + 1)
    assert model.training is mode


def test_nothing_to_predict(model):
    with pytest.raises(ValueError, match="no images to predict"):
        predict(model, IMAGES[:0])


def test_pixels_become_numbers_from_0_to_1_with_channels_last_in_memory():
    given = torch.from_numpy(IMAGES)
    x = to_model_input(given, torch.device("cpu"))
    assert x.shape == (5, 3, SIDE, SIDE)
    assert x.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(x.numpy(), IMAGES.transpose(0, 3, 1, 2) / 255.0, rtol=1e-6)
    assert np.array_equal(given.numpy(), IMAGES)


def test_images_of_another_size_are_resized(model):
    bigger = IMAGES.repeat(3, axis=1).repeat(3, axis=2)
    np.testing.assert_allclose(predict(model, bigger), predict(model, IMAGES), atol=1e-6)


def test_a_batch_of_validation_is_read_when_it_is_judged():
    class Watched:
        def __init__(self, images):
            self.images, self.read = images, []

        def __getitem__(self, rows):
            self.read.append(np.size(rows))
            return self.images[rows]

    many = small_data(validation=(60, 20, 20))
    watched = Watched(many.images)
    training = small_training(dataclasses.replace(many, images=watched))
    training.step()
    assert sum(size for size in watched.read if size > 1) == 100
    assert max(watched.read) == 64  # not all of them at once
