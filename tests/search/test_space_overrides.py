"""``--set PATH=VALUE``: what it overrules, where its mistakes are told, what becomes of the points."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_vocabulary import WORDS

from search.errors import SpaceError
from search.space import Fixed, FloatRange, Space, difference, load

TEXT = """
data: d
objective: mean_auc
budget: {trials: 8, epochs: 4, hours: 0.5}
scheduler: {asha: {grace: 2}}
space:
  image_size: {choice: [64, 96]}
  backbone: {choice: {vgg: {depth: {int: [11, 19]}}, resnet: {stages: 2}}}
  loss:
    choice:
      - cross_entropy
      - focal: {gamma: {float: [0, 2]}}
  balancing: none
start_with:
  - {backbone: resnet, loss: focal, loss.focal.gamma: 1, image_size: 64}
  - {backbone: vgg, backbone.vgg.depth: 13, loss: cross_entropy}
"""


def space_of(folder: Path, *overrides: str, text: str = TEXT, **options: Any) -> Space:
    path = folder / "my.yaml"
    path.write_text(text)
    return load(path, overrides=overrides, vocabulary=WORDS, **options)


def options_of(space: Space, kind: str) -> dict[str, dict[str, object]]:
    (part,) = [part for part in space.tree.parts if part.kind == kind]
    return {option.name: dict(option.settings) for option in part.options}


def test_constants_choices_and_the_budget(tmp_path: Path) -> None:
    space = space_of(
        tmp_path, "image_size=32", "decay=1e-1", "budget.epochs=3", "budget.hours=", "data=other", "seed=9",
        "objective=log_loss", "scheduler.asha.reduction=4", "balance_once=true", "task=melanoma",
    )  # fmt: skip
    assert dict(space.tree.general) == {"image_size": Fixed(32), "decay": Fixed(0.1)}
    assert (space.budget.trials, space.budget.epochs, space.budget.hours) == (8, 3, None)
    assert (space.data, space.seed, space.objective, space.direction) == ("other", 9, "log_loss", "minimize")
    assert (space.scheduler.grace, space.scheduler.reduction) == (2, 4)  # type: ignore[union-attr]
    assert space.tree.balance_once
    assert space.task == [["rest", "rest"], ["melanoma", ["melanoma"]]]


def test_a_component_replaces_the_whole_part_and_is_refined(tmp_path: Path) -> None:
    space = space_of(tmp_path, "backbone=net/r50.a1", "backbone.net/r50.a1.weights=a=b.pth")
    assert options_of(space, "backbone") == {"net/r50.a1": {"weights": Fixed("a=b.pth")}}
    assert space.branch_count() == 2


def test_a_component_that_the_file_has_keeps_what_is_not_given(tmp_path: Path) -> None:
    assert options_of(space_of(tmp_path, "loss=focal"), "loss") == {"focal": {"gamma": FloatRange(0, 2)}}
    space = space_of(tmp_path, "loss={focal: {reduce: sum}}")
    assert options_of(space, "loss") == {"focal": {"gamma": FloatRange(0, 2), "reduce": Fixed("sum")}}
    space = space_of(tmp_path, "loss={choice: [cross_entropy, weighted]}")
    assert options_of(space, "loss") == {"cross_entropy": {}, "weighted": {}}


def test_a_setting_is_changed_in_its_option_alone(tmp_path: Path) -> None:
    space = space_of(
        tmp_path, "loss.focal.gamma={float: [1, 3]}", "loss.cross_entropy.smoothing=0.1", "loss.focal.reduce=sum"
    )
    assert options_of(space, "loss") == {
        "cross_entropy": {"smoothing": Fixed(0.1)},
        "focal": {"gamma": FloatRange(1, 3), "reduce": Fixed("sum")},
    }
    assert options_of(space_of(tmp_path, "backbone.vgg.depth=12"), "backbone")["vgg"] == {"depth": Fixed(12)}


def test_chains_and_what_the_file_does_not_name(tmp_path: Path) -> None:
    space = space_of(tmp_path, "balancing=[oversample: {ratio: 0.5}, downsample]")
    assert options_of(space, "balancing") == {"oversample+downsample": {"oversample.ratio": Fixed(0.5)}}
    text = TEXT.replace("  balancing: none\n", "")
    space = space_of(tmp_path, "balancing=oversample", "balancing.oversample.ratio=0.25", text=text)
    assert options_of(space, "balancing") == {"oversample": {"ratio": Fixed(0.25)}}


def test_the_last_of_two_counts_and_mappings_do_as_well(tmp_path: Path) -> None:
    assert dict(space_of(tmp_path, "image_size=32", "image_size=48").tree.general)["image_size"] == Fixed(48)
    path = tmp_path / "my.yaml"
    given = {"image_size": 48, "loss": {"focal": {"gamma": 1.5}}, "backbone": "resnet", "budget.hours": None}
    space = load(path, overrides=given, vocabulary=WORDS)
    assert options_of(space, "loss") == {"focal": {"gamma": Fixed(1.5)}}
    assert options_of(space, "backbone") == {"resnet": {"stages": Fixed(2)}}
    assert space.budget.hours is None
    again = load(path, overrides=space.overrides, vocabulary=WORDS)
    assert again.semantics() == space.semantics()


def test_what_is_set_is_part_of_the_identity_and_what_changes_nothing_is_not(tmp_path: Path) -> None:
    base, other = space_of(tmp_path), space_of(tmp_path, "loss=focal", "budget.epochs=3")
    assert difference(base.semantics(), other.semantics()) == [
        "epochs: was 4, is 3",
        "loss: was cross_entropy, focal, is focal",
    ]
    same = space_of(tmp_path, "loss.focal.gamma={float: [0.0, 2.0]}", "budget.trials=99")
    assert same.hash == base.hash


MISTAKES = {
    "image_size": "write --set PATH=VALUE, such as --set image_size=128 or --set loss.focal.gamma=2",
    "=3": "write --set PATH=VALUE",
    "image_size=8": "image_size is 8, must be from 16 to 1024",
    "image_size=": "image_size is None, must be int (a value is missing after the colon)",
    "image_sise=64": "no setting of a space file 'image_sise'; known: ",
    "space=3": "no setting of a space file 'space'",
    "extends=a.yaml": "no setting of a space file 'extends'",
    "budget.epoch=3": "no setting of a space file 'budget.epoch'",
    "budget.trials=none": "budget.trials must be a whole number of at least 1",
    "loss=focl": "no loss 'focl'; known: cross_entropy, focal, weighted (did you mean 'focal'?)",
    "loss={focal: {gama: 1}}": "no setting of loss focal 'gama'; known: gamma, reduce (did you mean 'gamma'?)",
    "loss.focal.gama=1": "no setting of loss focal 'gama'; known: gamma, reduce (did you mean 'gamma'?)",
    "loss.focal.gamma=[1, 2]": "loss.focal.gamma is a list; to search over it write {choice: […]}",
    "loss.weighted.exponent=1": "loss.weighted.exponent is set, and the space has no such loss, but cross_entropy,"
    " focal; to have another one, write --set loss=NAME before",
    "loss={a: 1": "this is no YAML: ",
    "loss=!!python/object:os.system x": "the tag tag:yaml.org,2002:python/object:os.system is refused",
    "backbone=vgg": "",
    "objective=mean_acu": "objective: no metric 'mean_acu'",
    "seed=-1": "seed is -1, must be from 0 to 4294967295",
    "task={a: MEL}": "task: it takes one class that is told from the rest, or two groups or more",
    "start_with=3": "start_with must be a list of points",
}


@pytest.mark.parametrize(("override", "message"), MISTAKES.items())
def test_mistakes_are_told_with_set_as_their_place(tmp_path: Path, override: str, message: str) -> None:
    if not message:
        space_of(tmp_path, override)
        return
    with pytest.raises(SpaceError) as caught:
        space_of(tmp_path, override)
    (mistake,) = caught.value.mistakes
    assert str(mistake).startswith(f"--set {override}: {message}")


def test_a_needed_setting_that_is_gone_is_missed(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"^--set backbone=vgg: backbone.vgg needs depth$"):
        space_of(tmp_path, "backbone=vgg", text=TEXT.replace("vgg: {depth: {int: [11, 19]}}, ", ""))


def test_mistakes_of_the_file_and_of_the_command_are_told_together(tmp_path: Path) -> None:
    with pytest.raises(SpaceError) as caught:
        space_of(tmp_path, "image_size=8", text=TEXT.replace("stages: 2", "stages: 9"))
    assert [mistake.line for mistake in caught.value.mistakes] == [0, 8]


# -- points ---------------------------------------------------------------------------------------------------


def test_points_lose_what_an_override_took_away_and_it_is_said(tmp_path: Path) -> None:
    space = space_of(tmp_path, "backbone=net/small")
    assert space.start_with == (
        {"loss": "focal", "loss.focal.gamma": 1.0, "image_size": 64},
        {"loss": "cross_entropy"},
    )
    file = tmp_path / "my.yaml"
    assert space.notes == (
        f"{file}:15: this point loses backbone to --set backbone=net/small",
        f"{file}:16: this point loses backbone, backbone.vgg.depth to --set backbone=net/small",
        "--set backbone=net/small: what the file says of resnet goes with it (stages)",
    )


def test_settings_that_go_with_a_component_are_told(tmp_path: Path) -> None:
    text = TEXT.replace("{vgg: {depth: {int: [11, 19]}}, resnet: {stages: 2}}", "{resnet18: {trainable_layers: 9}}")
    text = text.partition("start_with")[0].replace("balancing: none", "balancing: none\n  optimizer: {sgd: {lr: 0.1}}")
    (tmp_path / "my.yaml").write_text(text)
    space = load(tmp_path / "my.yaml", overrides=["backbone=mobilenet_v2", "image_size=64"])
    assert space.notes == (
        "--set backbone=mobilenet_v2: what the file says of resnet18 goes with it (trainable_layers)",
    )
    for more in ("backbone.mobilenet_v2.trainable_layers=3", "backbone={resnet18: {weights: none}}"):
        assert not load(
            tmp_path / "my.yaml", overrides=["backbone=mobilenet_v2", more][more.startswith("backbone=") :]
        ).notes
    other = load(tmp_path / "my.yaml", overrides={"optimizer": "adamw"})
    assert other.notes == ('--set optimizer="adamw": what the file says of sgd goes with it (lr)',)


def test_a_point_that_agrees_with_the_override_loses_nothing(tmp_path: Path) -> None:
    space = space_of(tmp_path, "backbone={vgg: {depth: 13}}", "loss=cross_entropy")
    assert space.start_with == ({"image_size": 64},)
    (first, second) = space.notes
    assert first.endswith(
        "loses backbone, loss, loss.focal.gamma to --set backbone={vgg: {depth: 13}}, --set loss=cross_entropy"
    )
    assert second.endswith(":16: this point is left out: nothing of it is searched now")


def test_points_that_become_alike_are_one(tmp_path: Path) -> None:
    text = TEXT.replace("loss: focal, loss.focal.gamma: 1, image_size: 64}", "image_size: 64}")
    text = text.replace("backbone.vgg.depth: 13, loss: cross_entropy}", "image_size: 64}")
    space = space_of(tmp_path, "backbone=net/small", text=text)
    assert space.start_with == ({"image_size": 64},)
    assert space.notes[1].endswith("to --set backbone=net/small, and is left out: it is one of the others now")


def test_a_value_that_left_the_range_is_lost(tmp_path: Path) -> None:
    space = space_of(tmp_path, "loss.focal.gamma={float: [1.5, 2]}")
    assert space.start_with[0] == {"backbone": "resnet", "loss": "focal", "image_size": 64}
    assert "loses loss.focal.gamma to --set" in space.notes[0]


def test_what_no_override_touched_is_a_mistake_still(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"my.yaml:16: no backbone in this space 'alexnet'"):
        space_of(
            tmp_path, "loss=focal", text=TEXT.replace("{backbone: vgg, backbone.vgg.depth: 13", "{backbone: alexnet")
        )


def test_a_point_that_would_now_balance_twice_loses_its_balancing(tmp_path: Path) -> None:
    text = TEXT.replace("balancing: none", "balancing: {choice: [none, oversample]}\nbalance_once: true")
    text = text.replace("loss: cross_entropy}", "loss: cross_entropy, balancing: oversample}")
    assert not space_of(tmp_path, text=text).notes
    space = space_of(tmp_path, "loss={weighted: {exponent: 1}}", text=text)
    assert space.start_with[1] == {"backbone": "vgg", "backbone.vgg.depth": 13}
    assert "loses loss, balancing to --set loss" in space.notes[1]
