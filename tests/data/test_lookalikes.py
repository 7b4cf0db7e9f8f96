"""One photo under two ids is found whichever way it lies, and other photos are not."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_sources import encoded, manifest, picture
from PIL import Image

from lesion.data.decode import decode
from lesion.data.lookalikes import look_alike
from lesion.data.prepare import prepare


def texture(seed: int) -> np.ndarray:
    blobs = Image.fromarray(np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8))
    return np.asarray(blobs.resize((40, 40), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("flipped", [False, True])
def test_flips_and_turns_are_seen_through(turns, flipped):
    one = texture(0)
    other = np.rot90(one[:, ::-1] if flipped else one, turns)
    images = np.stack([texture(1), one, texture(2), other, texture(3)])
    ((a, b, cosine),) = look_alike(images, range(5))
    assert (a, b) == (1, 3)
    assert cosine > 0.999


def test_saving_again_and_other_light_are_seen_through():
    one = texture(0)
    again = decode(encoded(Image.fromarray(one), "JPEG", quality=85), 40, "stretch")
    darker = (one * 0.8).astype(np.uint8)
    pairs = look_alike(np.stack([one, again, darker]), range(3))
    assert {(a, b) for a, b, _ in pairs} == {(0, 1), (0, 2), (1, 2)}


def test_only_the_rows_asked_for_are_compared_and_flat_ones_are_like_nothing():
    flat = np.full((40, 40, 3), 90, np.uint8)
    images = np.stack([texture(0), texture(0), flat, flat])
    assert look_alike(images, [0, 2, 3]) == []
    assert [(a, b) for a, b, _ in look_alike(images, [3, 1, 0])] == [(1, 2)]


def test_look_alikes_stay_together_unless_that_is_not_wanted(tmp_path):
    source = manifest(tmp_path / "own", [f"a{i},{i % 2}" for i in range(24)])
    photo = picture(0, 80, 60)
    (source / "a0.jpg").write_bytes(encoded(photo))
    (source / "a3.jpg").write_bytes(encoded(photo.transpose(Image.Transpose.ROTATE_180), quality=90))
    data = prepare(source, tmp_path / "w", size=16, workers=1, test=0)
    group = data.table.set_index("image")["group"]
    assert group["a0"] == group["a3"]
    assert len(set(group)) == 23
    (finding,) = data.manifest["findings"]
    assert finding["kind"] == "alike"
    assert finding["message"].startswith("a0 ~ a3: look alike (0.99")
    assert "under different labels" in finding["message"]
    apart = prepare(source, tmp_path / "w", size=16, workers=1, test=0, name="apart", look_alikes=False)
    assert apart.table["group"].nunique() == 24
