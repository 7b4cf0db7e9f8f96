"""What a study cannot be of: a fold without a class, bounds that are no numbers, names that lead elsewhere.

Each is refused before anything is made. A space of millions of branches is none of these: nobody walks it.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fake_training import FakeTraining, make_data, make_space

from lesion.data import packed
from lesion.errors import DataError
from lesion.models import backbones
from search import run_study, studies
from search.errors import SpaceError, WorkspaceError
from search.identity import Identity
from search.ledger import open_ledger
from search.space import check, load
from search.space.tree import Tree

HEAD = "data: tiny\nobjective: mean_auc\nbudget: {trials: 2, epochs: 2}\n"
VAST = """
balance_once: true
space:
  image_size: {choice: [32, 48, 64, 96, 128, 160, 192, 224]}
  backbone: {choice: [%s]}
  head: {choice: [linear, dense, multi_sample_dropout, generalised_pooling, channel_attention, attention_lstm]}
  metadata: {choice: [none, metablock, concatenate]}
  loss: {choice: [cross_entropy, weighted_cross_entropy, focal, class_balanced, logit_adjusted]}
  balancing: {choice: [none, oversample, downsample, class_weights, balanced_sampler]}
  augmentation: {choice: [none, dihedral, colour, geometric, strong, crop_shear_jitter, crop_flip_jitter, challenge]}
  optimizer: {choice: {adam: , adamw: {lr: {float: [1.0e-5, 1.0e-2], log: true}}, sgd: }}
  schedule: {choice: [constant, cosine, plateau]}
"""


def made(folder: Path) -> list[Path]:
    """All files below a folder."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_class_absent_from_the_fold_that_judges(tmp_path: Path) -> None:
    folder = make_data(tmp_path)
    manifest = json.loads((folder / packed.MANIFEST).read_text())
    (folder / packed.MANIFEST).write_text(json.dumps({**manifest, "splits": ["holdout", "fold-1"]}))
    path = make_space(tmp_path).path
    path.write_text(path.read_text().replace("data: tiny", "data: tiny\nsplit: fold-1"))
    words = r"mean_auc is undefined on the validation part \(split fold-1 of tiny: no validation image of melanoma"
    with pytest.raises(DataError, match=words):
        run_study(path, tmp_path, build=FakeTraining)
    assert studies(tmp_path) == []


def test_a_space_of_millions_of_branches_is_looked_at_where_it_must_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked of its tree is counted: time says little on a machine that has other work."""
    asked: Counter[str] = Counter()

    def counted(name: str) -> None:
        whole = getattr(Tree, name)

        def count(tree: Tree, *arguments: Any) -> Any:
            asked[name] += 1
            return whole(tree, *arguments)

        monkeypatch.setattr(Tree, name, count)

    for name in ("branch", "branches", "_probe"):
        counted(name)
    path = tmp_path / "vast.yaml"
    path.write_text(HEAD + VAST % ", ".join(backbones))
    space = load(path)
    assert space.branch_count() > 10**6
    assert asked == {"branch": 1, "_probe": 1}  # an example

    asked.clear()
    report = check(path, limit=2)
    assert (report.walked, report.limited, report.branches) == (2, True, space.branch_count())
    assert asked == {"branch": 1 + 2, "_probe": 1 + 2 * 3}  # each in the middle and at both ends of its ranges

    asked.clear()
    identity = Identity("tiny", "d1", "holdout", "s1", space.objective, space.direction, space.semantics())
    row = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}", "vast", identity, 7).ask(space)
    assert asked == {}
    assert {part.kind for part in space.tree.parts} <= set(row.settings)


@pytest.mark.parametrize("bound", [".nan", ".inf", "-.inf", "1.0e999"])
@pytest.mark.parametrize(
    "where", ["{{float: [{}, 1.0]}}", "{{float: [0.0, {}]}}", "{{float: [0.0, 1.0], step: {}}}", "{}"]
)
def test_bounds_that_are_no_numbers(tmp_path: Path, where: str, bound: str) -> None:
    make_data(tmp_path)
    path = tmp_path / "my.yaml"
    path.write_text(HEAD + f"space:\n  image_size: 32\n  clip: {where.format(bound)}\n")
    before = made(tmp_path)
    with pytest.raises(SpaceError, match=r"my.yaml:6: (clip|the step of clip) (is|must be) "):
        run_study(path, tmp_path, build=FakeTraining)
    assert made(tmp_path) == before


@pytest.mark.parametrize(
    ("text", "given", "kind", "words"),
    [
        (HEAD + "name: ../up\n", {}, SpaceError, r"my.yaml:4: the study name '\.\./up' must be"),
        (HEAD + "split: ../test\n", {}, SpaceError, r"my.yaml:4: split '\.\./test' is no name of a split"),
        (HEAD, {"name": "../up"}, WorkspaceError, r"a study cannot be called '\.\./up'"),
        (HEAD, {"name": "a..b"}, WorkspaceError, r"a study cannot be called 'a\.\.b'"),
        (HEAD, {"data": "../elsewhere"}, DataError, r"\.\./elsewhere"),
    ],
    ids=["name in the file", "split", "name given", "dots within", "data given"],
)
def test_names_that_lead_elsewhere(tmp_path: Path, text: str, given: Any, kind: Any, words: str) -> None:
    workspace = tmp_path / "in" / "workspace"
    make_data(workspace)
    path = tmp_path / "my.yaml"
    path.write_text(text + "space:\n  image_size: 32\n")
    before = made(tmp_path)
    with pytest.raises(kind, match=words):
        run_study(path, workspace, build=FakeTraining, **given)
    new = set(made(tmp_path)) - set(before)
    assert all(path.is_relative_to(workspace) for path in new), new
