"""What exploration measures, against independent computations; what it writes and what it never opens."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from drawn_sources import encoded, isic2017, manifest, pack, picture
from PIL import Image

from lesion.data.decode import decode_whole
from lesion.data.packed import PackedDataset
from lesion.errors import DataError
from lesion.exploration import describe, explore, files_and_labels, originals
from lesion.exploration.charts import sharpness_figure, sizes_figure
from lesion.exploration.measures import blur, measure, to_grey, variance_of_laplacian
from lesion.exploration.originals import common_sizes, read_originals


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return isic2017(tmp_path_factory.mktemp("source") / "isic2017")


@pytest.fixture(scope="module")
def data(source: Path, tmp_path_factory: pytest.TempPathFactory) -> PackedDataset:
    return pack(source, tmp_path_factory.mktemp("workspace"))


def by_hand(grey: np.ndarray) -> float:
    padded = np.pad(grey.astype(float), 1, mode="reflect")
    laplacian = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * padded[1:-1, 1:-1]
    return float(laplacian.var())


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    assert variance_of_laplacian(np.full((9, 9), 80, np.uint8)) == 0.0
    for seed in range(3):
        grey = np.random.default_rng(seed).integers(0, 256, (12, 17), dtype=np.uint8)
        assert variance_of_laplacian(grey) == pytest.approx(by_hand(grey))


def test_every_image_is_measured(data: PackedDataset) -> None:
    measures = measure(data)
    greys = [np.asarray(Image.fromarray(image).convert("L")) for image in data.images]
    assert np.abs(greys[3].astype(int) - to_grey(data.images[3])).max() <= 1  # Pillow truncates
    np.testing.assert_allclose(measures.sharpness, [by_hand(grey) for grey in greys], rtol=0.05)
    assert measures.grey_levels.sum(axis=1).tolist() == [12 * 16 * 16] * 3
    means = measures.grey_levels @ np.arange(256) / measures.grey_levels.sum(axis=1)
    for k in range(3):
        expected = np.mean([grey for grey, label in zip(greys, data.labels, strict=True) if label == k])
        assert means[k] == pytest.approx(expected, abs=1)


def test_what_is_blurred_is_counted_by_part_and_class(data: PackedDataset) -> None:
    sharpness = np.arange(36.0)[::-1].copy()  # the twelve images of the validation part are the least sharp
    found = blur(sharpness, data, below=14)
    assert (found["images"], found["of"]) == (14, 36)
    assert found["parts"] == {"train": {"images": 2, "of": 24}, "validation": {"images": 12, "of": 12}}
    assert [share["of"] for share in found["classes"].values()] == [12, 12, 12]
    assert found["blurred"] == data.table["image"].tolist()[:21:-1]
    assert found["quantiles"]["0.5"] == np.median(sharpness)


@contextmanager
def away(folder: Path) -> Iterator[None]:
    """Without `folder` for a while."""
    shutil.move(folder, folder.with_name("away"))
    try:
        yield
    finally:
        shutil.move(folder.with_name("away"), folder)


@pytest.mark.slow
def test_what_is_written(data: PackedDataset, source: Path, tmp_path: Path) -> None:
    with away(data.path.parents[1] / "test"):
        report = explore(data, tmp_path / "new", source=source, per_class=3)
    assert json.loads((tmp_path / "new" / "exploration.json").read_text("utf-8")) == report
    assert report["counts"]["parts"]["validation"] == {"melanoma": 4, "seborrheic_keratosis": 4, "nevus": 4}
    assert sum(report["counts"]["train"].values()) + sum(report["counts"]["validation"].values()) == 36
    assert report["test_images"] == 9
    assert report["test_classes"] == {"melanoma": 3, "seborrheic_keratosis": 3, "nevus": 3}
    assert report["sizes"] == [{"width": 20, "height": 15, "images": 36}]
    assert report["files"]["labels_without_image"] == []
    for name in report["pictures"]:
        with Image.open(tmp_path / "new" / name) as image:
            assert np.ptp(np.asarray(image.convert("L"))) > 100
    assert {path.name for path in (tmp_path / "new").iterdir()} == {
        *report["pictures"], "exploration.json", "exploration.html",
    }  # fmt: skip
    assert report["page"] == "exploration.html"


def test_without_a_source_sizes_are_unknown(data: PackedDataset) -> None:
    report = describe(data, measure(data), None)
    assert report["sizes"] is None
    assert list(report["blur"]) == ["packed"]
    assert report["files"]["seen"] == "when prepared"


def test_files_against_labels_both_ways(tmp_path: Path) -> None:
    rows = [f"a{i}.jpg,{'ab'[i % 2]},L{i}" for i in range(12)]
    source = manifest(tmp_path / "own", rows, "image,label,lesion", images=14)
    data = pack(source, tmp_path / "workspace", test=0.0)
    before = files_and_labels(data, None)
    assert before["images_without_label"] == ["own/a12.jpg", "own/a13.jpg"]
    assert before["findings"] == {"extra": ["left out without a label: 2 images"]}
    (source / "labels.csv").write_text("\n".join(["image,label,lesion", *rows, "gone.jpg,a,L99"]))
    files = files_and_labels(data, read_originals(data, source))
    assert [line.partition(": ")[2] for line in files["labels_without_image"]] == ["gone.jpg has no image in own"]
    assert files["images_without_label"] == ["own/a12.jpg", "own/a13.jpg"]


def test_of_the_source_no_photo_of_the_test_part_is_read(
    data: PackedDataset, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def note(member: originals.Member) -> bytes:
        opened.append(member.name)
        return read(member)

    read = originals.read
    monkeypatch.setattr(originals, "read", note)
    read_originals(data, source)
    assert len(opened) == 36
    assert not [name for name in opened if "Test" in name]


def test_another_source_is_refused(data: PackedDataset, source: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"36 photos of data set isic2017 are not in it [(]ISIC_0000000, ISIC_0000001"):
        read_originals(data, manifest(tmp_path / "other", ["a0.jpg,x", "a1.jpg,y"]))
    changed = isic2017(tmp_path / "changed", counts=(24, 12, 9))
    (changed / "ISIC-2017_Training_Data.zip").unlink()
    folder = changed / "ISIC-2017_Training_Data"
    folder.mkdir()
    for i in range(24):
        (folder / f"ISIC_{i:07d}.jpg").write_bytes(encoded(picture(500)))
    with pytest.raises(DataError, match="24 photos have other bytes than when data set isic2017 was prepared"):
        read_originals(data, changed)


def test_sizes_are_listed_by_how_frequent_they_are() -> None:
    found = common_sizes(np.array([[8, 6], [4, 3], [8, 6], [2, 9]]))
    assert [(size["width"], size["height"], size["images"]) for size in found] == [(8, 6, 2), (2, 9, 1), (4, 3, 1)]
    labels = sizes_figure(common_sizes(np.array([[n, n] for n in range(20)])), "many").axes[0].get_yticklabels()
    assert labels[-1].get_text() == "8 other sizes"


def test_an_image_of_one_grey_can_be_drawn() -> None:
    figure = sharpness_figure(np.array([0.0, 0.0, 90.0]), np.array([0, 1, 1]), ("a", "b", "c"), 70.0, "here")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a  1 of 1", "b  1 of 2"]


def test_a_photo_is_decoded_whole_and_upright() -> None:
    photo = picture(3, 20, 15)
    assert np.array_equal(decode_whole(encoded(photo, "PNG")), np.asarray(photo))
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_whole(encoded(photo, exif=exif)).shape == (20, 15, 3)
    with pytest.raises(DataError, match="is damaged"):
        decode_whole(encoded(photo)[:200])
