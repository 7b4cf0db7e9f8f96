"""Schedules at steps computed by hand, and which parameters an optimizer decays."""

from math import cos, pi

import pytest
from torch import nn

from lesion.optimisation import optimizers, schedules


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


@pytest.fixture
def parts():
    body = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1))
    body[0].requires_grad_(False)
    return body, nn.Linear(4, 2)


@pytest.mark.parametrize("name", list(optimizers))
def test_what_is_decayed_and_at_which_rate(name, parts):
    body, head = parts
    optimizer = optimizers[name].build(*parts, lr=0.1, weight_decay=0.3, backbone_factor=0.5)
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


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, True)])
def test_nesterov_needs_momentum(parts, momentum, nesterov):
    assert optimizers["sgd"].build(*parts, momentum=momentum).defaults["nesterov"] is nesterov
