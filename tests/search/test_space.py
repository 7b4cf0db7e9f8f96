"""Sampling, branches, identity and the checking of whole spaces."""

from __future__ import annotations

import itertools
import pickle
import tracemalloc
from pathlib import Path

import optuna
import pytest
from optuna.trial import FixedTrial
from small_vocabulary import WORDS

from search.errors import SpaceError
from search.space import Option, Part, Space, Tree, check, difference, load

optuna.logging.set_verbosity(optuna.logging.WARNING)

TEXT = """
data: d
objective: mean_auc
budget: {trials: 8, epochs: 4, hours: 0.5}
scheduler: {asha: {grace: 2}}
seed: 7
space:
  image_size: {choice: [128, 64, 96]}
  views: 2
  decay: {float: [1.0e-4, 1], log: true}
  backbone: {choice: {vgg: {depth: {int: [11, 19], step: 2}}, resnet: {stages: {choice: [1, null]}}}}
  loss:
    choice:
      focal: {gamma: {float: [0, 2], step: 0.5}}
      cross_entropy:
start_with:
  - {loss: focal, loss.focal.gamma: 2, views: 2}
"""
BALANCED = """
data: d
objective: mean_auc
budget: {trials: 8, epochs: 4}
space:
  loss: {choice: {cross_entropy: , focal: , weighted: {exponent: {float: [0, 1]}}}}
  balancing: {choice: {none: , oversample: , downsample: {ratio: {float: [1, 5]}}}}
"""


def space_of(folder: Path, text: str = TEXT) -> Space:
    """The space of a file with this text."""
    path = folder / "my.yaml"
    path.write_text(text)
    return load(path, vocabulary=WORDS)


def test_what_a_study_uses(tmp_path: Path) -> None:
    space = space_of(tmp_path)
    assert (space.name, space.data, space.objective, space.direction) == ("my", "d", "mean_auc", "maximize")
    assert (space.budget.trials, space.budget.epochs, space.budget.hours) == (8, 4, 0.5)
    assert (space.scheduler.grace, space.scheduler.reduction) == (2, 3)  # type: ignore[union-attr]
    assert space.start_with == ({"loss": "focal", "loss.focal.gamma": 2.0},)
    assert load(tmp_path / "my.yaml", data="other", vocabulary=WORDS).data == "other"
    assert pickle.loads(pickle.dumps(space)) == space


def test_a_fixed_trial_gives_complete_settings_with_their_types(tmp_path: Path) -> None:
    point = {"image_size": 64, "decay": 1, "backbone": "vgg", "backbone.vgg.depth": 13, "loss": "cross_entropy"}
    settings = space_of(tmp_path).sample(FixedTrial(point))
    assert settings == {**point, "views": 2}
    assert type(settings["decay"]) is float
    assert type(settings["backbone.vgg.depth"]) is int


def test_only_the_branch_taken_is_asked_for(tmp_path: Path) -> None:
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    settings = space_of(tmp_path).sample(trial)
    assert set(trial.params) == set(settings) - {"views"}
    assert f"loss.{settings['loss']}" == "loss.cross_entropy" or "loss.focal.gamma" in settings


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_the_sampler_of_the_search_finds_its_way_and_points_come_first(tmp_path: Path) -> None:
    space = space_of(tmp_path)
    sampler = optuna.samplers.TPESampler(multivariate=True, group=True, constant_liar=True, seed=0, n_startup_trials=5)
    study = optuna.create_study(sampler=sampler)
    for point in space.start_with:
        study.enqueue_trial(point)
    drawn = []
    for _ in range(12):
        trial = study.ask()
        drawn.append(space.sample(trial))
        WORDS.resolve(drawn[-1])
        study.tell(trial, float(str(drawn[-1]["decay"])))
    assert (drawn[0]["loss"], drawn[0]["loss.focal.gamma"]) == ("focal", 2.0)


def test_another_order_of_a_file_continues_the_same_study(tmp_path: Path) -> None:
    # Optuna refuses the options of a categorical parameter in another order.
    turned = TEXT.replace("[128, 64, 96]", "[64, 96, 128]").replace("      cross_entropy:\n", "")
    turned = turned.replace("      focal:", "      cross_entropy:\n      focal:")
    first, second = space_of(tmp_path), space_of(tmp_path, turned)
    assert first.hash == second.hash
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for space in (first, second, first, second):
        trial = study.ask()
        space.sample(trial)
        study.tell(trial, 0.0)


