"""Metadata branches against their formulas written out."""

import pytest
import torch

from lesion.models.metadata import metadatas

MAP = torch.randn(6, 5, 2, 3, generator=torch.Generator().manual_seed(0))
PEOPLE = torch.rand(6, 4, generator=torch.Generator().manual_seed(1))
BRANCHES = [name for name in metadatas if name != "none"]


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("name", BRANCHES)
def test_every_branch_gives_a_map_of_its_channels_and_learns_from_both(name):
    branch = metadatas[name].build(5, 4)
    features, people = MAP.clone().requires_grad_(), PEOPLE.clone().requires_grad_()
    joined = branch(features, people)
    assert joined.shape == (6, branch.channels, 2, 3)
    joined.square().sum().backward()
    assert all(torch.isfinite(t.grad).all() and t.grad.any() for t in (features, people, *branch.parameters()))


def test_without_a_branch_there_is_nothing():
    assert metadatas["none"].build(5, 4) is None


def test_metablock_gates_each_place_by_what_is_known():
    block = metadatas["metablock"].build(5, 4).eval()
    for norm in (block.scale[1], block.shift[1]):
        norm.running_mean.uniform_()
        norm.running_var.uniform_(0.5, 2.0)
    given = {}
    for name in ("scale", "shift"):
        layer, norm = getattr(block, name)
        raw = PEOPLE @ layer.weight.T + layer.bias
        given[name] = (raw - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
    expected = [
        [torch.sigmoid(torch.tanh(MAP[n, c] * given["scale"][n, c]) + given["shift"][n, c]) for c in range(5)]
        for n in range(6)
    ]
    torch.testing.assert_close(block(MAP, PEOPLE), torch.stack([torch.stack(row) for row in expected]))


def test_concatenate_appends_constant_channels():
    branch = metadatas["concatenate"].build(5, 4, units=7, dropout=0.5)
    assert not torch.equal(branch(MAP, PEOPLE), branch(MAP, PEOPLE))
    joined, layer = branch.eval()(MAP, PEOPLE), branch.network[0]
    assert torch.equal(joined[:, :5], MAP)
    told = (PEOPLE @ layer.weight.T + layer.bias).clamp_min(0)
    torch.testing.assert_close(joined[:, 5:], told[:, :, None, None].expand(-1, -1, 2, 3))
