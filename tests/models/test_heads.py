"""Heads against pooling and matrix products written out."""

import pytest
import torch

from lesion.models.backbones import backbones
from lesion.models.heads import heads
from lesion.models.paper import OnPaper

CLASSES = ("melanoma", "seborrheic_keratosis", "nevus")
ISIC2018 = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
MAP = torch.randn(5, 12, 3, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def test_linear_is_a_product_with_the_mean_over_places():
    head = heads["linear"].build(12, CLASSES).eval()
    layer = head[-1]
    torch.nn.init.normal_(layer.bias)
    torch.testing.assert_close(head(MAP), MAP.mean(dim=(2, 3)) @ layer.weight.T + layer.bias)


def test_dense_has_a_layer_between():
    head = heads["dense"].build(12, CLASSES, units=7).eval()
    hidden, last = (module for module in head.modules() if isinstance(module, torch.nn.Linear))
    assert (hidden.out_features, last.out_features) == (7, 3)
    between = (MAP.mean(dim=(2, 3)) @ hidden.weight.T + hidden.bias).clamp_min(0)
    torch.testing.assert_close(head(MAP), between @ last.weight.T + last.bias)


@pytest.mark.parametrize("name", list(heads))
def test_at_first_every_class_is_about_as_likely(name):
    head = heads[name].build(320, ISIC2018).eval()
    probabilities = head(torch.rand(20, 320, 2, 2)).softmax(dim=1)
    assert (probabilities - 1 / 7).abs().max() < 0.1


@pytest.mark.parametrize("name", list(heads))
def test_dropout_is_on_while_training_only(name):
    head = heads[name].build(12, CLASSES, dropout=0.5)
    assert not torch.equal(head(MAP), head(MAP))
    assert torch.equal(head.eval()(MAP), head(MAP))
    none = {setting: 0.0 for setting in heads[name].settings if setting.endswith("dropout")}
    without = heads[name].build(12, CLASSES, **none)
    assert torch.equal(without(MAP), without(MAP))


def test_multi_sample_dropout_averages_the_logits_of_its_samples():
    head = heads["multi_sample_dropout"].build(12, CLASSES, samples=3, dropout=0.5)
    torch.manual_seed(1)
    logits = head(MAP)
    torch.manual_seed(1)
    masked = torch.nn.functional.dropout(MAP.mean(dim=(2, 3)).expand(3, -1, -1), 0.5)
    torch.testing.assert_close(logits, torch.stack([head[-1](sample) for sample in masked]).mean(dim=0))


@pytest.mark.parametrize(("pooling", "power"), [("average_and_max", 3.0), ("mixed", 3.0), ("generalised_mean", 2.5)])
def test_generalised_pooling(pooling, power):
    pool, _, layer = heads["generalised_pooling"].build(12, CLASSES, pooling=pooling, power=power)
    positive = MAP.abs() + 0.1
    average, largest = positive.mean(dim=(2, 3)), positive.flatten(2).max(dim=2)[0]
    expected = {
        "average_and_max": torch.cat([average, largest], dim=1),
        "mixed": (average + largest) / 2,
        "generalised_mean": (positive.double() ** 2.5).mean(dim=(2, 3)) ** (1 / 2.5),
    }[pooling]
    torch.testing.assert_close(pool(positive), expected.float())
    assert layer.in_features == expected.shape[1]


def test_a_large_power_of_large_numbers_is_the_maximum_and_has_a_gradient():
    pool = heads["generalised_pooling"].build(12, CLASSES, pooling="generalised_mean", power=20.0)[0]
    features = (MAP * 1e6).requires_grad_()
    torch.testing.assert_close(pool(features), features.amax(dim=(2, 3)).clamp_min(0), rtol=0.15, atol=1.0)
    pool(features).sum().backward()
    assert torch.isfinite(features.grad).all()
    assert torch.isfinite(pool.log_power.grad)
    assert pool.log_power.grad > 0


def test_channel_attention_weighs_channels():
    attention, *_ = heads["channel_attention"].build(12, CLASSES, reduction=3)
    narrow, _, wide = attention.bottleneck
    assert narrow.out_features == 4

    def through(x):
        return (x @ narrow.weight.T + narrow.bias).clamp_min(0) @ wide.weight.T + wide.bias

    weights = torch.sigmoid(through(MAP.mean(dim=(2, 3))) + through(MAP.flatten(2).max(dim=2)[0]))
    torch.testing.assert_close(attention(MAP), torch.einsum("nchw,nc->nchw", MAP, weights))


@pytest.fixture(scope="module")
def channels_of_backbones():
    with OnPaper():
        return {backbones[name].build(224, False).channels for name in backbones}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(heads))
def test_every_head_goes_on_the_map_of_every_backbone(name, channels_of_backbones):
    for channels in channels_of_backbones:
        with OnPaper():
            head = heads[name].build(channels, CLASSES).to("meta")
        assert head(torch.empty(2, channels, 7, 7, device="meta")).shape == (2, 3)
