"""A space searches `external` where the data have external photos, and is the same space as ever without it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from small_data import small_data, with_external

sys.path.append(str(Path(__file__).parents[1] / "data"))
from drawn_sources import isic2017

from lesion.data.packed import EXTERNAL
from lesion.data.prepare import prepare
from lesion.errors import SettingError
from search import cli
from search.preflight import require_external
from search.space import Space, check, load
from search.study import run_study
from search.workspace import open_workspace

HEAD = "data: isic2017_external\nobjective: mean_auc\nbudget: {trials: 2, epochs: 2}\n"


def space_of(folder: Path, settings: str) -> Space:
    path = folder / "my.yaml"
    path.write_text(f"{HEAD}space: {{{settings}}}\n")
    return load(path)


def test_it_is_searched_where_there_are_any(tmp_path: Path) -> None:
    space = space_of(tmp_path, "external: {choice: [0.0, 1.0]}")
    require_external(space, with_external(small_data()))
    with pytest.raises(SettingError, match=r"my.yaml:4: external is searched \(0, 1\), but data set drawn has no ext"):
        require_external(space, small_data())
    epochs = space_of(tmp_path, "external_epochs: {choice: [0.5, 1.0]}")
    require_external(epochs, with_external(small_data()))
    with pytest.raises(SettingError, match=r"external_epochs is searched \(0.5, 1\), but data set drawn has no ext"):
        require_external(epochs, small_data())
    for fixed in ("image_size: 32", "external: 0.0", "external: 1.0"):
        require_external(space_of(tmp_path, fixed), small_data())
    assert check(tmp_path / "my.yaml").sound
    (parameter,) = space.parameters()
    assert parameter.name == EXTERNAL


def test_a_space_without_it_has_the_hash_it_had_before_there_was_any(tmp_path: Path) -> None:
    settings = "image_size: 32, loss: {choice: [cross_entropy, focal]}"
    without = space_of(tmp_path, settings)
    assert without.semantics()["general"] == {"image_size": 32}
    assert without.hash == "90c8db8919f7194f8618cbfcdd352760e32df6b79251e536ecd18469b1191b3b"
    assert space_of(tmp_path, f"{settings}, external: 0.0").hash != without.hash


def test_check_and_run_refuse_to_search_it_on_data_without(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = open_workspace(tmp_path / "w")
    prepare(isic2017(tmp_path / "source"), place.path, name="isic2017_external", size=16, workers=1, look_alikes=False)
    space = space_of(tmp_path, "image_size: 32, backbone: squeezenet1_1, external: {choice: [0.0, 1.0]}")
    words = ["check", str(space.path), "--workspace", str(place.path)]
    assert cli.main(words) == 2
    assert "external is searched (0, 1), but data set isic2017_external has no external" in " ".join(
        capsys.readouterr().out.split()
    )
    assert cli.main([*words, "--set", "external=1.0"]) == 0
    with pytest.raises(SettingError, match="every value trains the same"):
        run_study(space, place)
