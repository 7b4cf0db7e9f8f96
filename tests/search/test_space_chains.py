"""Names with joints, slashes and dots; chains written as lists of steps."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from small_vocabulary import WORDS

from search.errors import SpaceError
from search.space import Fixed, FloatRange, Space, load

HEAD = "data: d\nobjective: mean_auc\nbudget: {trials: 8, epochs: 4}\nspace:\n"
STEPS = "[oversample: {ratio: 0.5}, downsample: {ratio: {float: [1, 3]}}]"


def space_of(folder: Path, text: str, name: str = "my.yaml") -> Space:
    path = folder / name
    path.write_text(text if "data: d" in text or "extends" in text else HEAD + text)
    return load(path, vocabulary=WORDS)


@pytest.mark.parametrize(
    "written",
    [
        STEPS,
        "\n    - oversample: {ratio: 0.5}\n    - downsample: {ratio: {float: [1, 3]}}",
        "{oversample+downsample: {oversample.ratio: 0.5, downsample.ratio: {float: [1, 3]}}}",
        f"{{choice: [{STEPS}]}}",
    ],
)
def test_a_list_of_steps_is_a_chain(tmp_path: Path, written: str) -> None:
    space = space_of(tmp_path, f"  balancing: {written}\n")
    ((part,),) = [space.tree.parts]
    (option,) = part.options
    assert option.name == "oversample+downsample"
    assert dict(option.settings) == {"oversample.ratio": Fixed(0.5), "downsample.ratio": FloatRange(1, 3)}


def test_chains_are_alternatives_among_others_and_start_with_calls_them_by_name(tmp_path: Path) -> None:
    point = "{balancing: oversample+downsample, balancing.oversample+downsample.downsample.ratio: 2}"
    text = f"  balancing: {{choice: [none, {STEPS}, downsample, [oversample]]}}\nstart_with: [{point}]\n"
    space = space_of(tmp_path, text)
    names = [option.name for option in space.tree.parts[0].options]
    assert names == ["downsample", "none", "oversample", "oversample+downsample"]
    study = optuna.create_study()
    study.enqueue_trial(space.start_with[0])
    settings = space.sample(study.ask())
    assert settings == {
        "balancing": "oversample+downsample",
        "balancing.oversample+downsample.downsample.ratio": 2.0,
        "balancing.oversample+downsample.oversample.ratio": 0.5,
    }
    WORDS.resolve(settings)


def test_a_chain_of_one_step_is_that_step(tmp_path: Path) -> None:
    one, other = (space_of(tmp_path, f"  balancing: {written}\n") for written in ("[oversample]", "oversample"))
    assert one.hash == other.hash


def test_a_chain_inherits_settings(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(f"{HEAD}  balancing: {STEPS}\n")
    child = "extends: base.yaml\nspace: {balancing: [oversample, downsample: {ratio: 4}]}\n"
    (option,) = space_of(tmp_path, child, "child.yaml").tree.parts[0].options
    assert dict(option.settings) == {"oversample.ratio": Fixed(0.5), "downsample.ratio": Fixed(4.0)}


MISTAKES = {
    "balancing: []": "the chain of balancing is empty; a list here is steps, alternatives go under choice:",
    "balancing: {choice: [none, []]}": "the chain of balancing is empty; a list here is steps,",
    "balancing: [oversample, undersample]": "balancing oversample+undersample: no balancing 'undersample'",
    "balancing: [oversample, {choice: [none]}]": "a step of a chain of balancing must be a name, or a name with its",
    "balancing: [oversample: 3, downsample]": "balancing oversample in a chain must be a mapping of settings",
    "balancing: [oversample: {ratios: 1}, downsample]": "no setting of balancing oversample+downsample"
    " 'oversample.ratios'; known: downsample.ratio, oversample.ratio (did you mean 'oversample.ratio'?)",
    "balancing: [oversample: {ratio: 9}, downsample]": "balancing.oversample+downsample.oversample.ratio is 9, must be",
    "loss: [focal]": "loss must be the name of a loss, a name with its settings, or {choice: …} of them",
}


@pytest.mark.parametrize(("line", "message"), MISTAKES.items())
def test_mistakes_in_chains(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(SpaceError) as caught:
        space_of(tmp_path, f"  {line}\n")
    (mistake,) = caught.value.mistakes
    assert mistake.line == 5
    assert mistake.text.startswith(message)


def test_names_with_dots_of_which_one_begins_like_another(tmp_path: Path) -> None:
    text = (
        "  backbone: {choice: {net/r50: {stages: {int: [1, 3]}}, net/r50.a1: {stages: {int: [2, 4]}}}}\n"
        "start_with:\n"
        "  - {backbone: net/r50.a1, backbone.net/r50.a1.stages: 4}\n"
        "  - {backbone: net/r50, backbone.net/r50.stages: 3}\n"
    )
    space = space_of(tmp_path, text)
    assert [point["backbone"] for point in space.start_with] == ["net/r50.a1", "net/r50"]
    for branch in space.branches():
        WORDS.resolve(space.example(branch))
    with pytest.raises(
        SpaceError, match=r"backbone\.net/r50\.stages is set, but the backbone of this point is net/r50"
    ):
        space_of(tmp_path, text.replace("backbone.net/r50.a1.stages: 4", "backbone.net/r50.stages: 2"))
    with pytest.raises(SpaceError, match=r"did you mean 'backbone\.net/r50\.a1\.stages'"):
        space_of(tmp_path, text.replace("r50.a1.stages: 4", "r50.a1.stage: 4"))
