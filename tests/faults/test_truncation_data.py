"""Files of data, models and caches, cut short at random offsets: made again, or refused by an error that names them."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cuts import cuts
from fake_training import make_data

from lesion.balancing import Part
from lesion.balancing.store import drawn
from lesion.balancing.vectors import Pixels
from lesion.data import travel
from lesion.data.packed import PackedDataset, prepared
from lesion.embeddings import cached_maps
from lesion.errors import LesionError
from lesion.model_folder import Config, MemberConfig, load_weights, read_config, write_config, write_weights
from search.differences import differences, remember
from search.openings import Openings, openings, record
from search.workspace import Workspace

HERE, THERE = "a" * 64, "b" * 64
IMAGES = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)


def test_what_the_images_of_a_study_were(tmp_path: Path) -> None:
    """Cut, it tells no differences that are none; the next session whose data are whole writes it again."""
    data = PackedDataset.open(make_data(tmp_path / "before"))
    after = PackedDataset.open(make_data(tmp_path / "after", label=2))
    notes = tmp_path / "cache"
    remember(notes, data)
    told = differences(notes, data.content_hash, after)
    assert "1 of 7 images have another label" in told[0]
    [path] = notes.iterdir()
    content = path.read_bytes()
    for offset in cuts(path, 25):
        assert differences(notes, data.content_hash, after) == [], offset
        remember(notes, data)
        assert path.read_bytes() == content, offset
    assert differences(notes, data.content_hash, after) == told


def test_of_which_test_part_kept_probabilities_are(tmp_path: Path) -> None:
    """Where that was cut the opening counts, whichever part is asked for."""
    place = Workspace(tmp_path)
    kept = place.reports / "first" / "tested-01.npy"
    kept.parent.mkdir(parents=True)
    np.save(kept, np.full((2, 3), 1 / 3))
    record(kept, HERE)
    for offset in cuts(kept.with_suffix(".json"), 25):
        for part in (HERE, THERE):
            assert openings(place, "first", part) == Openings(1), offset
            assert openings(place, "second", part) == Openings(0, {"first": 1}), offset
    assert openings(place, "second", HERE) == Openings(0, {"first": 1})
    assert openings(place, "second", THERE) == Openings()


def test_kept_draws(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    labels = np.repeat([0, 1], [9, 21])
    part = Part(labels, ("melanoma", "nevus"), {"pixels": Pixels(IMAGES, np.arange(30), 8)}, key="drawn")

    def draw() -> dict[str, Any]:
        settings = {"on": "pixels", "neighbours": 3}
        return vars(drawn(part, "smote", settings, np.random.default_rng(0), tmp_path))

    whole = draw()
    [path] = tmp_path.glob("draws-*.npz")
    for offset in cuts(path, 25):
        caplog.clear()
        again = draw()
        assert all(np.array_equal(again[name], value) for name, value in whole.items()), offset
        assert f"{path} is damaged" in caplog.text, offset


@pytest.mark.parametrize("name", ["maps.npy", "manifest.json"])
def test_feature_maps(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    def maps() -> Any:
        pool = torch.nn.AvgPool2d(4)
        return cached_maps(pool, "0123-view0", IMAGES, tmp_path, image_size=8, device=torch.device("cpu"))

    whole = maps().copy()
    for offset in cuts(tmp_path / "0123-view0" / name, 12):
        caplog.clear()
        assert np.array_equal(maps(), whole), offset
        assert "is damaged" in caplog.text, offset


@pytest.mark.parametrize("name", [travel.SEAL, *travel.FILES])
def test_the_copy_of_a_node(tmp_path: Path, name: str) -> None:
    """Fetched again, with its seal; where nothing is to be fetched from, that is told and the rest is not believed."""
    source = make_data(tmp_path / "there")
    data = PackedDataset.open(source)
    address = source.as_uri()
    place = travel.local_copy(address, data.content_hash, tmp_path / "node")
    for offset in cuts(place / name, 6):
        assert travel.local_copy(address, data.content_hash, tmp_path / "node") == place
        assert (place / name).stat().st_size > offset
        PackedDataset.open(place).verify()
        assert json.loads((place / travel.SEAL).read_text()) == travel._stamps(place)


@pytest.mark.parametrize("name", ["config.json", "weights-0.safetensors"])
def test_model_folder(tmp_path: Path, name: str) -> None:
    model = torch.nn.Linear(4, 3)
    digest = write_weights(tmp_path / "weights-0.safetensors", model)
    member = MemberConfig("weights-0.safetensors", digest, 32, "stretch", {"backbone": "resnet18"})
    config = Config(("a", "b", "c"), 1, None, "tiny", {}, (member,))
    write_config(tmp_path, config)
    content = (tmp_path / name).read_bytes()

    def load() -> Config:
        read = read_config(tmp_path)
        load_weights(tmp_path / read.members[0].weights, torch.nn.Linear(4, 3), sha256=read.members[0].sha256)
        return read

    for offset in cuts(tmp_path / name, 25):
        if content[offset:].isspace():  # all but the end of the last line
            assert load() == config
            continue
        with pytest.raises(LesionError) as caught:
            load()
        assert str(tmp_path / name) in str(caught.value), offset
    assert load() == config


@pytest.mark.slow
@pytest.mark.parametrize("name", ["recipe.json", "journal.jsonl", "pixels.bin"])
def test_what_an_interrupted_prepare_left(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on from what is whole of it, or from its beginning, and comes to the same data."""
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "data")
    from drawn_sources import pack, two_classes

    def stop(done: int, total: int, what: str) -> None:
        if what == "decoding" and done >= 32:
            raise KeyboardInterrupt

    source = two_classes(tmp_path / "own", 48)
    whole = pack(source, tmp_path / "whole").content_hash
    with pytest.raises(KeyboardInterrupt):
        pack(source, tmp_path / "left", progress=stop)
    for offset in cuts(tmp_path / "left" / "data" / "own.partial" / name, 6):
        place = tmp_path / f"cut-{offset}"
        shutil.copytree(tmp_path / "left", place, dirs_exist_ok=True)
        assert prepared(place) == []
        again = pack(source, place)
        again.verify()
        assert again.content_hash == whole, offset
        assert [path.name for path in (place / "data").glob("*.partial")] == []
