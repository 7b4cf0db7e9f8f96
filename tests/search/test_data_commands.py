"""What the commands around data sets print."""

from __future__ import annotations

import shutil

from drawn_sources import manifest

from lesion.data.prepare import prepare
from search.cli import main


def test_the_command_tells_parts_of_identical_images_and_what_is_prepared(tmp_path, capsys):
    rows = [f"a{i},{'xy'[i % 2]},{('train', 'test')[i > 15]}" for i in range(24)]
    source = manifest(tmp_path / "own", rows, "image,label,part")
    shutil.copy(source / "a0.jpg", source / "a20.jpg")
    assert main(["data", "check", str(source), "--workers", "1"]) == 0
    said = capsys.readouterr().out
    assert "a0 = a20: the same bytes under 2 ids, in parts test and train" in said
    assert "it can be prepared" in said
    packed = prepare(source, tmp_path / "w", size=16, workers=1, look_alikes=False)
    assert main(["data", "check", str(packed.path)]) == 0
    said = capsys.readouterr().out
    assert "it is prepared" in said
    assert "can be prepared" not in said
