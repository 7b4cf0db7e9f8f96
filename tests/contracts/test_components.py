"""What every component must do, tested because it is registered."""

import dataclasses
import re

import numpy as np
import pytest
import torch
from variations import every, variations

from lesion.augment import Augmenter, augmentations
from lesion.balancing import Draws, Part, balancings
from lesion.classes import ClassCounts
from lesion.losses import Loss, losses, weighted
from lesion.metadata import WIDTH, nothing_known
from lesion.models import build_model
from lesion.models.backbones import backbones
from lesion.models.backbones.backbone import NORMALISATIONS
from lesion.models.heads import heads
from lesion.models.metadata import metadatas
from lesion.models.paper import OnPaper
from lesion.optimisation import optimizers, schedules
from lesion.settings import DEFAULTS, REGISTRIES, resolve

NAMES = ("melanoma", "seborrheic_keratosis", "nevus")
LABELS = np.repeat([0, 1, 2], [20, 8, 50])
COUNTS = ClassCounts(NAMES, np.array([20, 5, 50]), np.array([10, 5, 50]))
ASKED: dict[str, dict[str, object]] = {"cost_matrix": {"positive": "melanoma"}}
"""Settings of components that have no default for three classes."""
LOGITS = torch.randn(16, 3, generator=torch.Generator().manual_seed(0))
TARGETS = torch.arange(16) % 3
DEEP = re.compile(  # their like is there with fewer layers; over a quarter of a second each
    "convnext_(base|large)|densenet(161|169|201)|efficientnet_(b[4-7]|v2_[ml])|resnet1|resnext101|wide_resnet101"
    "|regnet_._(3_2|8|16|32|128)gf|swin_(v2_)?[sb]|vit_[lh]"
)
BACKBONES = [pytest.param(name, marks=[pytest.mark.slow] * bool(DEEP.match(name))) for name in backbones]
_LIGHT_FIRST = sorted(
    (name for name in backbones if not DEEP.match(name)), key=lambda name: (len(name), name), reverse=True
)
FAMILIES = [*{re.split(r"\d|_(?!resnet)", name)[0]: name for name in _LIGHT_FIRST}.values(), "timm/test_resnet"]
"""A backbone of each family, of few layers: how much trains is asked of all of them by the same code."""


@pytest.mark.parametrize("kind", list(REGISTRIES))
def test_every_component_says_what_it_is_and_has_defaults(kind):
    for component in REGISTRIES[kind].values():
        assert component.summary.endswith((".", ").", ":")), component.name
        assert not [s.name for s in component.settings.values() if s.required], component.name
        for setting in component.settings.values():
            setting.check(setting.default)


