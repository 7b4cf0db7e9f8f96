"""A network that is quick to build, for the tests of predicting."""

import torch

from lesion.models import build_model
from lesion.predictor import Member
from lesion.settings import resolve

CLASSES = ("melanoma", "seborrheic_keratosis", "nevus")
SETTINGS = {"image_size": 32, "backbone": "squeezenet1_1", "precision": "float32"}


def member(seed=0, size=40, geometry="stretch", **settings):
    torch.manual_seed(seed)
    settings = SETTINGS | settings
    model = build_model(resolve(settings), CLASSES, pretrained=False)
    for parameter in model.head.parameters():
        torch.nn.init.normal_(parameter)  # so that classes differ
    return Member(settings, model, size, geometry)
