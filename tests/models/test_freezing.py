"""Freezing by layers: which weights train, and which batch norms keep their statistics."""

import pytest
import torch
from torch import nn

from lesion.errors import SettingError
from lesion.models.backbones import backbones
from lesion.models.backbones.freezing import LAYERS
from lesion.models.paper import OnPaper


def resnet50(**settings):
    with OnPaper():
        return backbones["resnet50"].build(64, False, **settings)


def layers(backbone):
    return [module for module in backbone.modules() if isinstance(module, LAYERS)]


@pytest.mark.parametrize("count", [0, 1, 10, 19, 53])
def test_the_last_layers_train_each_with_its_batch_norm(count):
    backbone = resnet50(trainable_layers=count).train()
    every = layers(backbone)
    assert len(every) == 53
    assert [layer.weight.requires_grad for layer in every] == [False] * (53 - count) + [True] * count
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    assert [norm.weight.requires_grad for norm in norms] == [layer.weight.requires_grad for layer in every]
    assert [norm.training for norm in norms] == [layer.weight.requires_grad for layer in every]


def test_ten_layers_of_a_resnet50_are_its_last_stage():
    by_layers, by_stages = resnet50(trainable_layers=10), resnet50(trainable_stages=1)
    assert [p.requires_grad for p in by_layers.parameters()] == [p.requires_grad for p in by_stages.parameters()]


def test_nineteen_layers_reach_half_way_into_conv4():
    training = [
        any(p.requires_grad for p in block.parameters()) for block in resnet50(trainable_layers=19).stages[3][0]
    ]
    assert training == [False] * 3 + [True] * 3


def test_statistics_of_frozen_layers_do_not_move():
    torch.manual_seed(0)
    backbone = backbones["shufflenet_v2_x0_5"].build(64, False, trainable_layers=2).train()
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    backbone(torch.randn(2, 3, 64, 64))
    moved = [bool(norm.running_mean.any()) for norm in norms]
    assert moved == [False] * (len(norms) - 2) + [True] * 2


def test_a_block_whose_end_trains_is_in_training():
    backbone = resnet50(trainable_layers=1).train()
    assert backbone.stages[4].training
    assert not backbone.stages[3].training


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trainable_layers": 54}, r"trainable_layers is 54, but the backbone has 53 layers"),
        ({"trainable_layers": 3, "trainable_stages": 1}, "trainable_stages is 1 and trainable_layers is 3: "),
    ],
)
def test_what_cannot_be_frozen_so(settings, message):
    with pytest.raises(SettingError, match=message):
        resnet50(**settings)
