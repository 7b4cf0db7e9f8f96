"""Heads against pooling and matrix products written out."""

import pytest
import torch

from lesion.models.heads import heads

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
    head = heads[name].build(1280, ISIC2018).eval()
    probabilities = head(torch.rand(20, 1280, 2, 2)).softmax(dim=1)
    assert (probabilities - 1 / 7).abs().max() < 0.1


@pytest.mark.parametrize("name", list(heads))
def test_dropout_is_on_while_training_only(name):
    head = heads[name].build(12, CLASSES, dropout=0.5)
    assert not torch.equal(head(MAP), head(MAP))
    assert torch.equal(head.eval()(MAP), head(MAP))
    without = heads[name].build(12, CLASSES, dropout=0.0)
    assert torch.equal(without(MAP), without(MAP))
