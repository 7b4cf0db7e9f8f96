"""``explain`` as a command: its target, photos that cannot be read, people of a list, more than a batch, `--sanity`."""

from __future__ import annotations

import json
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lesion import photos
from lesion.explain import BATCH
from lesion.predictor import Predictor
from search.cli import main

sys.path.insert(0, str(Path(__file__).parents[1]))
from small_models import CLASSES, member

PHOTOS = BATCH + 2
TORN = 2
"""Which of the photos cannot be read: in the first batch, so that all after it stand one place further."""
SIDE = 96
"""Pixels of which the network makes a map of 5 × 5."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Photos that differ in nothing but the person, who is known from a list; one of them is torn."""
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 255, (4, 5, 3), np.uint8)
    Image.fromarray(pixels).resize((40, 40)).save("0.png")
    content = Path("0.png").read_bytes()
    lines = ["image,label,age,sex,site"]
    for k in range(PHOTOS):
        Path(f"{k}.png").write_bytes(content[:60] if k == TORN else content)
        lines.append(f"{k}.png,{CLASSES[k % 3]},{5 * k},{('male', 'female')[k % 2]},{('back', 'face', '')[k % 3]}")
    Path("list.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.mark.slow
def test_a_torn_photo_moves_nobody_to_another_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(photos, "PORTION", BATCH + 1)  # two batches, and one photo that is decoded after them
    model = Predictor((member(3, size=32, metadata="concatenate"),), CLASSES)
    model.save(folder / "model")
    assert main(["explain", "model", "list.csv", "--out", "why", "--json"]) == 1
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert list(told["broken"]) == [f"{TORN}.png"]
    assert f"{TORN}.png" in said.err
    assert f"{PHOTOS - 1} photos explained in why" in said.err
    people = pd.read_csv("list.csv", keep_default_na=False)
    found = {path.stem: json.loads(path.read_text()) for path in Path("why").glob("*.json")}
    assert sorted(found, key=int) == [str(k) for k in range(PHOTOS) if k != TORN]
    assert told["sheets"] == ["why/contact_sheet.png"]
    for k in map(int, found):
        facts, who = found[str(k)], people.iloc[[k]].replace({"site": {"": "unknown"}})
        expected = model.predict([Path(f"{k}.png")], who)[0]
        assert list(facts["probabilities"].values()) == pytest.approx(expected, abs=1e-6)
        assert (facts["image"], facts["true"]) == (f"{k}.png", CLASSES[k % 3])
        assert facts["target"] == facts["predicted"] == CLASSES[int(expected.argmax())]
    # Or it would not show whose probabilities they are.
    assert len({round(facts["confidence"], 5) for facts in found.values()}) == len(found)


@pytest.mark.slow
def test_any_class_can_be_the_target_and_the_maps_are_of_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Predictor((member(size=SIDE, image_size=SIDE),), CLASSES, views=2).save(folder / "model")
    maps = {}
    for name in CLASSES:
        words = ["explain", "model", "0.png", "1.png", "--target", name, "--views", "1", "--out", name, "--json"]
        assert main(words) == 0
        assert json.loads(capsys.readouterr().out)["broken"] == {}
        facts = [json.loads(Path(name, f"{k}.json").read_text()) for k in (0, 1)]
        assert [(each["target"], each["views"], each["true"]) for each in facts] == [(name, 1, None)] * 2
        maps[name] = np.load(f"{name}/0_gradcam_raw.npy", allow_pickle=False)
        assert facts[0]["predicted"] == facts[1]["predicted"]  # one decision, and three targets
    assert not any(np.allclose(maps[a], maps[b], atol=0.05) for a, b in combinations(CLASSES, 2))
    assert main(["explain", "model", "0.png", "--target", "melanom", "--out", "none"]) == 2
    assert "did you mean 'melanoma'" in capsys.readouterr().err


@pytest.mark.slow
def test_sanity_compares_the_photos_that_could_be_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Predictor((member(3, size=SIDE, image_size=SIDE, metadata="concatenate"),), CLASSES).save(folder / "model")
    short = Path("list.csv").read_text().splitlines()[: TORN + 3]
    Path("short.csv").write_text("\n".join(short) + "\n")
    words = ["explain", "model", "short.csv", "--target", "melanoma", "--out", "why", "--sanity", "--json"]
    assert main(words) == 1
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert list(told["broken"]) == [f"{TORN}.png"]
    parts = list(told["sanity"])
    assert parts[:2] == ["nothing", "head"]
    assert parts[-1] == "stage 1"
    assert told["sanity"]["nothing"] == 1.0
    assert abs(told["sanity"]["stage 1"]) < 0.6
    shown = " ".join(said.err.split())
    sound = len(short) - 2  # the head of the list, and the torn one
    assert f"of {told['sanity_photos']} of {sound} photos" in shown
    assert told["sanity_told"] in shown
    assert f"{told['sanity']['stage 1']:.2f} when all is random" in told["sanity_told"]
    assert "weights made random from the head downwards" in " ".join(said.err.split())
