"""Every published run against what its system tells of it: settings, class counts, what is trained, class weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from published_runs import (
    AFTER_TOMEK,
    ATTENTION_LSTM,
    CONV4_CONV5,
    CONV5,
    COUNTS_2017,
    COUNTS_2018,
    EVERYTHING,
    HALF_CONV4,
    LARGEST,
    MILLIONS,
    RUNS,
    WEIGHTS,
)

from benchmarks import published
from lesion.balancing import Draws, Part, balancings
from lesion.balancing.chains import split_settings
from lesion.balancing.vectors import Pixels
from lesion.classes import ClassCounts
from lesion.data.archives import Member
from lesion.data.archives import read as bytes_of
from lesion.data.decode import decode
from lesion.data.layouts import read_listing
from lesion.losses import losses
from lesion.models import build_model
from lesion.models.counting import parameter_count
from lesion.models.paper import OnPaper
from lesion.settings import Plan, resolve
from lesion.tasks import Task
from search.space import Space, check, load

FOLDER = Path(__file__).parents[2] / "spaces" / "published"


@cache
def read(name: str) -> Space:
    return load(FOLDER / f"{name}.yaml")


@cache
def plan_of(name: str) -> Plan:
    """The complete settings of a run, which is one branch with nothing to search."""
    (branch,) = read(name).branches()
    assert not read(name).parameters()
    return resolve(read(name).example(branch))


def test_every_file_is_a_published_run() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == RUNS.keys()


@pytest.mark.parametrize("name", RUNS)
def test_settings(name: str) -> None:
    space, run = read(name), RUNS[name]
    assert (space.data, space.budget.trials, space.budget.epochs) == (run.data, 1, run.epochs)
    assert space.allow_double_balancing == run.double
    assert space.task == (None if run.task is None else [["rest", "rest"], [run.task, [run.task]]])
    found = flat(plan_of(name)) | {"balancing": plan_of(name).choices["balancing"].name}
    expected = {"balancing": run.balancing, **run.settings}
    assert {path: found.get(path) for path in expected} == expected


def flat(plan: Plan) -> dict[str, Any]:
    """Complete settings by path, without the name of the component: loss.gamma."""
    chosen = {f"{kind}.{path}": value for kind, one in plan.choices.items() for path, value in one.settings.items()}
    return {**plan.general, **{kind: one.name for kind, one in plan.choices.items()}, **chosen}


REPLACED = ("backbone", "backbone.weights", "head.taxonomy")
"""What headers set: another backbone, another taxonomy."""


@pytest.mark.parametrize("name", RUNS)
def test_what_its_header_sets_is_the_same_run(name: str) -> None:
    expected = {path: value for path, value in RUNS[name].settings.items() if path not in REPLACED}
    for given in overrides_of(name):
        report = check(FOLDER / f"{name}.yaml", overrides=given)
        assert report.sound, report.problems
        (branch,) = report.space.branches()
        found = flat(resolve(report.space.example(branch)))
        assert {path: found.get(path) for path in expected} == expected, given


def overrides_of(name: str) -> list[list[str]]:
    """The overrides of each comment in the header of a file, without weights."""
    lines = (FOLDER / f"{name}.yaml").read_text("utf-8").replace("\\\n#", "").splitlines()
    told = [re.findall(r"--set ([^\s,]+)", line) for line in lines if line.startswith("#")]
    return [[text.replace("=FILE", "=none") for text in given] for given in told if given]


@pytest.mark.parametrize("name", RUNS)
def test_its_header_tells_command_cost_the_published_score_and_ours_as_recorded(name: str) -> None:
    header = [line for line in (FOLDER / f"{name}.yaml").read_text("utf-8").splitlines() if line.startswith("#")]
    assert f"# lesion-search run spaces/published/{name}.yaml" in header
    first = {what: next(line for line in header if re.match(rf"# {what}", line)) for what in TOLD}
    cost, theirs, ours = first.values()
    assert cost.startswith(f"# Cost: {RUNS[name].epochs} epochs of ")
    row, recorded = PUBLISHED[name], recorded_row(name)
    for figure in (row.accuracy, row.balanced_accuracy, row.macro_auc):
        assert figure in theirs
    assert re.search(rf", {row.epochs} epochs?[,: ]", ours)
    assert recorded[1] == str(row.epochs)
    for path, value in row.changed.items():
        assert f" {value:g}" in ours, path
    for measure, cell in (("balanced accuracy", recorded[6]), ("macro AUC", recorded[8])):
        assert f"{measure} {cell.replace('0.', '.')}" in ours


TOLD = ("Cost:", "Published", "Ours.*balanced accuracy")
PUBLISHED = {row.file: row for row in published.RUNS}


def recorded_row(name: str) -> list[str]:
    """The cells of a run in the recorded table."""
    lines = (FOLDER.parents[1] / "benchmarks" / "published.md").read_text("utf-8").splitlines()
    (row,) = (line for line in lines if line.startswith(f"| {name} |") and "(" in line)
    return [cell.strip() for cell in row.strip("|").split("|")]


# -- class counts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RUNS)
def test_class_counts(name: str) -> None:
    diagnoses, part = labels_of(name)
    drawn = before_neighbours(plan_of(name), part)
    counts = np.bincount(diagnoses[drawn.row], minlength=len(official(name)))
    assert dict(zip(official(name), counts.tolist(), strict=True)) == RUNS[name].counts
    if name in LARGEST:
        assert counts.max() == LARGEST[name]


def official(name: str) -> dict[str, int]:
    return COUNTS_2017 if RUNS[name].data == "isic2017" else COUNTS_2018


def labels_of(name: str) -> tuple[np.ndarray[Any, np.dtype[np.int64]], Part]:
    """The diagnosis of each image of the official training part, and that part as the file's task has it."""
    counts, spec = official(name), read(name).task
    task = None if spec is None else Task.read(spec, tuple(counts))
    diagnoses = np.repeat(np.arange(len(counts)), list(counts.values()))
    if task is None:
        return diagnoses, Part(diagnoses, tuple(counts))
    group_of = [next(k for k, members in enumerate(task.groups.values()) if label in members) for label in counts]
    return diagnoses, Part(np.array(group_of)[diagnoses], task.classes)


