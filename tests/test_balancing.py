"""Counts after balancing by rows, against the published ones and imbalanced-learn's."""

import numpy as np
import pytest
from imblearn.over_sampling import RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler

from lesion.balancing import Draws, Part, balancings
from lesion.errors import SettingError

ISIC2017 = {"melanoma": 374, "seborrheic_keratosis": 254, "nevus": 1372}
ISIC2018 = {"MEL": 1113, "NV": 6705, "BCC": 514, "AKIEC": 327, "BKL": 1099, "DF": 115, "VASC": 142}


def part_of(counts):
    return Part(np.repeat(np.arange(len(counts)), list(counts.values())), tuple(counts))


def draw(part, name, seed=0, draws=None, **settings):
    return balancings[name].build(part, draws or Draws.everything(len(part)), np.random.default_rng(seed), **settings)


@pytest.mark.parametrize(
    ("name", "settings", "after"),
    [
        ("none", {}, [374, 254, 1372]),
        ("oversample", {}, [1372, 1372, 1372]),
        ("oversample", {"ratio": 0.5}, [686, 686, 1372]),
        ("oversample", {"ratio": 0.0}, [374, 254, 1372]),
        ("downsample", {}, [254, 254, 254]),
        ("downsample", {"ratio": 2.0}, [374, 254, 508]),
        ("cap", {}, [374, 254, 686]),
        ("cap", {"count": 300}, [300, 254, 300]),
        ("cap", {"fraction": 0.25}, [343, 254, 343]),
        ("cap", {"of_class": "melanoma"}, [374, 254, 374]),
        ("copies", {}, [1870, 1270, 1372]),
        ("copies", {"of": "nevus, melanoma"}, [1870, 254, 6860]),
        ("twice", {}, [748, 508, 2744]),
        ("positives", {"of": "melanoma"}, [748, 254, 1372]),
    ],
)
def test_counts(name, settings, after):
    part = part_of(ISIC2017)
    assert draw(part, name, **settings).counts(part).tolist() == after


def test_oversampling_repeats_every_image_about_equally_often():
    part = part_of(ISIC2017)
    times = np.bincount(draw(part, "oversample").row, minlength=len(part))
    for label in range(3):
        assert np.ptp(times[part.labels == label]) <= 1


@pytest.mark.parametrize(
    ("name", "independent"), [("oversample", RandomOverSampler), ("downsample", RandomUnderSampler)]
)
def test_counts_of_full_balance_are_those_of_imbalanced_learn(name, independent):
    part = part_of(ISIC2017)
    _, resampled = independent(random_state=0).fit_resample(np.arange(len(part))[:, None], part.labels)
    assert draw(part, name).counts(part).tolist() == np.bincount(resampled).tolist()


def test_a_capped_class_keeps_each_image_at_most_once():
    part = part_of(ISIC2018)
    drawn = draw(part, "cap", count=200)
    assert len(np.unique(drawn.row)) == len(drawn)


def test_every_image_of_a_copied_class_is_there_in_five_ways():
    part = part_of(ISIC2017)
    drawn = draw(part, "copies", of="melanoma")
    copied = drawn.take(drawn.labels(part) == 0)
    assert len(set(zip(copied.row.tolist(), copied.copy.tolist(), strict=True))) == len(copied) == 5 * 374
    assert np.array_equal(drawn.partner, drawn.row)
    assert np.array_equal(drawn.partner_copy, drawn.copy)


def test_an_image_that_is_drawn_twice_is_added_once_as_a_positive():
    part = part_of(ISIC2017)
    drawn = draw(part, "positives", draws=draw(part, "twice"), of="melanoma")
    assert drawn.counts(part).tolist() == [1122, 508, 2744]
    assert np.bincount(drawn.copy + 1).tolist() == [2000 + 374, 2000]


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("cap", {"count": 5, "of_class": "nevus"}, "cap has count and of_class; it takes one of"),
        ("cap", {"of_class": "naevus"}, "no class 'naevus'; known: melanoma, nevus, .* \\(did you mean 'nevus'\\?\\)"),
        ("copies", {"of": "melanoma,SK"}, "no class 'SK'"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_words(name, settings, message):
    with pytest.raises(SettingError, match=message):
        draw(part_of(ISIC2017), name, **settings)


def test_copies_are_not_copied_again():
    part = part_of(ISIC2017)
    with pytest.raises(SettingError, match="put copies first in the chain"):
        draw(part, "copies", draws=draw(part, "copies"), of="melanoma")


def test_draws_with_a_chance_keep_it_when_taken_and_joined():
    part = part_of({"a": 2, "b": 2})
    every = Draws.everything(4)
    draws = Draws(every.row, every.copy, every.partner, every.partner_copy, every.blend, np.array([0.4, 0.4, 0.1, 0.1]))
    assert draws.counts(part).tolist() == [3, 1]
    np.testing.assert_allclose(draws.take(np.array([0, 2])).chance, [0.8, 0.2])
    joined = draws.concatenate(draws.take(np.array([0, 1])))
    np.testing.assert_allclose(joined.chance.sum(), 1.0)


@pytest.mark.parametrize(("exponent", "expected"), [(0.0, [1, 1, 1]), (1.0, [1.7825, 2.6247, 0.4859])])
def test_class_weights_are_those_of_the_published_runs(exponent, expected):
    drawn = draw(part_of(ISIC2017), "class_weights", exponent=exponent)
    np.testing.assert_allclose(drawn.class_weights, expected, atol=5e-5)
    assert len(drawn) == 2000


def test_g8_2_weighs_seven_classes():
    weights = draw(part_of(ISIC2018), "class_weights").class_weights
    np.testing.assert_allclose(weights, [1.286, 0.213, 2.784, 4.375, 1.302, 12.44, 10.08], rtol=2e-3)


@pytest.mark.parametrize(("exponent", "shares"), [(0.0, [0.187, 0.127, 0.686]), (1.0, [1 / 3, 1 / 3, 1 / 3])])
def test_the_sampler_draws_classes_between_as_they_are_and_equally_often(exponent, shares):
    part = part_of(ISIC2017)
    drawn = draw(part, "balanced_sampler", exponent=exponent)
    np.testing.assert_allclose(np.bincount(part.labels, drawn.chance), shares)
    np.testing.assert_allclose(drawn.counts(part) / 2000, shares, atol=5e-4)


def test_a_cap_leaves_something_or_is_refused():
    assert draw(part_of(ISIC2017), "cap", fraction=0.001).counts(part_of(ISIC2017)).tolist() == [1, 1, 1]
    with pytest.raises(SettingError, match=r"cap\.of_class is b, of which no image is drawn"):
        draw(part_of({"a": 3, "b": 0}), "cap", of_class="b")
