"""What a stored threshold does on images that it was not set on."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from lesion.evaluation import Evaluation, evaluate
from lesion.flagging import flagged_on
from lesion.rules import OperatingPoint

CLASSES = ("melanoma", "keratosis", "nevus")
POINT = OperatingPoint(("melanoma",), 0.3, 0.9, 0.91, 0.7, 150, 30)


def judged(images: int = 600, seed: int = 0) -> Evaluation:
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, images, p=[0.2, 0.2, 0.6])
    p = rng.dirichlet([1.0, 1.0, 1.0], images) + np.eye(3)[labels] * 0.4
    p /= p.sum(axis=1, keepdims=True)
    return evaluate(p, labels, CLASSES, images=[f"i{n}" for n in range(images)], samples=2)


def test_sensitivity_and_specificity_are_counted_at_the_threshold_that_is_stored() -> None:
    told = judged()
    found = flagged_on(POINT, told, [""] * 600)
    flagged, positive = told.probabilities[:, 0] >= 0.3, told.labels == 0
    assert found.sensitivity.value == (flagged & positive).sum() / positive.sum()
    assert found.specificity.value == (~flagged & ~positive).sum() / (~positive).sum()
    assert (found.images, found.positives, found.flagged) == (600, positive.sum(), flagged.sum())
    assert found.sensitivity.value != POINT.sensitivity
    for share, right, of in ((found.sensitivity, flagged, positive), (found.specificity, ~flagged, ~positive)):
        wilson = binomtest(int((right & of).sum()), int(of.sum())).proportion_ci(method="wilson")
        # Student's t in place of the normal distribution, and the spread of a thousand samples.
        assert (share.low, share.high) == pytest.approx((wilson.low, wilson.high), abs=0.01)
    assert str(found).startswith(f"sensitivity {found.sensitivity}, specificity {found.specificity} on 600 images (")


def test_two_photos_of_each_lesion_show_no_more_than_one() -> None:
    once = judged()
    both = [n // 2 for n in range(1200)]
    twice = evaluate(
        once.probabilities[both], once.labels[both], CLASSES, images=[f"i{n}" for n in range(1200)], samples=2
    )
    single, pairs = flagged_on(POINT, once, [""] * 600), flagged_on(POINT, twice, [f"lesion {n}" for n in both])
    for two, one in ((pairs.sensitivity, single.sensitivity), (pairs.specificity, single.specificity)):
        # That they are no more is an estimate itself: Korn & Graubard's correction of its degrees of freedom.
        assert (two.low, two.high) == pytest.approx((one.low, one.high), abs=1e-3)
        assert two.high - two.low > one.high - one.low
    blind = flagged_on(POINT, twice, [""] * 1200)
    assert blind.sensitivity.high - blind.sensitivity.low < 0.8 * (pairs.sensitivity.high - pairs.sensitivity.low)


def test_a_part_with_none_of_what_is_looked_for_shows_no_sensitivity() -> None:
    told = judged()
    others = np.flatnonzero(told.labels != 0)
    part = evaluate(
        told.probabilities[others], told.labels[others], CLASSES, images=[f"i{n}" for n in others], samples=2
    )
    found = flagged_on(POINT, part, [""] * len(others))
    assert math.isnan(found.sensitivity.value)
    assert found.positives == 0
    assert "sensitivity undefined, specificity 0." in str(found)
    assert found.to_dict()["sensitivity"] == [None, None, None]


def test_the_table_of_images_says_which_are_flagged() -> None:
    told = judged(40)
    table = told.per_image(POINT)
    assert table["flagged"].tolist() == (told.probabilities[:, 0] >= 0.3).tolist()
    assert 0 < table["flagged"].sum() < 40
    assert "flagged" not in told.per_image()
