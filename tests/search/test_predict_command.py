"""``predict`` as a command: what would keep its results from being written is found out before photos are judged."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lesion.predictor import Predictor
from search.cli import main

sys.path.insert(0, str(Path(__file__).parents[1]))
from small_models import CLASSES, member


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model's folder, and three photos of which two have one id."""
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 255, (4, 5, 3), np.uint8)
    for name in ("a.jpg", "a.png", "b.jpg"):
        Image.fromarray(pixels).resize((40, 40)).save(name)
    Path("list.csv").write_text("image\na.jpg\nb.jpg\n")
    Predictor((member(),), CLASSES).save(tmp_path / "model")
    return tmp_path


@pytest.fixture
def unjudged(monkeypatch: pytest.MonkeyPatch) -> None:
    """No photo may be judged."""
    monkeypatch.setattr(Predictor, "predict_files", lambda *_, **__: pytest.fail("photos were judged"))


@pytest.mark.usefixtures("folder", "unjudged")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.jpg", "a.png", "--output", "o.csv"], r"--output o.csv: image id a occurs twice \(a.jpg, a.png\)"),
        (["a.jpg", "--table", "no/t.csv"], "--table no/t.csv cannot be written: there is no folder no"),
        (["a.jpg", "--output", "model"], "--output model is a folder; name a file in it"),
        (["list.csv", "--table", "./list.csv"], "--table list.csv is one of the files that are read"),
        (["a.jpg", "--table", "t.csv", "--output", "../{here}/t.csv"], "--table and --output are one file, t.csv"),
    ],
)
def test_what_cannot_be_written_is_said_before_a_photo_is_judged(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert main(["predict", "model", *(word.format(here=tmp_path.name) for word in words)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(message, line), line
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("command", [["predict"], ["explain", "--out", "why"]])
def test_photos_of_which_none_is_there_are_wrong_input(
    command: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("moved.csv").write_text("image\nc.jpg\nd.jpg\n")
    words = [*command, "model"]
    assert main([*words, "nowhere.jpg"]) == 2
    assert capsys.readouterr().err == "nowhere.jpg: no such file or folder\n"
    assert main([*words, "moved.csv"]) == 2
    assert capsys.readouterr().err == "c.jpg: no such file or folder\nand so it is with all 2 photos that were given\n"
    assert not Path("why").exists()
    # One that is there is judged, and one that is there and is no photo is told of, as ever.
    assert main([*words, "nowhere.jpg", "a.jpg"]) == 1
    assert "nowhere.jpg cannot be read: No such file" in capsys.readouterr().err
    Path("torn.jpg").write_bytes(b"")
    assert main([*words, "torn.jpg"]) == 1


def test_the_table_does_not_wait_for_the_official_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lesion.judgements.write_submission", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    assert main(["predict", "model", "a.jpg", "b.jpg", "--table", "t.csv", "--output", "o.csv"]) == 1
    assert pd.read_csv("t.csv")["image"].tolist() == ["a.jpg", "b.jpg"]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("words", [["predict", "model", "a.jpg"], ["explain", "model", "a.jpg", "--out", "why"]])
def test_who_interrupts_is_told_that_it_begins_anew(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Predictor, "parts", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(words) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted; the same command begins anew"
