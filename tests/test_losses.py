"""Losses against hand-computed cases and torch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lesion.classes import ClassCounts
from lesion.losses import class_weights, losses

COUNTS = np.array([374, 254, 1372])
CLASSES = ClassCounts(("melanoma", "seborrheic_keratosis", "nevus"), COUNTS, np.array([374, 1270, 1372]))
LOGITS = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, -1.0], [0.5, 0.5, 3.0]])
LABELS = torch.tensor([0, 2, 1])


def test_class_weights_of_the_published_systems():
    np.testing.assert_allclose(class_weights(COUNTS), [1.7825, 2.6247, 0.4859], atol=5e-5)
    isic2018 = np.array([1113, 6705, 514, 327, 1099, 115, 142])
    published = [1.286, 0.213, 2.784, 4.375, 1.302, 12.44, 10.08]  # to the digits that were printed
    np.testing.assert_allclose(class_weights(isic2018), published, atol=5e-3)


def test_exponent_goes_from_none_to_full():
    plain = F.cross_entropy(LOGITS, LABELS)
    full = F.cross_entropy(LOGITS, LABELS, torch.from_numpy(class_weights(COUNTS)).float())
    weighted = losses["weighted_cross_entropy"].build
    assert weighted(CLASSES, exponent=0.0)(LOGITS, LABELS) == pytest.approx(plain)
    assert weighted(CLASSES, exponent=1.0)(LOGITS, LABELS) == pytest.approx(full)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("counts", ["drawn", "original"])
def test_weights_are_averaged_as_torch_does_and_of_the_counts_that_are_asked_for(counts, smoothing):
    weights = torch.from_numpy(class_weights(getattr(CLASSES, counts), 0.5)).float()
    loss = losses["weighted_cross_entropy"].build(CLASSES, exponent=0.5, counts=counts, label_smoothing=smoothing)
    expected = F.cross_entropy(LOGITS, LABELS, weights, label_smoothing=smoothing)
    assert loss(LOGITS, LABELS) == pytest.approx(expected)
    assert loss.terms(LOGITS, LABELS).sum() / weights[LABELS].sum() == pytest.approx(expected)


def test_weighting_corrects_imbalance_whatever_it_counts():
    corrects = losses["weighted_cross_entropy"].corrects
    assert corrects({})
    assert corrects({"counts": "original"})
    assert not corrects({"counts": "original", "exponent": 0.0})


def test_a_class_without_images_has_no_weight():
    assert class_weights(np.array([0, 10, 10]))[0] == 0.0


def test_focal_by_hand():
    # p = (1/2, 1/2): -0.25 · (1 - 1/2)^2 · log(1/2)
    value = losses["focal"].build(CLASSES, gamma=2.0, alpha=0.25)(torch.zeros(1, 2), torch.tensor([1]))
    assert value.item() == pytest.approx(0.25 * 0.25 * np.log(2))


def test_focal_without_gamma_is_cross_entropy():
    focal = losses["focal"].build(CLASSES, gamma=0.0, alpha=1.0)
    assert focal(LOGITS, LABELS) == pytest.approx(F.cross_entropy(LOGITS, LABELS))
    assert focal.terms(LOGITS, LABELS).numpy() == pytest.approx(F.cross_entropy(LOGITS, LABELS, reduction="none"))
