"""Draws among neighbours are computed once, and shared between trials."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from lesion.balancing import Draws, Part, balancings, store
from lesion.balancing.store import drawn, seeks_on
from lesion.balancing.vectors import Pixels
from lesion.errors import DataError, SettingError

LABELS = np.repeat([0, 1], [9, 30])
IMAGES = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 3), dtype=np.uint8)
ROWS = np.arange(5, 44)


def part_of(size=8, key="drawn"):
    return Part(LABELS, ("melanoma", "nevus"), {"pixels": Pixels(IMAGES, ROWS, size)}, key=key)


def draw(folder, name="smote", part=None, seed=0, **settings):
    complete = balancings[name].fill({"on": "pixels", "neighbours": 3, **settings} if name == "smote" else settings)
    return drawn(part or part_of(), name, complete, np.random.default_rng(seed), folder)


def same(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("row", "partner", "blend", "copy"))


def test_what_one_trial_drew_the_next_one_reads(tmp_path, monkeypatch):
    first = draw(tmp_path, seed=0)
    (file,) = tmp_path.glob("*.npz")
    monkeypatch.setattr("lesion.balancing.store._build", lambda *a: pytest.fail("computed again"))
    assert same(draw(tmp_path, seed=1), first)
    assert file.stat().st_size < 20000


def test_without_a_folder_the_same_is_drawn(tmp_path):
    assert same(draw(None, seed=4), draw(tmp_path, seed=0))


def test_other_data_size_or_settings_are_other_draws(tmp_path):
    draw(tmp_path)
    draw(tmp_path, part=part_of(size=4))
    draw(tmp_path, part=part_of(key="other images"))
    draw(tmp_path, part=replace(part_of(), labels=LABELS[::-1].copy()))
    draw(tmp_path, neighbours=4)
    assert len(list(tmp_path.glob("*.npz"))) == 5


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b[:300] + b"oops" + b[304:], lambda b: b""])
def test_damaged_draws_are_made_again(tmp_path, damage, caplog):
    first = draw(tmp_path)
    (file,) = tmp_path.glob("*.npz")
    file.write_bytes(damage(file.read_bytes()))
    assert same(draw(tmp_path), first)
    assert "is damaged" in caplog.text
    assert same(draw(tmp_path), first)


def test_what_seeks_no_neighbours_is_drawn_anew_for_each_trial(tmp_path):
    one, other = (draw(tmp_path, "cap", seed=seed, count=9) for seed in (0, 1))
    assert not np.array_equal(one.row, other.row)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=f"the draws of smote cannot be kept in {tmp_path}/file"):
        draw(tmp_path / "file")


def test_a_chain_seeks_on_one_kind_of_vectors():
    settings = balancings["smote+tomek"].fill({"smote.on": "pixels"})
    with pytest.raises(SettingError, match=r"smote.on pixels and tomek.on features: a chain seeks on one"):
        seeks_on(settings)


def test_trials_at_once_compute_once(tmp_path, monkeypatch):
    calls = []

    def slow_build(*arguments):
        calls.append(arguments)
        time.sleep(0.05)
        return build(*arguments)

    build = store._build
    monkeypatch.setattr(store, "_build", slow_build)
    with ThreadPoolExecutor(3) as pool:
        one, *others = pool.map(lambda _: draw(tmp_path), range(3))
    assert len(calls) == 1
    assert all(same(one, other) for other in others)


def test_pixels_are_those_that_are_shown_and_their_distances_exact():
    pixels = Pixels(IMAGES, ROWS, 8)
    read = pixels.read(np.array([0, 3]), np.array([0, 1], np.int8))
    assert np.array_equal(read[0], IMAGES[5].reshape(-1).astype(float) - 128)
    assert np.array_equal(read[1], IMAGES[8][:, ::-1].reshape(-1).astype(float) - 128)
    assert Pixels(IMAGES, ROWS, 4).read(np.array([0]), np.array([2], np.int8)).shape == (1, 48)


def test_smote_on_pixels_seeks_by_pixels_and_by_nothing_else():
    part, draws = part_of(), Draws.everything(39)
    smote = balancings["smote"].build(part, draws, np.random.default_rng(0), on="pixels", neighbours=1)
    new = smote.take(smote.synthetic)
    flat = IMAGES[ROWS[:9]].reshape(9, -1).astype(float)
    distances = np.linalg.norm(flat[:, None] - flat, axis=2) + np.diag(np.full(9, np.inf))
    assert np.array_equal(new.partner, distances.argmin(axis=1)[new.row])
