"""What a file takes over from the one it extends."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_vocabulary import WORDS

from search.errors import SpaceError
from search.space import Fixed, FloatRange, Space, load

BASE = """
name: base
description: what the others share
data: d
objective: mean_auc
budget: {trials: 8, epochs: 4}
seed: 3
space:
  image_size: {int: [64, 96]}
  loss: {choice: {focal: {gamma: {float: [1, 2]}, reduce: sum}, cross_entropy: {smoothing: 0.1}}}
start_with: [{loss: focal, loss.focal.gamma: 1.5}]
"""


def extended(folder: Path, child: str) -> Space:
    """The space of a child of BASE."""
    (folder / "base.yaml").write_text(BASE)
    (folder / "child.yaml").write_text("extends: base.yaml\n" + child)
    return load(folder / "child.yaml", vocabulary=WORDS)


def losses(space: Space) -> dict[str, dict[str, object]]:
    """The loss's options with their settings."""
    return {option.name: dict(option.settings) for option in space.tree.parts[0].options}


def test_what_the_child_does_not_say_is_the_parents(tmp_path: Path) -> None:
    space = extended(tmp_path, "budget: {epochs: 9}\nspace: {decay: 0.5}\n")
    assert (space.seed, space.budget.trials, space.budget.epochs) == (3, 8, 9)
    assert set(dict(space.tree.general)) == {"image_size", "decay"}
    assert len(space.start_with) == 1


def test_name_and_description_are_a_files_own(tmp_path: Path) -> None:
    space = extended(tmp_path, "")
    assert (space.name, space.description) == ("child", "")


def test_a_setting_is_replaced_whole(tmp_path: Path) -> None:
    space = extended(tmp_path, "space: {image_size: {choice: [64, 128]}}\n")
    assert str(dict(space.tree.general)["image_size"]) == "one of 64, 128"


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("weighted", {"weighted": {}}),
        ("focal", {"focal": {"gamma": FloatRange(1, 2), "reduce": Fixed("sum")}}),
        ("{focal: {gamma: 3}}", {"focal": {"gamma": Fixed(3.0), "reduce": Fixed("sum")}}),
        (
            "{choice: [weighted, {focal: {gamma: 3}}]}",
            {"weighted": {}, "focal": {"gamma": Fixed(3.0), "reduce": Fixed("sum")}},
        ),
        ("{choice: {cross_entropy: , weighted: }}", {"cross_entropy": {"smoothing": Fixed(0.1)}, "weighted": {}}),
    ],
)
def test_the_childs_options_are_the_options(tmp_path: Path, loss: str, expected: object) -> None:
    assert losses(extended(tmp_path, f"space: {{loss: {loss}}}\nstart_with: []\n")) == expected


def test_a_parent_that_lists_its_options(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        BASE.replace("{choice: {focal: {gamma", "{choice: [{focal: {gamma")
        .replace("cross_entropy: {smoothing: 0.1}}}", "cross_entropy: {smoothing: 0.1}}]}")
        .replace("sum}, cross", "sum}}, {cross")
    )
    (tmp_path / "child.yaml").write_text("extends: base.yaml\nspace: {loss: cross_entropy}\nstart_with: []\n")
    assert losses(load(tmp_path / "child.yaml", vocabulary=WORDS)) == {"cross_entropy": {"smoothing": Fixed(0.1)}}


def test_the_same_space_written_out_has_the_same_hash(tmp_path: Path) -> None:
    child = extended(tmp_path, "space: {decay: 0.5}\n")
    (tmp_path / "whole.yaml").write_text(BASE.replace("space:\n", "space:\n  decay: 0.5\n"))
    assert load(tmp_path / "whole.yaml", vocabulary=WORDS).hash == child.hash


def test_a_mistake_is_told_in_the_file_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE.replace("smoothing: 0.1", "smoothing: 7"))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "child.yaml").write_text("extends: ../base.yaml\nspace: {decay: 2}\n")
    with pytest.raises(SpaceError) as caught:
        load(tmp_path / "sub" / "child.yaml", vocabulary=WORDS)
    assert [(Path(m.file), m.line) for m in caught.value.mistakes] == [
        (tmp_path / "base.yaml", 10),
        (tmp_path / "sub" / "child.yaml", 2),
    ]


def test_circles_and_missing_parents(tmp_path: Path) -> None:
    for name, target in (("a", "b"), ("b", "a"), ("self", "self"), ("lost", "nowhere")):
        (tmp_path / f"{name}.yaml").write_text(f"data: d\nextends: {target}.yaml\n")
    for name, message in (("a", "goes round in a circle"), ("self", "goes round"), ("lost", "which is no file")):
        with pytest.raises(SpaceError, match=rf"\.yaml:2: extends .*{message}"):
            load(tmp_path / f"{name}.yaml", vocabulary=WORDS)


def test_a_long_line_of_parents_is_refused(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number}.yaml").write_text(f"extends: {number + 1}.yaml\n")
    with pytest.raises(SpaceError, match="more than 16 files that extend one another"):
        load(tmp_path / "0.yaml", vocabulary=WORDS)