def test_every_kind_has_a_default_and_nothing_at_all_is_a_plan():
    assert DEFAULTS.keys() == REGISTRIES.keys()
    assert {kind: choice.name for kind, choice in resolve({}).choices.items()} == DEFAULTS


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_is_built_of_stages_that_have_something_to_train(name):
    with OnPaper():
        backbone = build_model(resolve({"image_size": 224, "backbone": name}), 3, pretrained=False).backbone
    assert 3 <= len(backbone.stages) <= 7
    assert backbone.channels >= 256
    assert all(any(True for _ in stage.parameters()) for stage in backbone.stages)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_backbone_trains_and_normalises_as_its_settings_say(name):
    for given in (*variations(backbones[name]), {"trainable_stages": 1}, {"trainable_layers": 1}):
        with OnPaper():
            backbone = backbones[name].build(224, False, **given).train()
        training = [any(p.requires_grad for p in stage.parameters()) for stage in backbone.stages]
        frozen = len(training) - min(len(training), *(given.get(f"trainable_{of}", 9) for of in ("stages", "layers")))
        assert training == [False] * frozen + [True] * (len(training) - frozen), given
        assert backbone.still == (frozen == len(training)), given
        norms = [module.training for module in backbone.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        assert not any(norms) or given.get("batch_norm") != "frozen", given
        if given.get("normalisation") in NORMALISATIONS:  # "weights" is that of the weights
            assert (backbone.mean, backbone.std) == NORMALISATIONS[given["normalisation"]], given


@pytest.mark.parametrize("name", ["timm/test_resnet", "timm/test_vit", "timm/test_mambaout"])
def test_a_backbone_of_a_family_is_built_of_stages_and_carries_every_head(name):
    for head in heads:
        with OnPaper():
            model = build_model(resolve({"image_size": 160, "backbone": name, "head": head}), NAMES, pretrained=False)
        assert 3 <= len(model.backbone.stages) <= 7
        assert all(any(True for _ in stage.parameters()) for stage in model.backbone.stages)


@every(metadatas)
def test_every_metadata_branch_gives_a_map_that_heads_can_stand_on(name, given):
    branch = metadatas[name].build(12, WIDTH, **given)
    if branch is None:
        return
    features = branch(torch.randn(4, 12, 3, 5), torch.from_numpy(nothing_known(4)))
    assert features.shape == (4, branch.channels, 3, 5)
    assert torch.isfinite(features).all()


@every(heads)
def test_every_head_maps_a_feature_map_to_logits_with_gradients(name, given):
    require_logits(heads[name].build(12, NAMES, **given), (3, 5))


@pytest.mark.parametrize("name", list(heads))
@pytest.mark.parametrize("side", [(1, 1), (7, 7)])
def test_every_head_takes_maps_of_any_side(name, side):
    require_logits(heads[name].build(12, NAMES), side)


def require_logits(head: torch.nn.Module, side: tuple[int, int]) -> None:
    features = torch.randn(4, 12, *side, requires_grad=True)
    logits = head(features)
    assert logits.shape == (4, 3)
    logits.square().sum().backward()
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()


def built_loss(name: str, given: dict[str, object]) -> Loss:
    return losses[name].build(COUNTS, **{**ASKED.get(name, {}), **given})


@every(losses)
def test_every_loss_is_a_finite_scalar_whose_gradient_is_right(name, given):
    loss = built_loss(name, given)
    logits = LOGITS.double().requires_grad_()
    assert loss(logits, TARGETS).shape == ()
    assert torch.autograd.gradcheck(lambda z: loss(z, TARGETS), (logits,))
    certain = torch.eye(3)[TARGETS].mul(200.0).requires_grad_()
    loss(certain, TARGETS).backward()
    assert certain.grad is not None
    assert torch.isfinite(certain.grad).all()


@every(losses)
@pytest.mark.parametrize("class_weights", [None, np.array([0.5, 3.0, 1.0])])
def test_every_loss_of_a_batch_is_the_mean_of_its_parts_by_their_mass(name, given, class_weights):
    loss = built_loss(name, given) if class_weights is None else weighted(built_loss(name, given), class_weights)
    parts = [slice(0, 3), slice(3, 10), slice(10, 16)]
    masses = [loss.masses(TARGETS[part]).sum() for part in parts]
    mean = sum(loss(LOGITS[part], TARGETS[part]) * mass for part, mass in zip(parts, masses, strict=True)) / sum(masses)
    torch.testing.assert_close(mean, loss(LOGITS, TARGETS), check_dtype=False)


@every(losses)
def test_every_loss_with_class_weights_is_that_of_examples_that_count_as_often(name, given):
    weights = np.array([2.0, 1.0, 3.0])
    often = torch.from_numpy(np.repeat(np.arange(16), weights[TARGETS.numpy()].astype(int)))
    loss = built_loss(name, given)
    torch.testing.assert_close(
        weighted(loss, weights)(LOGITS, TARGETS), loss(LOGITS[often], TARGETS[often]), check_dtype=False
    )


@every(balancings)
def test_every_balancing_is_seeded_and_stays_inside_the_training_part(name, given):
    part = Part(LABELS, NAMES, {on: Vectors() for on in ("features", "pixels")})
    everything = Draws.everything(len(LABELS))
    first, again = (balancings[name].build(part, everything, np.random.default_rng(5), **given) for _ in range(2))
    for field in dataclasses.fields(Draws):
        assert np.array_equal(getattr(first, field.name), getattr(again, field.name)), field.name
    for rows in (first.row, first.partner):
        assert rows.dtype == np.int64
        assert set(rows) <= set(range(len(LABELS)))
    assert np.array_equal(LABELS[first.row], LABELS[first.partner])
    assert set(LABELS[first.row]) == {0, 1, 2}
    assert ((first.blend >= 0) & (first.blend <= 1)).all()


class Vectors:
    """Noise with a place for each class, the same for every copy."""

    key, width = "noise", 4

    def read(self, row, copy):
        return np.random.default_rng(0).normal(size=(len(LABELS), 4))[row] + LABELS[row, None]


@every(augmentations)
@pytest.mark.parametrize("sides", [(40, 32), (32, 32), (24, 32)])
def test_every_policy_gives_the_size_and_draws_by_seed_epoch_and_row(name, given, sides):
    have, want = sides
    image = np.random.default_rng(0).integers(0, 256, (have, have, 3), dtype=np.uint8)
    policy = augmentations[name].build(want, **given)
    first, again = Augmenter(policy, seed=3), Augmenter(augmentations[name].build(want, **given), seed=3)
    drawn = first(image, 0, 7)
    assert drawn.shape == (want, want, 3)
    assert drawn.dtype == np.uint8
    first(image, 5, 1)  # what was drawn between does not matter
    assert np.array_equal(first(image, 0, 7), again(image, 0, 7))
    if name != "none":
        others = [first(image, epoch, row) for epoch in range(4) for row in range(4)]
        assert len({other.tobytes() for other in others}) > 4


@every(optimizers)
def test_every_optimizer_updates_what_trains_and_nothing_else(name, given):
    body, head = torch.nn.Linear(3, 3), torch.nn.Linear(3, 2)
    body.weight.requires_grad_(False)
    before = body.weight.clone(), head.weight.clone()
    optimizer = optimizers[name].build(body, head, **given)
    head(body(torch.full((2, 3), 1e3))).square().sum().backward()
    optimizer.step()
    assert torch.equal(body.weight, before[0])
    assert not torch.equal(head.weight, before[1])


@every(schedules)
def test_every_schedule_stays_between_nothing_and_the_full_rate(name, given):
    factor = schedules[name].build(100, 10, **given)
    rates = [factor(step) for step in range(100)]
    assert all(0.0 <= rate <= 1.0 for rate in rates)
    # A milestone at the very beginning has passed before the first step.
    assert max(rates) == pytest.approx(0.1 if given in ({"first": 0.0}, {"second": 0.0}) else 1.0)
