"""Backbones: from a normalised image to a feature map, (N, 3, S, S) → (N, channels, S', S').

Three kinds: every torchvision classification model by its own name, every timm model that yields a map as
``timm/<name>``, and pre-activation ResNets (``preact_resnet50``) for training from scratch. Each is a row of stages.
A stage ends where the map is about to shrink, so ResNet-50, MobileNetV2 and VGG have five; a network that never
shrinks its map after the first layer, as vision transformers, has four of equal depth.
"""

from lesion.models.backbones import preact_resnet, timm_models, torchvision_models
from lesion.models.backbones.backbone import Backbone, backbones
from lesion.models.backbones.torchvision_models import structure

__all__ = ["Backbone", "backbones", "preact_resnet", "structure", "timm_models", "torchvision_models"]
