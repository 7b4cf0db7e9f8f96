"""The average of weights against the recursion written out."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from lesion.averaging import WeightAverage


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def wander(model):
    for tensor in model.state_dict().values():
        tensor.add_(torch.randn_like(tensor) if tensor.is_floating_point() else 1)


@pytest.mark.parametrize("decay", [0.05, 0.9])
def test_average_is_the_recursion_with_a_warm_up(decay):
    model = network()
    average = WeightAverage(model, decay)
    expected = {key: tensor.double() for key, tensor in model.state_dict().items()}
    for step in range(30):
        wander(model)
        average.update(model, step)
        d = min(decay, (1 + step) / (10 + step))
        for key, tensor in model.state_dict().items():
            expected[key] = d * expected[key] + (1 - d) * tensor.double()
    for key, tensor in average.state_dict().items():
        if key.endswith("num_batches_tracked"):
            assert tensor == model.state_dict()[key]
        else:
            torch.testing.assert_close(tensor.double(), expected[key], rtol=1e-5, atol=1e-5)


def test_the_average_is_apart_from_the_model_it_averages():
    model = network()
    before = deepcopy(model.state_dict())
    average = WeightAverage(model, 0.5)
    model.train()
    wander(model)
    assert all(torch.equal(tensor, before[key]) for key, tensor in average.state_dict().items())
    after = deepcopy(model.state_dict())
    average.update(model, 0)
    assert all(torch.equal(tensor, after[key]) for key, tensor in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(parameter.requires_grad for parameter in average.model.parameters())
    assert not average.model.training


def test_weights_that_do_not_move_are_kept_exactly():
    model = network()
    average = WeightAverage(model, 0.99)
    for step in range(50):
        average.update(model, step)
    assert all(torch.equal(tensor, model.state_dict()[key]) for key, tensor in average.state_dict().items())


def test_a_saved_average_goes_on():
    model = network()
    one, other = WeightAverage(model, 0.9), WeightAverage(model, 0.9)
    wander(model)
    one.update(model, 0)
    other.load_state_dict(deepcopy(one.state_dict()))
    wander(model)
    for average in (one, other):
        average.update(model, 1)
    assert all(torch.equal(tensor, other.state_dict()[key]) for key, tensor in one.state_dict().items())
