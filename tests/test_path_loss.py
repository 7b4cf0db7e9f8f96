"""The path loss against a hand-computed case and a plain loop over the words."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lesion.classes import ClassCounts
from lesion.errors import SettingError
from lesion.losses import losses
from lesion.models.heads import heads
from lesion.taxonomy import Taxonomy

NAMES = ("melanoma", "seborrheic_keratosis", "nevus")  # melanocytic → melanoma, nevus; non-melanocytic → keratosis
COUNTS = np.array([10, 10, 10])
CLASSES = ClassCounts(NAMES, COUNTS, COUNTS)
ISIC2018 = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
CLASSES_2018 = ClassCounts(ISIC2018, np.ones(7, np.int64), np.ones(7, np.int64))
TAXONOMIES = ["isic2018", "isic2018_three_levels_akiec_benign", "isic2018_three_levels_akiec_malignant"]


def path_loss(classes=CLASSES_2018, **settings):
    return losses["path"].build(classes, **settings)


def test_by_hand():
    # p = (1/4, 1/2, 1/4): a melanoma is melanocytic with 1/2 and a melanoma with 1/4. Its path has length √2, the
    # probabilities of words (1/2, 1/2 | 1/4, 1/4, 1/2) have √(7/8), and they meet in 1/2 + 1/4.
    logits = torch.log(torch.tensor([[0.25, 0.5, 0.25]], dtype=torch.float64))
    entropy = (np.log(2) + np.log(4)) / 2
    distance = 1 - 0.75 / np.sqrt(2 * 7 / 8)
    for weight in (0.0, 1.0, 2.5):
        value = path_loss(CLASSES, weight=weight)(logits, torch.tensor([0])).item()
        assert value == pytest.approx(entropy + weight * distance)


def test_spelled_by_hand():
    # Five words at two steps, all alike: -log(1/5) a step; the sum of the steps is 2/5 each.
    value = path_loss(CLASSES)(torch.zeros(1, 2, 5, dtype=torch.float64), torch.tensor([2])).item()
    assert value == pytest.approx(np.log(5) + 1 - (2 * 0.4) / (np.sqrt(2) * 0.4 * np.sqrt(5)))


def naive(taxonomy, logits, label, weight):
    """The loss of one example, from step logits (steps, words) or class logits (classes,), word by word."""
    p = torch.softmax(logits, dim=-1)
    path = taxonomy.path(ISIC2018[label])
    if logits.ndim == 1:
        steps = [
            torch.stack([
                sum((p[k] for k, name in enumerate(ISIC2018) if taxonomy.path(name)[t] == word), torch.tensor(0.0))
                for word in range(len(taxonomy.words))
            ])
            for t in range(len(path))
        ]  # fmt: skip
    else:
        steps = list(p)
    entropy = -sum(torch.log(step[word]) for step, word in zip(steps, path, strict=True)) / len(path)
    one_hot = torch.zeros(len(taxonomy.words), dtype=logits.dtype)
    for word in path:
        one_hot[word] += 1
    total = sum(steps)
    return entropy + weight * (1 - one_hot @ total / (one_hot.norm() * total.norm()))


@pytest.mark.parametrize("name", TAXONOMIES)
@pytest.mark.parametrize("spelled", [True, False])
def test_against_a_loop_over_the_words(name, spelled):
    taxonomy = Taxonomy.load(name)
    labels = torch.arange(7)
    shape = (7, len(taxonomy.levels), len(taxonomy.words)) if spelled else (7, 7)
    logits = torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = torch.stack([naive(taxonomy, z, int(y), 0.7) for z, y in zip(logits, labels, strict=True)])
    loss = path_loss(weight=0.7, taxonomy=name)
    torch.testing.assert_close(loss.terms(logits, labels), expected)
    torch.testing.assert_close(loss(logits, labels), expected.mean())


@pytest.mark.parametrize("shape", [(3, 3), (3, 2, 5)], ids=["classes", "words"])
def test_gradients_are_right_and_finite_where_the_model_is_certain(shape):
    loss, labels = path_loss(CLASSES), torch.arange(3)
    logits = torch.randn(*shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: loss(z, labels), (logits,))
    certain = (200 * torch.randn(*shape, generator=torch.Generator().manual_seed(3))).requires_grad_()
    loss(certain, labels).backward()
    assert torch.isfinite(certain.grad).all()


def test_a_near_miss_costs_less_than_a_far_one():
    loss = path_loss()
    as_nevus, as_keratosis = torch.eye(7)[[1]] * 3, torch.eye(7)[[4]] * 3
    melanoma = torch.tensor([0])
    assert F.cross_entropy(as_nevus, melanoma) == F.cross_entropy(as_keratosis, melanoma)
    assert loss(as_nevus, melanoma) < loss(as_keratosis, melanoma)


def test_of_the_head_that_spells():
    torch.manual_seed(0)
    head = heads["taxonomy_decoder"].build(8, ISIC2018, hidden=6)
    features, labels = torch.randn(4, 8, 2, 2), torch.tensor([0, 3, 5, 6])
    loss = path_loss()
    assert loss.spells
    loss(head.spell(features, labels), labels).backward()
    assert all(p.grad is not None for p in head.parameters())


def test_the_head_has_the_taxonomy_of_the_loss():
    message = "taxonomy isic2018, 2 steps of 9 words, and the head spells 3 of 11: give both the same taxonomy"
    with pytest.raises(SettingError, match=message):
        path_loss()(torch.zeros(1, 3, 11), torch.tensor([0]))


def test_classes_without_a_path():
    binary = ClassCounts(("rest", "melanoma"), np.ones(2, np.int64), np.ones(2, np.int64))
    with pytest.raises(SettingError, match="no taxonomy is known for the classes rest, melanoma"):
        path_loss(binary)
    with pytest.raises(SettingError, match="taxonomy isic2017: no class 'rest'"):
        path_loss(binary, taxonomy="isic2017")
