"""Ranks that share their batches learn what one process learns of the whole ones: every loss, and batch norm."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import PLAIN, Bench, build, normalise, require_alike

from lesion.errors import RankError, SettingError
from lesion.group import ALONE, Group, is_of_the_group
from lesion.losses import losses
from lesion.parallel import Ranks
from lesion.training import Training

TRAINED = ("train_loss", "train_accuracy", "train_balanced_accuracy", "train_mean_auc", "mean_auc", "log_loss")


@pytest.mark.parametrize(("count", "size"), [(8, 3), (5, 2), (4, 4), (9, 1), (2, 3)])
def test_shares_are_the_batch_in_order_and_differ_by_one_at_most(count: int, size: int) -> None:
    shares = [list(range(count))[Group(rank, size).share(count)] for rank in range(size)]
    assert list(chain(*shares)) == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert min(map(len, shares)) == ALONE.least(count) // size == Group(0, size).least(count)


def test_a_batch_that_is_too_small_to_be_shared_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(SettingError, match=r"batches of 5 cannot be shared by 3 GPUs, of which each needs 2 examples"):
        build(Group(0, 3), **PLAIN)
    build(ALONE, **PLAIN | {"batch_size": 2})


def test_a_training_alone_makes_no_process_group() -> None:
    training = build(ALONE, **PLAIN)
    training.step()
    assert not torch.distributed.is_initialized()
    value = torch.ones(2)
    assert ALONE.total(value) is value
    assert ALONE.everywhere(True, value.device)
    assert not ALONE.everywhere(False, value.device)


@pytest.mark.parametrize(
    ("problem", "of_the_group"),
    [
        (RankError("rank 1"), True),
        (RuntimeError("[../gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1"), True),
        (torch.distributed.DistBackendError("NCCL error"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("gloo"), False),
    ],
)
def test_what_another_rank_did_is_told_from_what_this_one_did(problem: Exception, of_the_group: bool) -> None:
    assert is_of_the_group(problem) == of_the_group


@pytest.fixture(scope="module")
def pair() -> Iterator[Ranks]:
    """Two ranks, this process and another one, that have met."""
    ranks = Ranks(Bench, 2, threads=1, silence=60)  # type: ignore[arg-type]
    try:
        ranks.require_answers(120)
        ranks.join(torch.device("cpu"))
        yield ranks
    finally:
        ranks.close()


def an_epoch(pair: Ranks, settings: dict[str, Any]) -> tuple[Training, dict[str, float]]:
    """Of two ranks: the training of this one, and its metrics."""
    training = build(Group(0, 2), **settings)
    return training, pair.together("train", settings, training.step)


NEEDED = {"cost_matrix": {"loss__cost_matrix__positive": "melanoma"}}
LIKE_ONE: dict[str, dict[str, Any]] = {
    **{f"loss {name}": {"loss": name, **NEEDED.get(name, {})} for name in losses},
    "weights of a balancing": {"balancing": "class_weights", "loss": "focal"},
    "a head that spells": {"head": "taxonomy_decoder", "loss": "path", "head__linear__dropout": None}
    | {f"head__taxonomy_decoder__{name}": 0.0 for name in ("dropout", "attention_dropout")},
    "shares of 3 and 2, augmented and clipped": {"augmentation": "strong", "clip": 0.1, "balancing": "oversample"},
    "adamw": {"optimizer": "adamw", "optimizer__adamw__weight_decay": 0.1},
}


@pytest.mark.slow
@pytest.mark.parametrize("settings", LIKE_ONE.values(), ids=LIKE_ONE)
def test_two_ranks_learn_what_one_process_does(pair: Ranks, settings: dict[str, Any]) -> None:
    settings = {**PLAIN, **settings}
    alone = build(ALONE, **settings)
    expected = alone.step()
    ours, metrics = an_epoch(pair, settings)
    for name in set(TRAINED) & set(expected):
        assert metrics[name] == pytest.approx(expected[name], rel=1e-4), name
    require_alike(ours, alone)


@pytest.mark.slow
def test_heads_learn_on_stored_maps_as_one_does(pair: Ranks, tmp_path: Path) -> None:
    settings = {**PLAIN, "balancing": "smote", "balancing__smote__neighbours": 2, "balancing__smote__on": "features"}
    alone = build(ALONE, cache=tmp_path, **settings)
    alone.step()
    ours, _ = an_epoch(pair, {**settings, "cache": tmp_path})
    require_alike(ours, alone)


@pytest.mark.slow
@pytest.mark.parametrize("dimensions", [2, 4])
def test_batch_norm_of_two_ranks_is_that_of_the_whole_batch(pair: Ranks, dimensions: int) -> None:
    expected, found = normalise(ALONE, dimensions), {}
    pair.together("train", {"dimensions": dimensions}, lambda: found.update(normalise(Group(0, 2), dimensions)) or {})
    share = Group(0, 2).share(9)
    for name, value in expected.items():
        whole = value[share] if name in ("outputs", "input") else value
        torch.testing.assert_close(found[name], whole, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_a_network_with_batch_norm_learns_on_two_ranks_what_it_learns_on_one(pair: Ranks) -> None:
    # A rate at which weights hardly move: what differs by rounding is not blown up from step to step.
    settings = {**PLAIN, "backbone": "resnet18", "batch_size": 10, "metadata": "metablock", "optimizer__sgd__lr": 1e-7}
    alone = build(ALONE, **settings)
    expected = alone.step()
    ours, metrics = an_epoch(pair, settings)
    assert metrics["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-4)
    assert metrics["log_loss"] == pytest.approx(expected["log_loss"], rel=1e-3)
    of_alone, of_two = (
        torch.cat([parameter.grad.flatten() for parameter in each.model.parameters() if parameter.grad is not None])
        for each in (alone, ours)
    )
    # Rounding alone: the last maps are of one pixel, and batch norm divides by the little in which ten of them differ.
    assert (of_alone - of_two).norm() < 0.05 * of_alone.norm()
    for name, statistic in alone.model.named_buffers():
        torch.testing.assert_close(dict(ours.model.named_buffers())[name], statistic, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_frozen_stages_and_their_statistics_stay(pair: Ranks) -> None:
    settings = {**PLAIN, "backbone": "shufflenet_v2_x0_5", "backbone__shufflenet_v2_x0_5__trainable_stages": 1}
    ours, _ = an_epoch(pair, settings)
    begun = build(ALONE, **settings).model.state_dict()
    changed = {name for name, value in ours.model.state_dict().items() if not torch.equal(value, begun[name])}
    last = len(ours.model.backbone.stages) - 1
    assert {int(name.split(".")[2]) for name in changed if name.startswith("backbone.")} == {last}
    assert any("running_mean" in name for name in changed)
