"""Trainings of a head alone: with maps from the cache they are what they are without, and the backbone runs once."""

import numpy as np
import pytest
import torch
from small_data import small_data, small_training
from torchvision import models

from lesion import frozen
from lesion.balancing.copies import VIEWS, shown
from lesion.embeddings import Embeddings
from lesion.models import build_model
from lesion.models.paper import OnPaper
from lesion.settings import resolve

BACKBONE = "squeezenet1_1"
OWN = f"backbone__{BACKBONE}__"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(5)
    file = tmp_path_factory.mktemp("weights") / "weights.pth"
    torch.save(models.squeezenet1_1().state_dict(), file)
    return str(file)


@pytest.fixture(scope="module")
def data():
    # Larger than what the model sees: whether a photo is turned before or after it is resized matters then.
    return small_data(train=(16, 8, 8), validation=(6, 4, 4), size=37)


def head_alone(weights, data, cache=None, **settings):
    whole = {
        "backbone": BACKBONE, OWN + "weights": weights, OWN + "trainable_stages": 0, "augmentation": "none",
        "batch_size": 16, "optimizer__adamw__lr": 0.02,
    }  # fmt: skip
    return small_training(data, cache=cache, **(whole | settings))


def scores(training):
    return [{name: value for name, value in training.step().items() if name != "seconds"} for _ in range(3)]


@pytest.mark.parametrize(
    "settings",
    [
        {"head": "linear"},
        {"head": "dense", "loss": "focal", "views": 8, "metadata": "concatenate"},
        {"head": "channel_attention", "balancing": "copies", "epoch": "full", "keep": "best"},
        {"head": "generalised_pooling", "balancing": "oversample", "precision": "bfloat16", "views": 2},
    ],
)
def test_the_scores_are_those_without_the_cache(weights, data, tmp_path, settings):
    plain, cached = head_alone(weights, data, **settings), head_alone(weights, data, tmp_path, **settings)
    assert (plain._embeddings is None, type(cached._embeddings)) == (True, frozen.FrozenMaps)
    expected = scores(plain)
    assert expected[2]["train_loss"] < 0.99 * expected[0]["train_loss"]  # something was learnt
    # To the bit where it was tried; elsewhere sums of a batch of 16 and of 64 may have another order.
    for ours, theirs in zip(scores(cached), expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-7, nan_ok=True)
    np.testing.assert_allclose(cached.predict(), plain.predict(), rtol=1e-5, atol=1e-7)


def test_the_backbone_sees_every_image_once_for_all_trials(weights, data, tmp_path, monkeypatch):
    seen = []
    forward = models.squeezenet.Fire.forward

    def counted(self, images):
        if self.squeeze.in_channels == 64:  # the first of its blocks
            seen.append(len(images))
        return forward(self, images)

    monkeypatch.setattr(models.squeezenet.Fire, "forward", counted)
    for seed, settings in enumerate(
        ({"head": "linear"}, {"head": "dense", "loss": "focal", "balancing": "oversample"})
    ):
        scores(head_alone(weights, data, tmp_path, seed=seed, **settings))
        assert sum(seen) == len(data)
    scores(head_alone(weights, data, tmp_path, views=2))
    assert sum(seen) == len(data) + len(data.split().validation)  # their mirror images, and none of the others


@pytest.mark.parametrize(
    "settings",
    [
        {"augmentation": "dihedral"},
        {OWN + "trainable_stages": 1},
        {OWN + "trainable_stages": None, OWN + "trainable_layers": 1},
        {OWN + "weights": "none"},  # random weights, which no other seed has
        {"balancing": "smote", "balancing__smote__on": "pixels"},  # what lies between two photos
    ],
)
def test_photos_that_change_or_a_backbone_that_does_are_run(weights, data, tmp_path, settings):
    assert head_alone(weights, data, tmp_path, **settings)._embeddings is None
    assert not list(tmp_path.glob("features/*"))


def test_maps_larger_than_the_memory_are_not_made(weights, data, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(frozen, "available_memory", lambda: 1000)
    training = head_alone(weights, data, tmp_path)
    assert training._embeddings is None
    assert "need 0.00 GiB of memory, 0.00 GiB are available; the frozen backbone is run in every epoch" in caplog.text
    assert not [place for place in tmp_path.glob("features/*") if place.is_dir()]
    training.step()


def test_a_cache_that_cannot_be_written_costs_no_trial(weights, data, tmp_path, caplog):
    (tmp_path / "features").write_text("")
    assert np.isfinite(head_alone(weights, data, tmp_path).step()["train_loss"])
    assert "cannot be kept" in caplog.text


def test_the_key_tells_precisions_apart(weights, data, tmp_path):
    one, other = (head_alone(weights, data, tmp_path, precision=name)._embeddings for name in ("float32", "bfloat16"))
    assert one.key != other.key
    facts = (one.model, one.images, one.image_size, one.data, one.backbone, one.folder)
    assert one.key != Embeddings(*facts).key  # float16


@pytest.mark.parametrize("copy", list(VIEWS))
def test_a_copy_is_turned_and_then_resized(data, copy):
    turned = frozen._Turned(data.images, VIEWS[copy], 37)[:3]
    assert np.array_equal(turned, [shown(image, copy) for image in data.images[:3]])


@pytest.mark.parametrize("name", ["resnet18", "preact_resnet18", "vit_b_32", "timm/resnet10t"])
@pytest.mark.parametrize(
    ("frozen_by", "still"),
    [({}, False), ({"trainable_stages": 0}, True), ({"trainable_layers": 0}, True), ({"trainable_stages": 1}, False)],
)
def test_a_backbone_is_still_when_all_of_it_is_frozen(name, frozen_by, still):
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    settings = {"backbone": name, "image_size": 32} | {
        f"backbone.{name}.{key}": value for key, value in frozen_by.items()
    }
    with OnPaper():
        model = build_model(resolve(settings), 2, pretrained=False)
    assert model.train().backbone.still is still