def test_what_does_not_change_what_a_trial_can_be_does_not_change_the_hash(tmp_path: Path) -> None:
    base = space_of(tmp_path)
    for old, new in (
        ("trials: 8", "trials: 80"),
        ("hours: 0.5", "hours: 5"),
        ("grace: 2", "grace: 1"),
        ("seed: 7", "seed: 8  # lucky"),
        ("data: d", "description: a text\ndata: other"),
        ("loss: focal, ", ""),
        ("float: [0, 2]", "float: [0.0, 2.0]"),
    ):
        text = TEXT.replace(old, new).replace("{loss.focal.gamma: 2, ", "{")
        assert space_of(tmp_path, text).hash == base.hash, new


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("epochs: 4", "epochs: 5", ["epochs: was 4, is 5"]),
        ("mean_auc", "log_loss", ["objective: was mean_auc, is log_loss"]),
        ("views: 2", "views: 4", ["views: was 2, is 4"]),
        ("  views: 2\n", "", ["views: is gone (was 2)"]),
        ("[0, 2], step: 0.5", "[0, 3], step: 0.5", ["loss.focal.gamma: was {float: [0.0, 2.0], step: 0.5}, "
         "is {float: [0.0, 3.0], step: 0.5}"]),
        ("      cross_entropy:\n", "      weighted:\n", ["loss: was cross_entropy, focal, is focal, weighted"]),
        ("  loss:\n", "  balancing: oversample\n  loss:\n", ["balancing: is new (oversample)"]),
    ],
)  # fmt: skip
def test_a_difference_is_said_in_words(tmp_path: Path, old: str, new: str, said: list[str]) -> None:
    before = space_of(tmp_path)
    after = space_of(tmp_path, TEXT.replace(old, new).replace(", views: 2}", "}"))
    assert difference(before.semantics(), after.semantics()) == said
    assert before.hash != after.hash
    assert difference(before.semantics(), before.semantics()) == []


def test_branches_are_the_product_of_the_options(tmp_path: Path) -> None:
    space = space_of(tmp_path)
    branches = [dict(branch.choices) for branch in space.branches()]
    expected = itertools.product(["resnet", "vgg"], ["cross_entropy", "focal"])
    assert branches == [{"backbone": b, "loss": loss} for b, loss in expected]
    assert space.branch_count() == 4
    with pytest.raises(IndexError, match="no branch 4 of 4"):
        space.tree.branch(4)


def test_examples_and_corners_stand_for_their_branch(tmp_path: Path) -> None:
    space = space_of(tmp_path)
    branch = space.tree.branch(3)
    low, high = space.corners(branch)
    middle = space.example(branch)
    assert (low["decay"], high["decay"]) == (0.0001, 1.0)
    assert middle["decay"] == pytest.approx(0.01)
    assert (low["backbone.vgg.depth"], middle["backbone.vgg.depth"], high["backbone.vgg.depth"]) == (11, 15, 19)
    assert [s["loss.focal.gamma"] for s in (low, middle, high)] == [0.0, 1.0, 2.0]
    for settings in (low, middle, high):
        assert space.sample(FixedTrial(settings)) == settings


def test_millions_of_branches_are_counted_at_once_and_walked_in_little_memory() -> None:
    options = tuple(Option(f"o{number}") for number in range(100))
    tree = Tree((), tuple(Part(f"k{number}", options) for number in range(7)))
    assert tree.branch_count() == 100**7
    tracemalloc.start()
    first = [str(branch) for branch in itertools.islice(tree.branches(), 300)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
    assert len(set(first)) == 300
    assert tree.branch(100**7 - 1)["k0"] == "o99"


def test_parameters_are_told_with_their_condition(tmp_path: Path) -> None:
    told = {p.name: (p.distribution, p.condition) for p in space_of(tmp_path).parameters()}
    assert told["decay"] == ("a float from 0.0001 to 1 on a log scale", "")
    assert told["backbone"] == ("one of resnet, vgg", "")
    assert told["backbone.vgg.depth"] == ("an int from 11 to 19 in steps of 2", "backbone is vgg")
    assert told["loss.focal.gamma"] == ("a float from 0 to 2 in steps of 0.5", "loss is focal")
    assert "views" not in told


# -- class imbalance is corrected once ------------------------------------------------------------------------


def test_a_space_that_can_correct_imbalance_twice_is_refused_with_the_ways_out(tmp_path: Path) -> None:
    with pytest.raises(SpaceError) as caught:
        space_of(tmp_path, BALANCED)
    (mistake,) = caught.value.mistakes
    assert mistake.line == 7
    assert mistake.text == (
        "imbalance would be corrected twice, by loss weighted and by balancing downsample or oversample: take one of"
        " the two out, or write 'balance_once: true' to search both but never together, or"
        " 'allow_double_balancing: true' if it is meant"
    )


@pytest.mark.parametrize(("exponent", "refused"), [("0", False), ("{choice: [0, 1]}", True), ("{float: [0, 1]}", True)])
def test_every_value_of_a_setting_counts(tmp_path: Path, exponent: str, refused: bool) -> None:
    text = BALANCED.replace("{float: [0, 1]}", exponent)
    if refused:
        with pytest.raises(SpaceError, match="corrected twice"):
            space_of(tmp_path, text)
    else:
        assert space_of(tmp_path, text).branch_count() == 9


def test_allowed_means_all_combinations(tmp_path: Path) -> None:
    space = space_of(tmp_path, BALANCED + "allow_double_balancing: true\n")
    assert space.allow_double_balancing
    assert space.branch_count() == 9


def test_balance_once_searches_both_and_never_together(tmp_path: Path) -> None:
    space = space_of(tmp_path, BALANCED + "balance_once: true\n")
    branches = list(space.branches())
    assert len(branches) == space.branch_count() == 7
    assert [b["balancing"] for b in branches if b["loss"] == "weighted"] == ["none"]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(60):
        trial = study.ask()
        settings = space.sample(trial)
        study.tell(trial, 0.0)
        seen.add((settings["loss"], settings["balancing"]))
        assert ("balancing" in trial.params) == (settings["loss"] != "weighted")
    assert seen == {(b["loss"], b["balancing"]) for b in branches}
    told = {p.name: p.condition for p in space.parameters()}
    assert told["balancing"] == "unless loss is weighted"


def test_balance_once_is_part_of_the_identity(tmp_path: Path) -> None:
    once = space_of(tmp_path, BALANCED + "balance_once: true\n")
    both = space_of(tmp_path, BALANCED + "allow_double_balancing: true\n")
    assert difference(both.semantics(), once.semantics()) == ["balance_once: is new (true)"]


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ("{loss: weighted, balancing: oversample}", "and so does loss weighted; balance_once excludes that"),
        ("{balancing: oversample}", "and so may the loss, which the point leaves open; balance_once excludes that"),
    ],
)
def test_points_keep_to_balance_once(tmp_path: Path, point: str, message: str) -> None:
    with pytest.raises(SpaceError) as caught:
        space_of(tmp_path, f"{BALANCED}balance_once: true\nstart_with: [{point}]\n")
    assert [m.text for m in caught.value.mistakes] == [f"balancing oversample corrects imbalance, {message}"]


