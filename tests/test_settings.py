"""Flat settings become a plan, or say what is wrong with them."""

import pytest

from lesion.errors import SettingError
from lesion.settings import corrects_imbalance, resolve


@pytest.mark.parametrize(
    ("flat", "message"),
    [
        ({"loss": "focl"}, r"no loss 'focl'; known: .* \(did you mean 'focal'\?\)"),
        ({"loss": 3}, "loss is 3, must be the name of a loss"),
        ({"loss.focal.gamma": 1.0}, "loss.focal.gamma is set, but the loss is cross_entropy"),
        ({"loss": "focal", "loss.focal.gama": 1.0}, "loss.focal: no setting of loss focal 'gama'"),
        ({"loss": "focal", "loss.focal.gamma": -1.0}, "loss.focal: gamma is -1.0, must be from 0 to 10"),
        ({"los.focal.gamma": 1.0}, r"no kind of component 'los'; .* \(did you mean 'loss'\?\)"),
        ({"image_sise": 64}, r"no setting 'image_sise'; .* \(did you mean 'image_size'\?\)"),
        ({"image_size": 8}, "image_size is 8, must be from 16 to 1024"),
        ({"views": 3}, "no views '3'; known: 1, 2, 4, 8"),
    ],
)
def test_mistakes(flat, message):
    with pytest.raises(SettingError, match=message):
        resolve(flat)


@pytest.mark.parametrize(
    ("kind", "name", "settings", "corrects"),
    [
        ("loss", "cross_entropy", {}, False),
        ("loss", "weighted_cross_entropy", {}, True),
        ("loss", "weighted_cross_entropy", {"exponent": 0.0}, False),
        ("balancing", "none", {}, False),
        ("balancing", "oversample", {}, True),
        ("head", "linear", {}, False),
    ],
)
def test_what_corrects_imbalance(kind, name, settings, corrects):
    assert corrects_imbalance(kind, name, settings) is corrects
