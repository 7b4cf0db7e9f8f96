"""Counts after balancing."""

import numpy as np
import pytest
from imblearn.over_sampling import RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler

from lesion.balancing import balancings

LABELS = np.repeat([0, 1, 2], [374, 254, 1372])


def counts(name: str, **settings: float) -> list[int]:
    drawn = balancings[name].build(LABELS, np.random.default_rng(0), **settings)
    return np.bincount(LABELS[drawn]).tolist()


@pytest.mark.parametrize(
    ("name", "settings", "after"),
    [
        ("none", {}, [374, 254, 1372]),
        ("oversample", {}, [1372, 1372, 1372]),
        ("oversample", {"ratio": 0.5}, [686, 686, 1372]),
        ("oversample", {"ratio": 0.0}, [374, 254, 1372]),
        ("downsample", {}, [254, 254, 254]),
        ("downsample", {"ratio": 2.0}, [374, 254, 508]),
    ],
)
def test_counts(name, settings, after):
    assert counts(name, **settings) == after


def test_oversampling_repeats_every_image_about_equally_often():
    drawn = balancings["oversample"].build(LABELS, np.random.default_rng(0))
    times = np.bincount(drawn, minlength=len(LABELS))
    for label in range(3):
        assert np.ptp(times[label == LABELS]) <= 1


@pytest.mark.parametrize(
    ("name", "independent"), [("oversample", RandomOverSampler), ("downsample", RandomUnderSampler)]
)
def test_counts_of_full_balance_are_those_of_imbalanced_learn(name, independent):
    _, resampled = independent(random_state=0).fit_resample(np.arange(len(LABELS))[:, None], LABELS)
    assert counts(name) == np.bincount(resampled).tolist()
