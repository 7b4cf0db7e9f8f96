"""Stages of networks that nobody took apart, found by watching them run."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from lesion.models.backbones.anatomy import dissect


def halving(channels=4):
    return nn.Conv2d(channels, channels, 3, 2, padding=1)


def keeping():
    return nn.Conv2d(4, 4, 3, padding=1)


class Residual(nn.Module):
    """Two ways to half the size: both shrink the map, but it shrinks once."""

    def __init__(self):
        super().__init__()
        self.shortcut, self.body = halving(), nn.Sequential(keeping(), halving())

    def forward(self, x):
        return self.shortcut(x) + self.body(x)


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)
        self.stem = nn.Conv2d(3, 4, 3, 2, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.blocks = nn.Sequential(keeping(), nn.Sequential(Residual(), keeping()), nn.Sequential(Residual()))
        self.norm = nn.BatchNorm2d(4)
        self.last = nn.MaxPool2d(2)

    def features(self, x):
        return self.last(self.norm(self.blocks(self.pool(self.stem(x)))))


class Tokens(nn.Module):
    def __init__(self, blocks):
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(1, 16, 4))
        self.embed = nn.Conv2d(3, 4, 8, 8)
        self.blocks = blocks
        self.norm = nn.LayerNorm(4)

    def features(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class Wrapped(nn.Module):
    """The same, a level deeper, and its blocks run as one."""

    def __init__(self):
        super().__init__()
        self.encoder = Tokens(nn.Sequential(*(nn.Linear(4, 4) for _ in range(8))))
        self.encoder.forward = lambda x: self.encoder.norm(self.encoder.blocks(self.encoder.embed(x).flatten(2).mT))

    def features(self, x):
        return self.encoder(x)


def anatomy(model):
    model = model.to("meta").eval()
    return dissect(model, model.features, torch.empty(1, 3, 32, 32, device="meta"))


def test_a_stage_ends_where_the_map_is_about_to_shrink_and_pooling_alone_is_none():
    found, features = anatomy(Convolutional())
    assert found.stages == (("stem",), ("pool", "blocks.0"), ("blocks.1",), ("blocks.2", "norm", "last"))
    assert found.idle == ("head",)
    assert features.shape == (1, 4, 1, 1)


@pytest.mark.parametrize("row", [nn.ModuleList, lambda parts: nn.Sequential(*parts)])
@pytest.mark.parametrize(("depth", "cuts"), [(8, [2, 4, 6]), (6, [1, 3, 4])])
def test_what_never_shrinks_is_cut_in_quarters(row, depth, cuts):
    found, _ = anatomy(Tokens(row([nn.Linear(4, 4) for _ in range(depth)])))
    blocks = [f"blocks.{number}" for number in range(depth)]
    ends = [0, *cuts, depth]
    expected = [blocks[a:b] for a, b in pairwise(ends)]
    expected = [["embed", *expected[0]], *expected[1:3], [*expected[3], "norm"]]
    assert found.stages == tuple(map(tuple, expected))


def test_quarters_are_found_inside_a_module():
    found, _ = anatomy(Wrapped())
    assert [len(stage) for stage in found.stages] == [3, 2, 2, 3]
    assert found.stages[0] == ("encoder.embed", "encoder.blocks.0", "encoder.blocks.1")


def test_too_few_blocks_for_quarters():
    found, _ = anatomy(Tokens(nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])))
    assert found.stages == (("embed", "blocks.0", "blocks.1", "norm"),)
