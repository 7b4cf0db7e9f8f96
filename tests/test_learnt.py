"""What weights have learnt from: kept with a file of them, joined along the way, looked for in a test part."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy

from lesion.learnt import METADATA, MOST, Learnt, metadata_of, of_weights, photos_in


def weights(path: Path, metadata: dict[str, str] | None) -> Path:
    safetensors.numpy.save_file({"w": np.zeros(3, np.float32)}, path, metadata)
    return path


def test_a_file_says_what_it_has_learnt_from(tmp_path: Path) -> None:
    told = Learnt(("isic2018 (content 0123456789ab)",), frozenset({"a" * 16, "b" * 16}), whole=True)
    assert of_weights(weights(tmp_path / "mine.safetensors", metadata_of(told))) == told
    silent = weights(tmp_path / "silent.safetensors", metadata_of(None))
    assert of_weights(silent) is None
    assert of_weights(tmp_path / "gone.safetensors") is None
    (tmp_path / "torn.safetensors").write_bytes(silent.read_bytes()[:9])
    (tmp_path / "old.pth").write_bytes(b"")
    assert of_weights(tmp_path / "torn.safetensors") is of_weights(tmp_path / "old.pth") is None


@pytest.mark.parametrize(
    "kept",
    ["{", "[]", '"x"', '{"data": []}', '{"data": ["a"], "photos": "xyz", "whole": true}', '{"data": [1], "photos": ""}',
     '{"data": ["a"], "photos": "", "whole": 1}'],
)  # fmt: skip
def test_what_somebody_else_wrote_there_is_not_taken(tmp_path: Path, kept: str) -> None:
    assert of_weights(weights(tmp_path / "w.safetensors", {METADATA: kept})) is None


def test_names_of_strangers_are_one_line_each(tmp_path: Path) -> None:
    kept = json.dumps({"data": ["a\n# A heading " + "x" * 500], "photos": "", "whole": False})
    (name,) = of_weights(weights(tmp_path / "w.safetensors", {METADATA: kept})).data  # type: ignore[union-attr]
    assert "\n" not in name
    assert len(name) == 200


def test_both_are_known_where_both_are() -> None:
    one, other = Learnt(("a",), frozenset({"1" * 16}), whole=True), Learnt(("b", "a"), frozenset({"2" * 16}))
    assert one | other == Learnt(("a", "b"), frozenset({"1" * 16, "2" * 16}), whole=False)
    many = Learnt(("c",), frozenset(f"{n:016x}" for n in range(MOST)), whole=True)
    assert one | many == Learnt(("a", "c"), frozenset(), whole=False)  # no list of some of them


def test_photos_without_a_digest_are_none() -> None:
    table = pd.DataFrame({"image": ["a", "b", "c"], "digest": ["c" * 64, "", "d" * 64]})
    assert photos_in(table) == {"c" * 16, "d" * 16}
    assert photos_in(table.drop(columns="digest")) == frozenset()
