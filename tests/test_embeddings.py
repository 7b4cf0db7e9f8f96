"""Feature maps on disk: the right ones, made once, and made again when they are damaged."""

import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from lesion import embeddings
from lesion.balancing.copies import VIEWS, shown
from lesion.balancing.vectors import Features
from lesion.embeddings import Embeddings, cached_maps, weights_hash
from lesion.errors import DataError
from lesion.models import build_model
from lesion.prediction import predict_probabilities, to_model_input
from lesion.settings import resolve

IMAGES = np.random.default_rng(0).integers(0, 256, (70, 12, 12, 3), dtype=np.uint8)
CPU = torch.device("cpu")


class Small(nn.Module):
    """A network with what the embeddings need of a model: four channels at a third of the size."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3, stride=3), nn.Dropout(0.5))
        self.backbone.channels = 4
        self.register_buffer("mean", torch.full((1, 3, 1, 1), 0.5))
        self.register_buffer("std", torch.ones(1, 3, 1, 1))

    def features(self, images):
        return self.backbone((images - self.mean) / self.std)


def embed(folder, model=None, **changed):
    settings = {"image_size": 12, "data": "drawn", "backbone": {"backbone": "small"}} | changed
    return Embeddings(model or Small(), IMAGES, folder=folder, **settings)


def direct(model, images):
    model.eval()
    with torch.inference_mode():
        return model.features(to_model_input(torch.from_numpy(images), CPU)).numpy()


def test_maps_are_those_of_the_network_in_evaluation_mode(tmp_path):
    model = Small().train()
    maps = embed(tmp_path, model).maps()
    assert model.training
    assert (maps.shape, maps.dtype) == ((70, 4, 4, 4), np.float16)
    np.testing.assert_allclose(maps, direct(model, IMAGES), atol=1e-3)


def test_a_real_backbone_is_embedded_at_the_size_of_the_trial(tmp_path):
    model = build_model(resolve({"backbone": "shufflenet_v2_x0_5", "image_size": 32}), ("nevus", "melanoma"))
    embedded = Embeddings(model, IMAGES[:3], 32, "drawn", {}, tmp_path)
    assert embedded.maps().shape == (3, embedded.channels, 1, 1)


@pytest.mark.parametrize("copy", list(VIEWS))
def test_a_copy_of_an_image_is_embedded_as_it_is_shown(tmp_path, copy):
    model = Small()
    maps = embed(tmp_path, model).maps(VIEWS[copy])
    np.testing.assert_allclose(maps, direct(model, np.stack([shown(i, copy) for i in IMAGES])), atol=1e-3)


def test_features_are_maps_averaged_over_their_places(tmp_path):
    model, rows = Small(), np.arange(10, 60)
    features = Features(embed(tmp_path, model), rows)
    read = features.read(np.array([0, 7]), np.array([0, 1], np.int8))
    expected = [direct(model, IMAGES[10:11]), direct(model, IMAGES[17:18, :, ::-1].copy())]
    np.testing.assert_allclose(read, np.concatenate(expected).mean(axis=(2, 3)), atol=1e-3)
    assert features.width == 4


@pytest.mark.parametrize("views", [1, 4])
def test_the_head_is_asked_in_batches_and_averaged_over_views(tmp_path, views):
    settings = resolve({"backbone": "shufflenet_v2_x0_5", "head": "linear", "image_size": 32})
    model = build_model(settings, ("nevus", "melanoma")).train()
    embedded = Embeddings(model, IMAGES, 32, "drawn", {}, tmp_path)
    rows = np.arange(69, 0, -1)
    predicted = embedded.predict(model, rows, None, views)
    assert model.training
    model.eval()
    expected = predict_probabilities(model, IMAGES[rows], image_size=32, views=views, precision="float32")
    np.testing.assert_allclose(predicted, expected, atol=2e-3)


def test_a_second_trial_opens_what_the_first_one_made(tmp_path, monkeypatch):
    first = embed(tmp_path).maps()
    monkeypatch.setattr(embeddings, "_make", lambda *a: pytest.fail("made again"))
    second = embed(tmp_path)
    assert np.array_equal(second.maps(), first)
    assert second.maps() is second.maps()
    assert not second.maps().flags.writeable


def test_the_key_tells_data_size_backbone_weights_and_normalisation_apart(tmp_path):
    other_mean = Small()
    other_mean.mean += 0.1
    keys = [
        embed(tmp_path).key,
        embed(tmp_path, data="other").key,
        embed(tmp_path, image_size=24).key,
        embed(tmp_path, backbone={"backbone": "large"}).key,
        embed(tmp_path, Small(seed=1)).key,
        embed(tmp_path, other_mean).key,
    ]
    assert len(set(keys)) == 6
    assert embed(tmp_path).key == keys[0]


def test_the_hash_of_weights_covers_names_and_shapes():
    one, other = nn.Linear(2, 3), nn.Linear(3, 2)
    other.load_state_dict({"weight": one.weight.detach().reshape(2, 3), "bias": one.bias[:2].detach()})
    assert weights_hash(one) == weights_hash(one)
    assert weights_hash(one) != weights_hash(other)
    assert weights_hash(nn.BatchNorm2d(2))  # a count of no dimension


@pytest.mark.parametrize("damage", ["cut", "changed", "no manifest", "torn manifest", "another version"])
def test_damaged_maps_are_noticed_and_made_again(tmp_path, damage, caplog):
    good = np.array(embed(tmp_path).maps())
    (place,) = (path for path in tmp_path.iterdir() if path.is_dir())
    file, manifest = place / embeddings.MAPS, place / embeddings.MANIFEST
    content = file.read_bytes()
    match damage:
        case "cut":
            file.write_bytes(content[:-7])
        case "changed":
            file.write_bytes(content[:500] + bytes([content[500] ^ 1]) + content[501:])
        case "no manifest":
            manifest.unlink()
        case "torn manifest":
            manifest.write_text('{"format"')
        case "another version":
            manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 0'))
    assert np.array_equal(embed(tmp_path).maps(), good)
    assert "is damaged, or of another version" in caplog.text
    assert file.read_bytes() == content


def test_what_a_killed_process_left_is_cleared_away(tmp_path, caplog):
    left = tmp_path / ".key.partial"
    left.mkdir()
    (left / embeddings.MAPS).write_bytes(b"half")
    maps = cached_maps(Small().features, "key", IMAGES, tmp_path, image_size=12, device=CPU)
    assert len(maps) == 70
    assert not left.exists()


def test_a_failure_leaves_nothing_behind(tmp_path):
    def fails(images):
        if len(images) > 1:
            raise RuntimeError("out of memory")
        return images

    with pytest.raises(RuntimeError, match="out of memory"):
        cached_maps(fails, "key", IMAGES, tmp_path, image_size=12, device=CPU)
    assert [path.name for path in tmp_path.iterdir()] in ([], [".key.lock"])


def test_a_full_disk_is_refused_with_the_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(embeddings.shutil, "disk_usage", lambda folder: SimpleNamespace(free=2**20))
    message = r"the feature maps \(70, 4, 4, 4\) need 0\.06 GiB in .*, 0\.00 GiB are free: free some space"
    with pytest.raises(DataError, match=message):
        embed(tmp_path).maps()


@pytest.mark.parametrize(("factor", "reached"), [(1e6, r"\d\.?\d*e\+0\d"), (float("nan"), "nan")])
def test_values_beyond_float16_are_refused(tmp_path, factor, reached):
    with pytest.raises(DataError, match=f"feature maps reach {reached}, more than float16 holds"):
        cached_maps(lambda x: x * factor, "key", IMAGES, tmp_path, image_size=12, device=CPU)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=f"the feature maps cannot be kept in {tmp_path}/file"):
        embed(tmp_path / "file").maps()


def test_trials_at_once_make_the_maps_once(tmp_path):
    calls = []

    def network(images):
        calls.append(len(images))
        time.sleep(0.05)
        return images

    def trial(_):
        return np.array(cached_maps(network, "key", IMAGES, tmp_path, image_size=12, device=CPU))

    with ThreadPoolExecutor(3) as pool:
        one, *others = pool.map(trial, range(3))
    assert calls == [64, 6]
    assert all(np.array_equal(one, other) for other in others)
