"""Every space file of the repository: it loads, and every branch of it can be trained as far as settings tell."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from lesion.settings import resolve
from search.space import check, load

optuna.logging.set_verbosity(optuna.logging.WARNING)

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "spaces").rglob("*.yaml"))
NAMES = [str(path.relative_to(ROOT)) for path in FILES]


def test_there_are_space_files() -> None:
    assert FILES


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_every_branch_resolves(path: Path) -> None:
    report = check(path, limit=300)
    assert report.sound, "\n".join(map(str, report.problems))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("{image_size: 100, backbone: maxvit_t}", "cannot take images of 100 pixels"),
        ("{backbone: {resnet18: {trainable_stages: {int: [1, 9]}}}}", "trainable_stages is 9, but the backbone has 5"),
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
