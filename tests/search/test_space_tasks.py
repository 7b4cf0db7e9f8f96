"""`task:` in a space file: read, checked against the data's classes, part of what a study is of."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from small_vocabulary import WORDS

from search.errors import SpaceError
from search.space import Space, difference, load

TEXT = "data: d\n{task}objective: {objective}\nbudget: {{trials: 8, epochs: 4}}\nspace: {{loss: focal}}\n"
SEVEN = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")


def space_of(folder: Path, task: str, objective: str = "mean_auc", classes: tuple[str, ...] = ()) -> Space:
    path = folder / "my.yaml"
    path.write_text(TEXT.format(task=task and f"task: {task}\n", objective=objective))
    return load(path, classes=classes, vocabulary=WORDS)


def test_two_spellings_of_a_task_are_one_space(tmp_path: Path) -> None:
    short = space_of(tmp_path, "MEL", classes=SEVEN)
    assert short.task == [["rest", "rest"], ["MEL", ["MEL"]]]
    assert short.hash == space_of(tmp_path, "{rest: rest, MEL: [MEL]}").hash
    assert short.classes(SEVEN) == ("rest", "MEL")
    assert space_of(tmp_path, "").classes(SEVEN) == SEVEN
    assert pickle.loads(pickle.dumps(short)) == short


def test_another_task_or_order_is_another_space_and_said_in_words(tmp_path: Path) -> None:
    without, binary = space_of(tmp_path, ""), space_of(tmp_path, "{benign: rest, malignant: [MEL, BCC, AKIEC]}")
    turned = space_of(tmp_path, "{malignant: [AKIEC, BCC, MEL], benign: rest}")
    assert len({without.hash, binary.hash, turned.hash}) == 3
    was, now = "benign (the rest) | malignant (AKIEC, BCC, MEL)", "malignant (AKIEC, BCC, MEL) | benign (the rest)"
    assert difference(binary.semantics(), turned.semantics()) == [f"task: was {was}, is {now}"]
    assert difference(without.semantics(), binary.semantics()) == [f"task: is new ({was})"]
    assert difference(binary.semantics(), without.semantics()) == [f"task: is gone (was {was})"]


def test_a_space_without_a_task_has_the_hash_it_had_before_there_were_tasks(tmp_path: Path) -> None:
    assert space_of(tmp_path, "").hash == "04d59407b57915135b3eef21fc4b6ef9542cfb47d43a1df9011aa25000bb0ef1"


MISTAKES = {
    "3": "task must be one class that is told from the rest, or groups: {benign: rest, malignant: [MEL, BCC]}",
    "[MEL, NV]": "task must be one class",
    "{a: [1], b: rest}": "task: a must be a class, a list of classes, or rest; a task is one class",
    "{a: {b: c}, d: rest}": "task: a must be a class",
    "{a: MEL}": "task: it takes one class that is told from the rest, or two groups or more",
    "MLE": "task: no class 'MLE'; known: AKIEC, BCC, BKL, DF, MEL, NV, VASC (did you mean 'MEL'?)",
    "{a: MEL, b: [NV, BCC]}": "task: AKIEC, BKL, DF, VASC are in no group: every class needs its place;",
}


@pytest.mark.parametrize(("task", "message"), MISTAKES.items())
def test_mistakes(tmp_path: Path, task: str, message: str) -> None:
    with pytest.raises(SpaceError) as caught:
        space_of(tmp_path, task, classes=SEVEN)
    (mistake,) = caught.value.mistakes
    assert (mistake.line, mistake.text[: len(message)]) == (2, message)


def test_the_objective_is_checked_against_the_groups_with_or_without_data(tmp_path: Path) -> None:
    for classes in ((), SEVEN):
        assert space_of(tmp_path, "MEL", "auc_MEL", classes).objective == "auc_MEL"
        assert space_of(tmp_path, "MEL", "auc_rest", classes).direction == "maximize"
        with pytest.raises(SpaceError, match=r"my.yaml:3: objective: no metric 'auc_NV'; known: .*auc_MEL"):
            space_of(tmp_path, "MEL", "auc_NV", classes)


def test_a_task_is_inherited(tmp_path: Path) -> None:
    base = space_of(tmp_path, "MEL")
    (tmp_path / "child.yaml").write_text("extends: my.yaml\nbudget: {trials: 3}\n")
    assert load(tmp_path / "child.yaml", vocabulary=WORDS).hash == base.hash