def before_neighbours(plan: Plan, part: Part) -> Draws:
    """What the balancing draws by labels alone: all of it, or what smote_tomek, its last link, is given."""
    choice, draws = plan.choices["balancing"], Draws.everything(len(part))
    links = tuple(choice.name.split("+"))
    settings = split_settings(links, choice.settings) if len(links) > 1 else {choice.name: choice.settings}
    for link in links[:-1] if links[-1] == "smote_tomek" else links:
        draws = balancings[link].build(part, draws, np.random.default_rng(0), **settings[link])
    return draws


class Photos:
    """Photos as a stack of images, each decoded when it is first asked for: not all of them are."""

    def __init__(self, members: Sequence[Member], size: int) -> None:
        self.members, self.size = members, size
        self._known: dict[int, np.ndarray[Any, np.dtype[np.uint8]]] = {}

    def __getitem__(self, at: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        if at not in self._known:
            self._known[at] = decode(bytes_of(self.members[at]), self.size, "stretch")
        return self._known[at]


@pytest.fixture(scope="module")
def pixels(shared: Path) -> Pixels:
    """The photos of ISIC 2018 at 32 pixels, which are less than the runs have: links differ by few."""
    listing = read_listing(shared / "data" / "isic2018")
    return Pixels(cast(Any, Photos(listing.members, 32)), np.arange(len(listing.members)), 32)


@pytest.mark.slow
@pytest.mark.parametrize("name", AFTER_TOMEK)
def test_class_counts_after_tomek_on_real_images(shared: Path, pixels: Pixels, name: str) -> None:
    labels = read_listing(shared / "data" / "isic2018").table["label"].to_numpy()
    part, plan = Part(labels, tuple(COUNTS_2018), {"pixels": pixels}), plan_of(name)
    choice = plan.choices["balancing"]
    drawn = balancings[choice.name].build(
        part, Draws.everything(len(part)), np.random.default_rng(0), **choice.settings
    )
    total, classes = AFTER_TOMEK[name]
    assert len(drawn) == pytest.approx(total, rel=0.01)
    assert drawn.counts(part).max() == LARGEST[name]
    assert drawn.counts(part).tolist() == pytest.approx(classes, rel=0.01 if name == "g9_3" else 0.05)


@pytest.mark.parametrize("name", WEIGHTS)
def test_class_weights(name: str) -> None:
    _, part = labels_of(name)
    drawn, original = (d.counts(part) for d in (before_neighbours(plan_of(name), part), Draws.everything(len(part))))
    loss = plan_of(name).choices["loss"]
    built = losses[loss.name].build(ClassCounts(part.classes, drawn, original), **loss.settings)
    classes = len(part.classes)
    weights = built.terms(torch.zeros(classes, classes), torch.arange(classes)) / np.log(classes)
    expected = [WEIGHTS[name][label] for label in part.classes]
    np.testing.assert_allclose(weights, expected, rtol=2e-3)  # of figures that are given to three or four digits


# -- what is trained --------------------------------------------------------------------------------------------------

TAILS = {CONV5: [False] * 6, HALF_CONV4: [False] * 3 + [True] * 3, CONV4_CONV5: [True] * 6}
"""Which of conv4_x's six blocks train."""


@pytest.mark.parametrize("name", RUNS)
def test_what_is_trained(name: str) -> None:
    _, part = labels_of(name)
    with OnPaper():
        model = build_model(plan_of(name), part.classes, pretrained=False)
    if RUNS[name].trained == EVERYTHING:
        assert all(p.requires_grad for p in model.parameters())
        return
    *first, conv4, conv5 = model.backbone.stages
    assert not any(p.requires_grad for stage in first for p in stage.parameters())
    blocks = [{p.requires_grad for p in block.parameters()} for block in conv4[0]]
    assert blocks == [{trains} for trains in TAILS[RUNS[name].trained]]
    assert all(p.requires_grad for p in conv5.parameters())
    if name in MILLIONS:
        counts = [parameter_count(model, "keras", trainable=trains) for trains in (False, True)]
        assert tuple(round(count / 1e6, 2) for count in counts) == MILLIONS[name]
    elif plan_of(name).choices["head"].name == "attention_lstm":
        assert parameter_count(model, "keras") == ATTENTION_LSTM
