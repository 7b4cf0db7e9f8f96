"""Every space file of the repository: it loads, every branch resolves, and every pair of its options is trained."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from tiny_data import data_for

from lesion.data.packed import PackedDataset
from lesion.errors import SettingError
from lesion.settings import REGISTRIES, resolve
from lesion.taxonomy import Taxonomy
from lesion.training import Training
from search.preflight import require_judge, task_of
from search.space import Branch, Space, check, check_space, load

optuna.logging.set_verbosity(optuna.logging.WARNING)

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "spaces").rglob("*.yaml"))
NAMES = [str(path.relative_to(ROOT)) for path in FILES]
LARGE_ARE_SLOW = [
    # A published run is one branch; a file beside them has up to thousands.
    pytest.param(path, id=name, marks=[pytest.mark.slow] if name.count("/") == 1 and path.stem != "smoke" else [])
    for path, name in zip(FILES, NAMES, strict=True)
]


def test_there_are_space_files() -> None:
    assert FILES


@pytest.mark.parametrize("path", LARGE_ARE_SLOW)
def test_every_branch_resolves(path: Path) -> None:
    report = check(path, limit=300)
    assert report.sound, "\n".join(map(str, report.problems))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("{image_size: 100, backbone: maxvit_t}", "cannot take images of 100 pixels"),
        ("{backbone: {resnet18: {trainable_stages: {int: [1, 9]}}}}", "trainable_stages is 9, but the backbone has 5"),
        ("{balancing: [copies: {of: MELL}, cap: {of_class: MEL}]}", "balancing copies+cap: no class 'MELL'; known: "),
        ("{loss: {cost_matrix: {file: none.csv}}}", "loss cost_matrix: "),
        (
            "{head: {taxonomy_decoder: {taxonomy: isic2017_three_levels_sk_benign}}, "
            "loss: {path: {taxonomy: isic2017}}}",
            "loss path: the head spells along taxonomy isic2017_three_levels_sk_benign, the loss teaches isic2017: ",
        ),
    ],
)
def test_a_model_that_cannot_be_built_is_found_without_building_it(tmp_path: Path, settings: str, message: str) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(f"data: d\nobjective: mean_auc\nbudget: {{trials: 8, epochs: 4}}\nspace: {settings}\n")
    (problem,) = check(path).problems
    assert message in problem.message


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_what_is_sampled_resolves_and_points_are_tried(path: Path) -> None:
    space = load(path)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for point in space.start_with:
        study.enqueue_trial(point)
    for number in range(len(space.start_with) + 5):
        trial = study.ask()
        settings = space.sample(trial)
        resolve(settings)
        if number < len(space.start_with):
            assert settings.items() >= space.start_with[number].items()


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_it_says_what_it_is_for(path: Path) -> None:
    assert load(path).description


def test_no_two_files_share_a_study() -> None:
    names = [load(path).name for path in FILES]
    assert len(set(names)) == len(names)


# -- trained ----------------------------------------------------------------------------------------------------------

SMALL = "mobilenet_v3_small"
SIZES = (32, 64, 128, 224)
EXHAUSTED = int(os.environ.get("LESION_BRANCHES", "8"))
"""Spaces of so few branches are trained in all of them; of others, with up to 2940, each pair of options that can meet
is trained together: about 74 branches, 25 s of a core for the largest. ``make branches`` trains all of all of them:
3999 branches on 2026-11-23, in 14 minutes of two cores beside other work, none failed."""


@pytest.mark.timeout(1200 + EXHAUSTED)
@pytest.mark.parametrize("path", LARGE_ARE_SLOW)
def test_every_pair_of_options_goes_through_a_real_training_step(path: Path, tmp_path: Path) -> None:
    space = shrunk(path)
    data = data_for(space)
    task = task_of(space, data)
    data = data if task is None else task.apply(data)
    require_judge(space, data)
    problems = []
    for branch in covering(space):
        try:
            train(space, branch, data, tmp_path)
        except Exception as error:
            problems.append(f"{branch}: {type(error).__name__}: {error}")
    assert not problems, "\n".join(problems)


def train(space: Space, branch: Branch, data: PackedDataset, cache: Path) -> Training:
    """One step of one branch, in the middle of every range, and what must hold after it."""
    settings = space.example(branch)
    training = Training(settings, data, split=space.split, epochs=1, seed=0, device=torch.device("cpu"), cache=cache)
    scores = training.step()
    assert np.isfinite(scores["train_loss"])
    assert np.isfinite(scores[space.objective])
    np.testing.assert_allclose(training.predict().sum(axis=1), 1.0, atol=1e-5)
    return training


def shrunk(path: Path, given: Mapping[str, Any] = MappingProxyType({})) -> Space:
    """The space of a file with small images, one batch an epoch and nothing to fetch.

    A pretrained backbone that stands alone makes place for a small one, with what the file says of freezing. One that
    is trained from scratch, and each of several, is what the file is about, and stays. `given` are further overrides.
    """
    overrides: dict[str, Any] = {"batch_size": 64, "precision": "float32", **light(load(path)), **given}
    for size in SIZES:
        space = load(path, overrides={**overrides, "image_size": size})
        if check_space(space, limit=50).sound:
            return space
    raise AssertionError(f"{path}: no size of {SIZES} will do")


def light(space: Space) -> dict[str, Any]:
    part = next((part for part in space.tree.parts if part.kind == "backbone"), None)
    if part is None:
        return {"backbone": SMALL}
    if part.searched:
        return {f"backbone.{option.name}.weights": "none" for option in part.options if takes_weights(option.name)}
    known = REGISTRIES["backbone"][SMALL].settings
    said = {name: domain.spelled() for name, domain in part.options[0].settings if name in known}
    if said.get("weights", "none") == "none":
        return {}
    return {"backbone": {SMALL: {**said, "weights": "none"}}}


def takes_weights(backbone: str) -> bool:
    try:
        return "weights" in REGISTRIES["backbone"][backbone].settings
    except SettingError:
        return False


def covering(space: Space) -> list[Branch]:
    """All branches of a small space; of a larger one so many that each pair of options that can meet is among them."""
    branches = list(space.branches())
    if len(branches) <= EXHAUSTED:
        return branches
    pairs = {branch: pairs_of(branch) for branch in branches}
    left, chosen = frozenset[Pair]().union(*pairs.values()), []
    while left:
        chosen.append(max(branches, key=lambda branch: len(left & pairs[branch])))
        left -= pairs[chosen[-1]]
    return chosen


Pair = tuple[tuple[str, str], tuple[str, str]]


def pairs_of(branch: Branch) -> frozenset[Pair]:
    """Every two options, (kind, name) each, that a branch has together."""
    return frozenset(combinations(branch.choices, 2))


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_every_pair_of_options_that_can_meet_is_trained_together(path: Path) -> None:
    space = load(path)
    met, trained = (
        {pair for branch in found for pair in pairs_of(branch)} for found in (space.branches(), covering(space))
    )
    assert trained == met
    assert len(covering(space)) <= max(100, EXHAUSTED)


@pytest.mark.parametrize("side", ["benign", "malignant"])
def test_a_taxonomy_of_three_levels_goes_through_a_real_training_step(side: str, tmp_path: Path) -> None:
    taxonomy = f"isic2018_three_levels_akiec_{side}"
    space = shrunk(ROOT / "spaces/published/c_isic2018.yaml", {"head.taxonomy_decoder.taxonomy": taxonomy})
    (branch,) = space.branches()
    training = train(space, branch, data_for(space), tmp_path)
    assert training.model.head.taxonomy == training._phase.loss.taxonomy == Taxonomy.load(taxonomy)
