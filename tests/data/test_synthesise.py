"""Drawn data sets read as official ones, are the same for a seed, and can be learnt, though not by heart."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score

from lesion.data.archives import members, read
from lesion.data.check import check
from lesion.data.decode import decode
from lesion.data.drawing import STYLES, draw_lesion
from lesion.data.layouts import read_listing
from lesion.data.official import OFFICIAL
from lesion.data.synthesise import synthesise
from lesion.errors import DataError

SMALL = {"images": (28, 7, 7), "pixels": (32, 24)}


@pytest.mark.parametrize("layout", sorted(OFFICIAL))
@pytest.mark.parametrize("zipped", [True, False])
def test_it_reads_as_an_official_data_set(tmp_path, layout, zipped):
    report = check(synthesise(tmp_path / "s", layout=layout, zipped=zipped, **SMALL), workers=1)
    assert report.ok
    assert report.layout == layout
    assert {part: sum(row.values()) for part, row in report.counts.items()} == dict(
        zip(("train", "validation", "test"), SMALL["images"], strict=True)
    )
    assert all(row.values() for row in report.counts.values())
    assert report.identical == (("ISIC_0000000", "ISIC_0000027"),)
    assert not report.extra


def test_it_has_what_readers_trip_over(tmp_path):
    folder = synthesise(tmp_path / "s", **SMALL)
    names = [m.name for m in members(folder / "ISIC-2017_Training_Data.zip")]
    assert any(n.endswith("_superpixels.png") for n in names)
    assert any(n.endswith("ATTRIBUTION.txt") for n in names)
    table = read_listing(folder).table
    assert table["age"].isna().any()
    assert table["age"].notna().any()


def test_lesions_of_2018_are_seen_more_than_once(tmp_path):
    report = check(synthesise(tmp_path / "s", layout="isic2018", **SMALL | {"images": (60, 0, 0)}), workers=1)
    assert 30 < report.lesions < 59


def test_the_same_seed_draws_the_same_bytes(tmp_path):
    def drawn(name: str, seed: int) -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in synthesise(tmp_path / name, seed=seed, **SMALL).iterdir()}

    assert drawn("a", 1) == drawn("b", 1) != drawn("c", 2)


@pytest.mark.parametrize("name", sorted(STYLES))
def test_every_class_can_be_drawn_at_any_size(name):
    rng = np.random.default_rng
    assert draw_lesion(name, rng(0), rng(1), 17, 11).size == (17, 11)


@pytest.mark.slow
def test_the_classes_can_be_learnt_but_not_perfectly(tmp_path):
    listing = read_listing(synthesise(tmp_path / "s", images=(240, 0, 120), pixels=(64, 48)))
    pixels = np.array([decode(read(m), 16, "stretch").reshape(-1) for m in listing.members])
    train = (listing.table["part"] == "train").to_numpy()
    labels = listing.table["label"].to_numpy()
    model = RandomForestClassifier(200, random_state=0).fit(pixels[train], labels[train])
    auc = roc_auc_score(labels[~train], model.predict_proba(pixels[~train]), multi_class="ovr")
    assert 0.70 < auc < 0.98


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "isic2016"}, "no layout 'isic2016'; known: isic2017, isic2018"),
        ({"images": (5, 5, 5)}, "the training part needs at least 12"),
        ({"images": (50, 2, 0)}, "the training part needs at least 12, others 3"),
    ],
)
def test_wrong_wishes_are_told(tmp_path, options, message):
    with pytest.raises(DataError, match=message):
        synthesise(tmp_path / "s", **options)


def test_nothing_is_drawn_over(tmp_path):
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(DataError, match="is not an empty folder"):
        synthesise(tmp_path)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_disk_that_fills_up_is_told_and_leaves_nothing_half_drawn(tmp_path, monkeypatch, zipped):
    folder, written = tmp_path / "drawn", []

    def full(path: Path, data: bytes) -> int:
        written.append(path)
        if len(written) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return len(data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(DataError, match=r"drawn: the disk is full .*: free some space and run the same command"):
            synthesise(folder, images=(12, 3, 3), pixels=(16, 12), zipped=zipped)
    assert list(folder.iterdir()) == []
    synthesise(folder, images=(12, 3, 3), pixels=(16, 12), zipped=zipped)
    assert len(list(folder.iterdir())) == 6
