"""`check` tells all that is wrong or odd with a source, and does not stop at the first."""

from __future__ import annotations

import json
import shutil

import pytest
from drawn_sources import jpeg, manifest

from lesion.data.check import check
from lesion.data.prepare import prepare
from lesion.errors import DataError


@pytest.fixture
def source(tmp_path):
    """Images with one of each thing that can be odd."""
    rows = [f"a{i},{('x', 'y')[i % 2]},{('train', 'test')[i > 15]},L{i}" for i in range(20)]
    rows += ["a20,x,train,L19", "a21,y,train,L21", "a22,x,train,L22"]
    folder = manifest(tmp_path / "own", rows, "image,label,part,lesion", images=22)
    shutil.copy(folder / "a0.jpg", folder / "a2.jpg")
    shutil.copy(folder / "a1.jpg", folder / "a4.jpg")
    (folder / "a6.jpg").write_bytes(b"")
    (folder / "stray.jpg").write_bytes(jpeg(77))
    return folder


def test_everything_odd_is_in_the_report(source):
    report = check(source, workers=1)
    assert report.counts == {"train": {"x": 9, "y": 9}, "test": {"x": 2, "y": 2}}
    assert report.missing == ("labels.csv:24: a22 has no image in own",)
    assert report.broken == (("own/a6.jpg", "is empty (zero bytes)"),)
    assert report.extra == ("own/stray.jpg",)
    assert report.identical == (("a0", "a2"), ("a1", "a4"))
    assert report.conflicting == (("a1", "a4"),)
    assert report.crossing == {"lesion L19": ("train", "test")}
    assert not report.ok
    assert json.loads(json.dumps(report.to_dict()))["ok"] is False


def test_mistakes_are_in_the_report(source):
    table = source / "labels.csv"
    table.write_text(table.read_text().replace("a3,y,train,L3", "a3,,train,L3"))
    report = check(source, workers=1)
    assert report.mistakes == ("labels.csv:5: a3: label is empty",)
    assert report.images == 21


def test_what_is_not_ok_is_not_prepared(source, tmp_path):
    with pytest.raises(DataError, match="source own: 2 mistakes"):
        prepare(source, tmp_path / "w", size=16, workers=1)


def test_a_packed_set_is_checked_too(tmp_path):
    source = manifest(tmp_path / "own", [f"a{i},{i % 2}" for i in range(24)])
    data = prepare(source, tmp_path / "w", size=16, workers=1, test=0)
    report = check(data.path)
    assert (report.layout, report.images, report.ok) == ("packed", 24, True)
    assert report.counts == {"train": {"0": 12, "1": 12}}


@pytest.mark.parametrize("copied", [False, True], ids=["too few lesions", "too few after identical images"])
def test_what_the_splits_refuse_is_a_mistake(tmp_path, copied):
    rows = [f"a{i},{'x' if i < 3 - (not copied) else 'y'}" for i in range(12)]
    source = manifest(tmp_path / "own", rows)
    if copied:
        shutil.copy(source / "a0.jpg", source / "a1.jpg")
    report = check(source, workers=1)
    assert not report.ok
    assert len(report.mistakes) == 1
    said = "splitting needs at least 3 lesions of every class; x has 2: add images, leave the class out"
    assert report.mistakes[0].startswith(said)
    with pytest.raises(DataError) as caught:
        prepare(source, tmp_path / "w", size=16, workers=1)
    assert "lesions of every class; x has" in str(caught.value)


def test_a_lesion_under_two_labels_is_found_by_both(tmp_path):
    rows = [f"a{i},{'xy'[i % 2]},{'L' if i in (2, 5, 8) else f'L{i}'}" for i in range(24)]
    source = manifest(tmp_path / "own", rows, "image,label,lesion")
    report = check(source, workers=1)
    told = "a2 and a5 and a8: one lesion (L) under different labels"
    assert [found.message for found in report.findings] == [told]
    assert report.ok
    packed = prepare(source, tmp_path / "w", size=16, workers=1, test=0, look_alikes=False)
    assert told in [found["message"] for found in packed.manifest["findings"]]


def test_identical_images_are_told_in_the_words_of_prepare(tmp_path):
    rows = [f"a{i},{'xy'[i % 2]},{('train', 'test')[i > 15]}" for i in range(24)]
    source = manifest(tmp_path / "own", rows, "image,label,part")
    shutil.copy(source / "a0.jpg", source / "a20.jpg")
    told = "a0 = a20: the same bytes under 2 ids, in parts test and train"
    assert [found.message for found in check(source, workers=1).findings] == [told]
    packed = prepare(source, tmp_path / "w", size=16, workers=1, look_alikes=False)
    assert told in [found["message"] for found in packed.manifest["findings"]]


@pytest.mark.slow
def test_byte_identical_images_of_the_real_sets(shared):
    report = check(shared / "data" / "isic2017", workers=1)
    assert report.ok
    assert ("ISIC_0012216", "ISIC_0016001") in report.identical
    assert ("ISIC_0012152", "ISIC_0015979") in report.identical
    assert not report.conflicting
