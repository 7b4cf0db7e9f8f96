"""What a packed data set holds: images beside their labels, splits that tear no lesion, hashes of the content."""

from __future__ import annotations

import json
import pickle
import shutil

import numpy as np
import pytest
from drawn_sources import isic2017, jpeg, manifest, pack, two_classes

from lesion.data import decoding
from lesion.data.packed import MANIFEST, PackedDataset, open_data, open_test
from lesion.data.prepare import prepare
from lesion.data.sketches import sketch
from lesion.errors import DataError


def test_official_parts_become_data_and_test(tmp_path):
    data = pack(isic2017(tmp_path / "source"), tmp_path / "w")
    assert data.images.shape == (36, 16, 16, 3)
    assert not data.images.flags.writeable
    assert data.splits == ("official", "holdout", "fold-0", "fold-1")
    official = data.split("official")
    assert (len(official.train), len(official.validation)) == (24, 12)
    assert set(data.table["part"]) == {"train", "validation"}
    test = open_test(tmp_path / "w", "isic2017")
    assert len(test) == 9
    assert set(test.table["part"]) == {"test"}
    assert not (tmp_path / "w" / "data" / "isic2017.partial").exists()
    with pytest.raises(DataError, match="is a test part: it has no splits"):
        test.split()


def test_the_classes_of_the_test_part_are_counted_in_the_manifest_and_in_no_hash(tmp_path):
    source = isic2017(tmp_path / "source")
    data = pack(source, tmp_path / "w")
    told = data.manifest["test"]
    assert told["classes"] == {"melanoma": 3, "seborrheic_keratosis": 3, "nevus": 3}
    assert told["images"] == 9
    # As older versions wrote it: the same data, which open, verify and need not be prepared again.
    del told["classes"], told["photos"]
    (data.path / MANIFEST).write_text(json.dumps(data.manifest))
    old = pack(source, tmp_path / "w")
    assert old.manifest["test"] == {"images": 9, "content_hash": open_test(tmp_path / "w", "isic2017").content_hash}
    assert old.content_hash == data.content_hash
    old.verify()
    again = pack(source, tmp_path / "w", replace=True)
    assert (again.content_hash, "classes" in again.manifest["test"]) == (data.content_hash, True)
    assert pack(two_classes(tmp_path / "own"), tmp_path / "w", test=0).manifest["test"] is None


def test_a_test_part_is_known_by_its_photos_whatever_their_size(tmp_path):
    source = isic2017(tmp_path / "source")
    sizes = [pack(source, tmp_path / "w", name=f"of-{size}", size=size).manifest["test"] for size in (16, 24)]
    assert sizes[0]["content_hash"] != sizes[1]["content_hash"]
    assert sizes[0]["photos"] == sizes[1]["photos"] == sketch(open_test(tmp_path / "w", "of-16").table["digest"])
    assert len(sizes[0]["photos"]) == 9 * 16


def test_images_stand_beside_their_labels(tmp_path):
    source = manifest(tmp_path / "s", [f"a{i},{i % 2}" for i in range(24)])
    data = pack(source, tmp_path / "w", test=0)
    for row, image in enumerate(data.table["image"]):
        expected = decoding.decode(jpeg(int(image[1:])), 16, "stretch")
        assert (data.images[row] == expected).all()
        assert data.labels[row] == int(image[1:]) % 2


def test_own_images_get_a_test_part_and_no_lesion_is_torn(tmp_path):
    data = pack(two_classes(tmp_path / "own", 48), tmp_path / "w", test=0.25)
    test = open_test(tmp_path / "w", "own")
    assert len(test) == 12
    assert not set(test.table["lesion"]) & set(data.table["lesion"])
    for name in data.splits:
        split = data.split(name)
        lesions = data.table["lesion"].to_numpy()
        assert not set(lesions[split.train]) & set(lesions[split.validation])
        assert sorted([*split.train, *split.validation]) == list(range(36))
    assert len({data.split(name).hash for name in data.splits}) == len(data.splits)


def test_the_same_bytes_are_one_group_and_a_finding(tmp_path):
    source = manifest(tmp_path / "own", [f"a{i},{i % 2}" for i in range(20)])
    shutil.copy(source / "a0.jpg", source / "a3.jpg")
    data = pack(source, tmp_path / "w", test=0)
    group = data.table.set_index("image")["group"]
    assert group["a0"] == group["a3"]
    kinds = [f["kind"] for f in data.manifest["findings"]]
    assert kinds == ["identical", "conflict"]


