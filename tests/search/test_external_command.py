"""``data prepare --external``: what it prints, and what it says of options that do not fit."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "data"))
from drawn_sources import isic2017, others

from lesion.data.packed import PackedDataset
from search import cli


@pytest.fixture
def sources(tmp_path: Path) -> tuple[str, str]:
    return str(isic2017(tmp_path / "ours")), str(others(tmp_path / "theirs"))


def prepared(sources: tuple[str, str], tmp_path: Path, *more: str) -> int:
    words = ["data", "prepare", sources[0], "--size", "16", "--workers", "1", "--folds", "2"]
    return cli.main([*words, "--workspace", str(tmp_path / "w"), *more])


def test_a_source_is_added_by_the_command(
    sources: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--external", sources[1], "--as", "melanoma=MEL", "--as", "nevus=NV"]
    assert prepared(sources, tmp_path, *more) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "class train validation external test together" in said
    assert "melanoma 8 4 4 3 19" in said
    assert "all 24 12 8 9 53" in said
    assert "official 32 12" in said
    assert "external: 8 photos of theirs, trained on in every split and never validated on (MEL as melanoma, " in said
    assert "left out of theirs: 4 of class DF" in said
    assert PackedDataset.open(tmp_path / "w" / "data" / "isic2017_external").splits
    assert prepared(sources, tmp_path, *more, "--most", "2", "--name", "few") == 0
    assert "all 24 12 4 9 49" in " ".join(capsys.readouterr().out.split())
    assert cli.main(["data", "check", str(tmp_path / "w" / "data" / "few")]) == 0
    assert "class train validation external together" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--as", "melanoma=MEL", "--most", "3"], "--as and --most without --external: name the source"),
        (["--external", "THEIRS"], "which of its classes is which? Say so with --as OURS=THEIRS"),
        (["--external", "THEIRS", "--as", "melanoma"], "'melanoma' is not OURS=THEIRS, e.g. melanoma=MEL"),
        (["--external", "THEIRS", "--as", "melanoma=MEL", "--as", "nevus=MEL"], "MEL cannot be melanoma and nevus"),
        (["--external", "THEIRS", "--as", "mel=MEL"], "source isic2017: no class 'mel'; known: melanoma, nevus"),
        (["--external", "nowhere", "--as", "nevus=NV"], "nowhere: no such file or folder"),
    ],
)
def test_what_is_wrong_with_its_options_is_told(
    sources: tuple[str, str], tmp_path: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [sources[1] if word == "THEIRS" else word for word in more]
    try:
        code = prepared(sources, tmp_path, *words)
    except SystemExit as end:
        code = int(end.code or 0)
    assert code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "w" / "data" / "isic2017_external").exists()
