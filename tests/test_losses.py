"""Losses against hand-computed cases and torch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lesion.classes import ClassCounts
from lesion.errors import SettingError
from lesion.losses import class_weights, losses
from lesion.losses.class_balanced import effective_weights
from lesion.losses.cost_matrix import costs_of_misses, read_costs

COUNTS = np.array([374, 254, 1372])
CLASSES = ClassCounts(("melanoma", "seborrheic_keratosis", "nevus"), COUNTS, np.array([374, 1270, 1372]))
LOGITS = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, -1.0], [0.5, 0.5, 3.0]])
LABELS = torch.tensor([0, 2, 1])

EVERY = [
    ("cross_entropy", {"label_smoothing": 0.1}),
    ("weighted_cross_entropy", {"label_smoothing": 0.1, "counts": "original"}),
    ("focal", {"gamma": 1.5, "alpha": 0.75}),
    ("cost_matrix", {"positive": "melanoma"}),
    ("logit_adjusted", {}),
    ("class_balanced", {}),
    ("class_balanced", {"of": "focal"}),
]


@pytest.mark.parametrize(("name", "settings"), EVERY)
def test_gradients_are_right_and_finite_where_the_model_is_certain(name, settings):
    loss = losses[name].build(CLASSES, **settings)
    assert torch.autograd.gradcheck(lambda z: loss(z, LABELS), (LOGITS.double().requires_grad_(),))
    certain = torch.eye(3)[LABELS.roll(1)].mul(200.0).requires_grad_()
    loss(certain, LABELS).backward()
    assert torch.isfinite(certain.grad).all()


@pytest.mark.parametrize(("name", "settings"), EVERY)
def test_terms_and_masses_do_not_depend_on_the_batch(name, settings):
    loss = losses[name].build(CLASSES, **settings)
    alone = [(loss.terms(LOGITS[[i]], LABELS[[i]]), loss.masses(LABELS[[i]])) for i in range(3)]
    torch.testing.assert_close(torch.cat([terms for terms, _ in alone]), loss.terms(LOGITS, LABELS))
    torch.testing.assert_close(torch.cat([masses for _, masses in alone]), loss.masses(LABELS))


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


BINARY = ClassCounts(("rest", "melanoma"), np.array([1626, 374]), np.array([1626, 374]))
MISSED = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])  # rest, melanoma, rest, melanoma


def test_cost_matrix_by_hand():
    # p of the larger logit is e / (1 + e): a term is log(1 + e) - 1 if right, log(1 + e) if wrong, ×5 if missed.
    terms = losses["cost_matrix"].build(BINARY, missed=5.0).terms(MISSED, torch.tensor([0, 0, 1, 1]))
    wrong = np.log(1 + np.e)
    assert terms.numpy() == pytest.approx([wrong - 1, wrong, 5 * wrong, wrong - 1])


def test_cost_matrix_of_several_positive_classes():
    np.testing.assert_array_equal(
        costs_of_misses(["nevus", "melanoma", "carcinoma", "scar"], "melanoma, carcinoma", 6.0),
        [[1, 1, 1, 1], [6, 1, 1, 6], [6, 1, 1, 6], [1, 1, 1, 1]],
    )


def test_cost_matrix_of_ones_is_cross_entropy_and_costs_correct_no_imbalance():
    loss = losses["cost_matrix"].build(CLASSES, positive="melanoma", missed=1.0)
    assert loss(LOGITS, LABELS) == pytest.approx(F.cross_entropy(LOGITS, LABELS))
    assert not losses["cost_matrix"].corrects({})


@pytest.mark.parametrize(
    ("positive", "message"),
    [
        (None, "positive is not given, and which of 3 classes must not be missed is not plain: name one or more"),
        ("melanom", "positive is 'melanom': no class 'melanom'; known: .* [(]did you mean 'melanoma'[?][)]"),
        ("melanoma,nevus,seborrheic_keratosis", "these are all classes, so none can be missed"),
    ],
)
def test_what_must_not_be_missed_has_to_be_plain(positive, message):
    with pytest.raises(SettingError, match=message):
        losses["cost_matrix"].build(CLASSES, positive=positive)


def test_cost_matrix_from_a_file_in_any_order(tmp_path):
    file = tmp_path / "costs.csv"
    file.write_text(
        "true,nevus,melanoma,seborrheic_keratosis\nnevus,0,1,2\n\nseborrheic_keratosis,3,4,5\nmelanoma,6,7,8.5\n"
    )
    np.testing.assert_array_equal(read_costs(file, CLASSES.names), [[7, 8.5, 6], [4, 5, 3], [1, 2, 0]])
    loss = losses["cost_matrix"].build(CLASSES, file=str(file))
    factors = torch.tensor([7.0, 2.0, 3.0])  # melanoma as melanoma, nevus as keratosis, keratosis as nevus
    torch.testing.assert_close(loss.terms(LOGITS, LABELS), factors * F.cross_entropy(LOGITS, LABELS, reduction="none"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "costs.csv: is empty; its header must name the classes: rest, melanoma"),
        (",rest\nrest,1\nmelanoma,1", "costs.csv:1: the columns are rest; must be each of rest, melanoma once"),
        (
            ",rest,melanoma\nrest,1,1\nrest,1,1",
            "costs.csv: the rows are rest, rest; must be each of rest, melanoma once",
        ),
        (",rest,melanoma\nrest,1,1\nmelanoma,5", "costs.csv:3: melanoma has 1 costs, the header has 2 classes"),
        (
            ",rest,melanoma\nrest,1,1\nmelanoma,-5,x",
            "costs.csv:3: melanoma taken for melanoma costs 'x', must be a number",
        ),
        (
            ",rest,melanoma\nrest,1,1\nmelanoma,-5,x",
            "costs.csv:3: melanoma taken for rest costs '-5', must be a number",
        ),
        (None, "costs.csv: cannot be read as a CSV of costs"),
        ("bytes", "costs.csv: cannot be read as a CSV of costs"),
    ],
)
def test_a_file_of_costs_that_is_wrong(text, message, tmp_path):
    file = tmp_path / "costs.csv"
    if text is not None:
        file.write_bytes(b"\xff\xfe\x00" if text == "bytes" else text.encode())
    with pytest.raises(SettingError, match=message):
        losses["cost_matrix"].build(BINARY, file=str(file))


def test_costs_are_said_once(tmp_path):
    with pytest.raises(SettingError, match="one of them says the costs, not both"):
        losses["cost_matrix"].build(BINARY, file="costs.csv", positive="melanoma")


def test_logit_adjustment_by_hand():
    # Zero logits: the adjusted probabilities are the shares themselves, to the power τ.
    counts = ClassCounts(("a", "b"), np.array([30, 10]), np.array([40, 10]))
    zero = torch.zeros(2, 2)
    terms = losses["logit_adjusted"].build(counts).terms(zero, torch.tensor([0, 1]))
    assert terms.numpy() == pytest.approx([-np.log(0.75), -np.log(0.25)])
    squared = losses["logit_adjusted"].build(counts, tau=2.0).terms(zero, torch.tensor([0, 1]))
    assert squared.numpy() == pytest.approx([-np.log(0.9), -np.log(0.1)])
    assert losses["logit_adjusted"].build(CLASSES, tau=0.0)(LOGITS, LABELS) == pytest.approx(
        F.cross_entropy(LOGITS, LABELS)
    )


def test_logit_adjustment_bears_a_class_without_images():
    counts = ClassCounts(("a", "b", "c"), np.array([0, 50, 50]), np.array([0, 50, 50]))
    assert torch.isfinite(losses["logit_adjusted"].build(counts)(LOGITS, LABELS))


def test_effective_weights_by_hand():
    # Effective numbers for β = 1/2: 1, 3/2, 7/4; their inverses sum to 1 + 2/3 + 4/7 = 47/21.
    np.testing.assert_allclose(effective_weights(np.array([1, 2, 3]), 0.5), np.array([63, 42, 36]) / 47)
    np.testing.assert_allclose(effective_weights(COUNTS, 0.0), np.ones(3))
    inverse = 1 / COUNTS
    np.testing.assert_allclose(effective_weights(COUNTS, 0.99999), 3 * inverse / inverse.sum(), rtol=0.01)


@pytest.mark.parametrize(
    ("of", "base"), [("cross_entropy", ("cross_entropy", {})), ("focal", ("focal", {"gamma": 1.5}))]
)
def test_class_balanced_weighs_the_terms_of_another_loss(of, base):
    loss = losses["class_balanced"].build(CLASSES, beta=0.99, of=of, gamma=1.5)
    terms = losses[base[0]].build(CLASSES, **base[1]).terms(LOGITS, LABELS)
    expected = (torch.from_numpy(effective_weights(COUNTS, 0.99)).float()[LABELS] * terms).mean()
    assert loss(LOGITS, LABELS) == pytest.approx(expected)


@pytest.mark.parametrize(("name", "nothing"), [("logit_adjusted", {"tau": 0.0}), ("class_balanced", {"beta": 0.0})])
def test_losses_that_use_the_counts_correct_imbalance(name, nothing):
    assert losses[name].corrects({})
    assert not losses[name].corrects(nothing)
