"""Parameter counts that systems A and B publish, and what of them trains."""

import pytest

from lesion.models.backbones import backbones
from lesion.models.counting import parameter_count
from lesion.models.heads import heads
from lesion.models.paper import OnPaper

ISIC2018 = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
CONV5, HALF_CONV4 = 10, 9  # convolutions of ResNet-50's conv5_x, and of the last three of conv4_x's six blocks


def counts(head, classes, **frozen):
    with OnPaper():
        backbone = backbones["resnet50"].build(224, False, **frozen)
        top = heads[head].build(backbone.channels, classes)
    return [sum(parameter_count(part, "keras", trainable=t) for part in (backbone, top)) for t in (False, True)]


def test_resnet50_with_the_attention_lstm_counts_what_system_b_reports():
    assert counts("attention_lstm", ISIC2018)[0] == 34_345_607


@pytest.mark.parametrize(
    ("frozen", "trainable"),
    [
        ({"trainable_stages": 1}, 15_501_315),
        ({"trainable_layers": CONV5}, 15_501_315),
        ({"trainable_layers": CONV5 + HALF_CONV4}, 18_857_475),
    ],
)
def test_the_dense_head_of_g1_with_the_last_32_or_64_keras_layers(frozen, trainable):
    whole, trains = counts("dense", ISIC2018[:3], **frozen)
    assert round(whole / 1e6, 2) == 24.11
    assert trains == trainable
    assert round(trains / 1e6, 2) in (15.50, 18.86)


def test_the_body_alone_in_both_conventions():
    with OnPaper():
        backbone = backbones["resnet50"].build(224, False, trainable_stages=0)
    assert parameter_count(backbone) == 25_557_032 - 2_049_000  # torchvision's ResNet-50 without its classifier
    assert parameter_count(backbone, "keras") == 23_587_712  # keras.applications.ResNet50(include_top=False)
    assert parameter_count(backbone, "keras", trainable=True) == 0