def test_the_content_hash_is_of_the_content(tmp_path):
    source = two_classes(tmp_path / "own")
    before = pack(source, tmp_path / "w", test=0)
    table = source / "labels.csv"
    header, *lines = table.read_text().splitlines()
    table.write_text("\n".join([header, *reversed(lines)]))
    assert pack(source, tmp_path / "w", test=0, name="turned").content_hash == before.content_hash
    table.write_text("\n".join([header, *lines]).replace("a0.jpg,mole,L0", "a0.jpg,melanoma,L0"))
    assert pack(source, tmp_path / "w", test=0, name="mended").content_hash != before.content_hash


def test_another_seed_splits_otherwise_and_leaves_the_content(tmp_path):
    source = two_classes(tmp_path / "own", 48)
    one, two = (pack(source, tmp_path / "w", test=0, seed=s, name=f"seed{s}") for s in (0, 1))
    assert one.content_hash == two.content_hash
    assert one.split("holdout").hash != two.split("holdout").hash


def test_a_set_is_opened_by_name_by_path_and_in_another_process(tmp_path):
    data = pack(two_classes(tmp_path / "own"), tmp_path / "w")
    assert open_data(tmp_path / "w", "own").content_hash == data.content_hash
    assert open_data(tmp_path / "elsewhere", str(data.path)).content_hash == data.content_hash
    assert len(pickle.dumps(data)) < 1000
    assert pickle.loads(pickle.dumps(data)).content_hash == data.content_hash
    with pytest.raises(DataError, match=r"no prepared data set 'onw'; known: own \(did you mean 'own'\?\)"):
        open_data(tmp_path / "w", "onw")
    with pytest.raises(DataError, match=r"no split 'fold-7'; known: fold-0"):
        data.split("fold-7")


def test_what_is_wrong_with_a_packed_set_is_told(tmp_path):
    data = pack(two_classes(tmp_path / "own"), tmp_path / "w")
    path, text = data.path, (data.path / "manifest.json").read_text()
    (path / "manifest.json").write_text(text.replace('"format": 1', '"format": 9', 1))
    with pytest.raises(DataError, match="format 9, this version reads format 1; prepare the data set again"):
        PackedDataset.open(path)
    (path / "manifest.json").write_text(text[:50])
    with pytest.raises(DataError, match=r"manifest\.json is damaged"):
        PackedDataset.open(path)
    (path / "manifest.json").write_text(text)
    pixels = (path / "images.npy").read_bytes()
    (path / "images.npy").write_bytes(pixels[:-100])
    with pytest.raises(DataError, match=r"images\.npy is missing or cut short"):
        PackedDataset.open(path)
    (path / "images.npy").write_bytes(pixels[:-1] + b"\1")
    with pytest.raises(DataError, match="the files were changed or damaged"):
        PackedDataset.open(path).verify()
    with pytest.raises(DataError, match="no packed data set"):
        PackedDataset.open(tmp_path)


@pytest.mark.slow
def test_isic_2017_as_it_is(tmp_path, shared):
    data = prepare(shared / "data" / "isic2017", tmp_path, size=32)
    assert data.default_split == "official"
    assert np.bincount(data.labels[data.split().train]).tolist() == [374, 254, 1372]
    assert np.bincount(data.labels[data.split().validation]).tolist() == [30, 42, 78]
    assert np.bincount(open_test(tmp_path, "isic2017").labels).tolist() == [117, 90, 393]
    kinds = [f["kind"] for f in data.manifest["findings"]]
    assert kinds.count("identical") == 6
    assert kinds.count("alike") >= 5


@pytest.mark.slow
def test_isic_2018_as_it_is(tmp_path, shared):
    data = prepare(shared / "data" / "isic2018", tmp_path, size=32)
    test = open_test(tmp_path, "isic2018")
    assert data.default_split == "holdout"
    assert not set(data.table["lesion"]) & set(test.table["lesion"])
    assert data.table["lesion"].nunique() + test.table["lesion"].nunique() == 7470
    assert 1480 < len(test) < 1520
