"""External photos in the first epochs alone: what is shown when, in which loss, and on which clock."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_data import small_data, small_training

from lesion.data.packed import PackedDataset
from lesion.phases import parts

TRAIN, EXTERNAL = 12, 6
"""Photos of the training part, and how many of them are external: of the first class alone."""


def data_with_external() -> PackedDataset:
    """Of 12 training photos the six of the first class are external; 6 validate."""
    data = small_data()
    external = (data.table["label"] == 0) & ~data.table["holdout"]
    part = np.where(external, "external", "train")
    return replace(data, table=data.table.assign(part=part, group=data.table["image"]))


@pytest.mark.parametrize(("share", "shown"), [
    (1.0, [12, 12, 12, 12]), (0.5, [12, 12, 6, 6]), (0.3, [12, 12, 6, 6]), (0.01, [12, 6, 6, 6]), (0.0, [6, 6, 6, 6]),
])  # fmt: skip
def test_the_first_epochs_show_them_and_the_rest_do_not(share: float, shown: list[int]) -> None:
    data = data_with_external()
    found = parts(data, data.split(), share, 4)
    ends = [end for end, _ in found]
    sizes = [next(len(split.train) for end, split in found if epoch < end) for epoch in range(4)]
    assert (sizes, ends[-1]) == (shown, 4)


def test_without_external_photos_there_is_one_phase() -> None:
    data = data_with_external()
    plain = replace(data, table=data.table.assign(part="train"))
    split = plain.split()
    assert [(end, found is split) for end, found in parts(plain, split, 0.5, 4)] == [(4, True)]


def seen(training: object, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, float]]:
    """Labels 0 that a step shows, and its factor of the learning rate, for every step of a training."""
    steps: list[tuple[int, float]] = []
    inner = training._gradients.accumulate  # type: ignore[attr-defined]

    def accumulate(batch: object, optimizer: torch.optim.Optimizer) -> object:
        steps.append((int((batch.labels == 0).sum()), optimizer.param_groups[-1]["lr"]))  # type: ignore[attr-defined]
        return inner(batch, optimizer)

    monkeypatch.setattr(training._gradients, "accumulate", accumulate)  # type: ignore[attr-defined]
    return steps


def test_a_shorter_epoch_takes_as_much_of_the_schedule(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = {"external_epochs": 0.5, "batch_size": 3, "balancing": "none", "schedule__cosine__warmup": 0.0}
    training = small_training(data_with_external(), epochs=4, **settings)
    steps = seen(training, monkeypatch)
    told = [training.step() for _ in range(4)]
    assert [each["examples"] for each in told] == [12.0, 24.0, 30.0, 36.0]
    assert sum(count for count, _ in steps[:8]) == 2 * EXTERNAL
    assert sum(count for count, _ in steps[8:]) == 0
    # Four epochs of four steps on the schedule's clock; those of the last two epochs are every second one.
    clock = [*range(8), 8, 10, 12, 14]
    whole = [0.5 * (1 + np.cos(np.pi * at / 16)) for at in clock]
    assert [rate / steps[0][1] for _, rate in steps] == pytest.approx(whole)


def test_each_phase_has_the_class_weights_of_its_own_photos() -> None:
    settings = {"external_epochs": 0.5, "loss": "weighted_cross_entropy", "balancing": "none"}
    training = small_training(data_with_external(), epochs=2, **settings)
    first = training._phase
    training.step()
    second = training._phase
    labels, logits = torch.tensor([1, 2]), torch.zeros(2, 3)
    assert first.material.counts.drawn.tolist() == [6, 3, 3]
    assert second.material.counts.drawn.tolist() == [0, 3, 3]
    assert not torch.equal(first.loss.terms(logits, labels), second.loss.terms(logits, labels))
    training.step()
    assert training._gradients.loss is second.loss


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_interrupted_in_either_phase_it_goes_on_as_if_it_had_not_been(epoch: int) -> None:
    settings = {"external_epochs": 0.5, "loss": "weighted_cross_entropy"}
    whole = small_training(data_with_external(), epochs=4, **settings)
    for _ in range(epoch):
        whole.step()
    resumed = small_training(data_with_external(), epochs=4, **settings)
    resumed.load_state_dict(whole.state_dict())
    for _ in range(epoch, 4):
        one, other = whole.step(), resumed.step()
        assert one["train_loss"] == other["train_loss"]
    assert np.array_equal(whole.predict(), resumed.predict())
