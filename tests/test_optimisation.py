"""Schedules at steps computed by hand, and which parameters an optimizer decays."""

from math import cos, pi

import numpy as np
import pytest
import torch
from torch import nn

from lesion.optimisation import Follower, optimizers, schedules


def rates(name, steps, steps_per_epoch, **settings):
    factor = schedules[name].build(steps, steps_per_epoch, **settings)
    return [factor(step) for step in range(steps)]


def test_cosine_rises_and_falls():
    expected = [0.25, 0.5, 0.75, 1.0, *(0.5 * (1 + cos(pi * i / 6)) for i in range(6))]
    assert rates("cosine", 10, 4, warmup=1.0) == pytest.approx(expected)
    assert rates("cosine", 10, 8, warmup=0.5) == pytest.approx(expected)  # half an epoch is as many steps


def test_cosine_without_warm_up_begins_at_the_full_rate():
    assert rates("cosine", 4, 2, warmup=0.0) == pytest.approx([1.0, 0.5 + 0.25 * 2**0.5, 0.5, 0.5 - 0.25 * 2**0.5])


def test_a_warm_up_longer_than_half_is_cut_to_half():
    assert rates("cosine", 6, 2, warmup=50.0) == pytest.approx([1 / 3, 2 / 3, 1.0, 1.0, 0.75, 0.25])


def test_cosine_ends_at_nothing_and_stays_there():
    factor = schedules["cosine"].build(10, 5)
    assert factor(10) == factor(25) == 0.0
    assert schedules["cosine"].build(1, 1)(0) == 1.0


def test_step_drops_at_epochs():
    assert rates("step", 12, 2, first=2, every=3, gamma=0.1) == pytest.approx([1.0] * 4 + [0.1] * 6 + [0.01] * 2)


def test_constant():
    assert rates("constant", 3, 1) == [1.0, 1.0, 1.0]


def test_milestones_of_a_tenth_and_a_hundredth():
    assert rates("milestones", 8, 1) == pytest.approx([1.0] * 4 + [0.1] * 2 + [0.01] * 2)
    assert rates("milestones", 10, 3, first=0.2, second=0.2, gamma=0.5) == pytest.approx([1.0] * 2 + [0.25] * 8)


SCORES = [0.5, 0.6, 0.6, 0.55, 0.61, 0.6, float("nan"), 0.6, 0.61, 0.5, 0.5, 0.4, 0.4, 0.7]


def test_plateau_by_hand():
    schedule = schedules["plateau"].build(1, 1, floor=0.1)
    assert isinstance(schedule, Follower)
    rates = []
    for score in SCORES:
        rates.append(schedule(0))
        schedule.observe(score)
    assert rates == [1.0] * 4 + [0.5] * 3 + [0.25] * 2 + [0.125] * 2 + [0.1] * 3


def test_plateau_is_torch_s_with_a_patience_of_one_less():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    torch_s = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, "max", 0.3, 2, threshold=0.0, min_lr=0.01)
    schedule = schedules["plateau"].build(1, 1, factor=0.3, patience=3, floor=0.01)
    for score in np.random.default_rng(0).normal(size=40):
        schedule.observe(score)
        torch_s.step(score)
        assert schedule(0) == pytest.approx(optimizer.param_groups[0]["lr"])
    assert schedule(0) == 0.01


def test_plateau_goes_on_from_its_state():
    whole, first, second = (schedules["plateau"].build(1, 1) for _ in range(3))
    for i, score in enumerate(SCORES):
        whole.observe(score)
        (first if i < 7 else second).observe(score)
        if i == 6:
            second.load_state_dict(first.state_dict())
    assert (second(0), second.state_dict()) == (whole(0), whole.state_dict())


@pytest.mark.parametrize("name", sorted(set(schedules) - {"plateau"}))
def test_other_schedules_follow_the_steps_alone(name):
    assert not isinstance(schedules[name].build(10, 5), Follower)


@pytest.fixture
def parts():
    body = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1))
    body[0].requires_grad_(False)
    return body, nn.Linear(4, 2)


@pytest.mark.parametrize("name", list(optimizers))
def test_what_is_decayed_and_at_which_rate(name, parts):
    body, head = parts
    decay = {"l2" if name == "adam" else "weight_decay": 0.3}
    optimizer = optimizers[name].build(*parts, lr=0.1, backbone_factor=0.5, **decay)
    groups = [([*map(id, g["params"])], g["lr"], g["weight_decay"]) for g in optimizer.param_groups]
    assert groups == [
        ([id(body[2].weight)], 0.05, 0.3),
        ([id(body[1].weight), id(body[1].bias), id(body[2].bias)], 0.05, 0.0),
        ([id(head.weight)], 0.1, 0.3),
        ([id(head.bias)], 0.1, 0.0),
    ]


@pytest.mark.parametrize("name", list(optimizers))
def test_a_frozen_backbone_leaves_the_head_alone_to_train(name, parts):
    parts[0].requires_grad_(False)
    optimizer = optimizers[name].build(*parts)
    assert [len(group["params"]) for group in optimizer.param_groups] == [1, 1]


@pytest.mark.parametrize(
    ("settings", "nesterov"),
    [({"momentum": 0.0}, False), ({"momentum": 0.9}, True), ({"nesterov": False}, False)],
    ids=str,
)
def test_nesterov_needs_momentum_and_can_be_left_out(parts, settings, nesterov):
    assert optimizers["sgd"].build(*parts, **settings).defaults["nesterov"] is nesterov


def test_adam_by_hand():
    # The first step is lr · sign of the gradient; where the loss says nothing, the penalty alone gives it.
    head = nn.Linear(2, 1, bias=False)
    head.weight.data = torch.tensor([[3.0, -2.0]])
    optimizer = optimizers["adam"].build(nn.Identity(), head, lr=0.1, l2=0.5)
    (0 * head(torch.ones(1, 2))).sum().backward()
    optimizer.step()
    torch.testing.assert_close(head.weight.data, torch.tensor([[2.9, -1.9]]))