def test_a_point_under_balance_once_is_tried_as_it_stands(tmp_path: Path) -> None:
    points = "[{loss: focal, balancing: oversample}, {loss: weighted}, {loss: weighted, balancing: none}]"
    space = space_of(tmp_path, f"{BALANCED}balance_once: true\nstart_with: {points}\n")
    study = optuna.create_study()
    for point in space.start_with:
        study.enqueue_trial(point)
    drawn = [space.sample(study.ask()) for _ in points.split("}, ")]
    assert [(s["loss"], s["balancing"]) for s in drawn] == [
        ("focal", "oversample"),
        ("weighted", "none"),
        ("weighted", "none"),
    ]


@pytest.mark.parametrize(
    ("balancing", "left"), [("oversample", "none"), ("{choice: [oversample, downsample]}", "none")]
)
def test_balance_once_needs_a_way_not_to_balance(tmp_path: Path, balancing: str, left: str) -> None:
    text = BALANCED[: BALANCED.index("  balancing")] + f"  balancing: {balancing}\nbalance_once: true\n"
    with pytest.raises(SpaceError, match=f"exactly one balancing that corrects nothing must be left.*: {left}"):
        space_of(tmp_path, text)


def test_the_two_ways_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="exclude each other"):
        space_of(tmp_path, BALANCED + "balance_once: true\nallow_double_balancing: true\n")


# -- checking -------------------------------------------------------------------------------------------------


@pytest.mark.slow  # imports torch
def test_check_finds_batches_that_are_too_small_for_the_gpus_of_a_trial(tmp_path: Path) -> None:
    text = "data: x\nobjective: mean_auc\nbudget: {trials: 1, epochs: 1}\nresources: {gpu: GPUS}\n"
    text += "space: {image_size: 32, backbone: squeezenet1_1, batch_size: {choice: [4, 16]}}\n"
    path = tmp_path / "my.yaml"
    for gpus in ("0.5", "2"):
        path.write_text(text.replace("GPUS", gpus))
        assert check(path).sound
    path.write_text(text.replace("GPUS", "4"))
    (problem,) = check(path).problems
    assert problem.message.startswith("batches of 4 cannot be shared by 4 GPUs, of which each needs 2 examples")


def test_check_tries_every_branch_in_the_middle_and_at_both_ends(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(TEXT.replace("[128, 64, 96]", "[64, 128, 600]"))
    report = check(path, vocabulary=WORDS)
    assert (report.branches, report.walked, report.limited, report.sound) == (4, 4, False, False)
    (problem,) = report.problems
    assert problem.branches == 2
    assert problem.settings["image_size"] == 600
    assert str(problem) == (
        "a vgg takes images of 512 pixels at most, for backbone vgg, loss cross_entropy (and 1 more)"
    )


def test_check_says_when_it_has_not_walked_all(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(TEXT)
    report = check(path, limit=3, vocabulary=WORDS)
    assert (report.branches, report.walked, report.limited, report.sound) == (4, 3, True, True)
    assert [p.name for p in report.parameters][:2] == ["decay", "image_size"]
