"""Contact sheets: pixel for pixel, of the training side, and seeded."""

import numpy as np
import pytest
from PIL import Image
from small_data import small_data

from lesion.augment import augmentations
from lesion.contact_sheets import GAP, contact_sheet, draw_policies, sample_rows
from lesion.errors import SettingError
from lesion.figures import write_png


def test_the_sheet_holds_the_images_pixel_for_pixel(tmp_path):
    images = [np.random.default_rng(i).integers(0, 256, (40, 40, 3), dtype=np.uint8) for i in range(5)]
    figure = contact_sheet(
        [images[:3], images[3:]], ["one\nof two", "two"], "A title", columns="abc", captions=["xyz", "uv"]
    )
    with Image.open(write_png(tmp_path / "sheet.png", figure)) as image:
        sheet = np.asarray(image.convert("RGB"))
    windows = np.lib.stride_tricks.sliding_window_view(sheet[..., 0], (40, 40))
    places = [np.argwhere((windows == image[..., 0]).all(axis=(2, 3))) for image in images]
    assert [len(found) for found in places] == [1] * 5
    rows, columns = np.concatenate(places).T
    assert rows[0] == rows[1] == rows[2] < rows[3] == rows[4]
    assert np.diff(columns[:3]).tolist() == [40 + GAP] * 2
    assert columns[0] == columns[3]


def test_samples_are_of_each_class_of_the_training_side():
    data = small_data()
    rows = sample_rows(data, 2, seed=1)
    assert data.labels[rows].tolist() == [0, 0, 1, 1, 2, 2]
    assert set(rows) <= set(data.split().train.tolist())
    assert rows == sample_rows(data, 2, seed=1)
    assert len(sample_rows(data, 100, seed=1)) == len(data.split().train)


def test_every_policy_has_a_sheet_and_the_copies_too(tmp_path):
    paths = draw_policies(small_data(), tmp_path / "new", size=24, per_class=1, draws=1)
    assert [path.name for path in paths] == [f"{name}.png" for name in (*augmentations, "copies")]
    for path in paths:
        with Image.open(path) as image:
            assert image.format == "PNG"


def test_one_policy_is_drawn_the_same_again(tmp_path):
    pair = [
        draw_policies(small_data(), tmp_path / name, ["colour"], size=24, per_class=1, draws=2, seed=3) for name in "ab"
    ]
    assert [len(paths) for paths in pair] == [1, 1]
    assert pair[0][0].read_bytes() == pair[1][0].read_bytes()


def test_an_unknown_policy_is_named_before_anything_is_drawn(tmp_path):
    with pytest.raises(SettingError, match=r"no augmentation 'color'; known: .*did you mean 'colour'"):
        draw_policies(small_data(), tmp_path / "new", ["none", "color"])
    assert not (tmp_path / "new").exists()
