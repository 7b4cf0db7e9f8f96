"""Where each torchvision classification model is cut: the ordered modules that make its feature map.

`cut` takes a whole model apart into the modules before its pooling and classifier. Run one after the other
on (N, 3, H, W) they give what the model itself computes there, as a map (N, C, H', W'). Two are not quite what their
own classifier reads: ConvNeXt normalises after pooling, here each place of the map is normalised; and the map of a
vision transformer is its patch tokens, not the class token. A family that is not listed here (a new torchvision
model) is refused by name instead of being cut wrongly.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torchvision import models


class ChannelsFirst(nn.Module):
    """(N, H, W, C) → (N, C, H, W)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        return x.permute(0, 3, 1, 2).contiguous()


class PatchTokens(nn.Module):
    """The part of a vision transformer before its encoder layers: image → class and patch tokens (N, 1 + T, C)."""

    def __init__(self, vit: nn.Module) -> None:
        super().__init__()
        self.conv_proj = vit.conv_proj
        self.class_token = vit.class_token
        self.pos_embedding = vit.encoder.pos_embedding  # type: ignore[union-attr]
        self.dropout = vit.encoder.dropout  # type: ignore[union-attr]

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        tokens = self.conv_proj(x).flatten(2).transpose(1, 2)  # type: ignore[operator]  # (N, T, C)
        tokens = torch.cat([self.class_token.expand(x.shape[0], -1, -1), tokens], dim=1)  # type: ignore[operator]
        embedded: torch.Tensor = self.dropout(tokens + self.pos_embedding)  # type: ignore[operator]
        return embedded


class TokenMap(nn.Module):
    """Patch tokens back to a square map; the class token is left out: (N, 1 + T, C) → (N, C, √T, √T)."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:  # noqa: D102
        side = round((tokens.shape[1] - 1) ** 0.5)
        return tokens[:, 1:].transpose(1, 2).reshape(tokens.shape[0], -1, side, side)


def cut(model: nn.Module) -> list[nn.Module]:
    """The modules of `model` up to its feature map, in order; TypeError for a family that is not known."""
    for family, parts in _FAMILIES.items():
        if isinstance(model, family):
            return parts(model)
    raise TypeError(
        f"no rule to cut {type(model).__name__}; torchvision added it after lesion/models/cuts.py was written"
    )


def _children(*names: str) -> Callable[[nn.Module], list[nn.Module]]:
    return lambda model: [model.get_submodule(name) for name in names]


def _until(*ends: str) -> Callable[[nn.Module], list[nn.Module]]:
    """All children but the auxiliary classifiers, up to the first of `ends`."""

    def parts(model: nn.Module) -> list[nn.Module]:
        names = [name for name, _ in model.named_children() if not name.lower().startswith("aux")]
        stop = min(names.index(end) for end in ends if end in names)
        return [model.get_submodule(name) for name in names[:stop]]

    return parts


def _features(model: nn.Module) -> list[nn.Module]:
    return list(model.get_submodule("features").children())


def _densenet(model: nn.Module) -> list[nn.Module]:
    return [*_features(model), nn.ReLU(inplace=True)]


def _convnext(model: nn.Module) -> list[nn.Module]:
    # Its normalisation stands at the head of the classifier; without it features have no common scale.
    return [*_features(model), model.get_submodule("classifier.0")]


def _swin(model: nn.Module) -> list[nn.Module]:
    return [*_features(model), model.get_submodule("norm"), ChannelsFirst()]


def _maxvit(model: nn.Module) -> list[nn.Module]:
    return [model.get_submodule("stem"), *model.get_submodule("blocks").children()]


def _vit(model: nn.Module) -> list[nn.Module]:
    layers = list(model.get_submodule("encoder.layers").children())
    return [PatchTokens(model), *layers, model.get_submodule("encoder.ln"), TokenMap()]


_FAMILIES: dict[type[nn.Module], Callable[[nn.Module], list[nn.Module]]] = {
    models.ResNet: _until("avgpool"),
    models.RegNet: lambda m: [m.get_submodule("stem"), *m.get_submodule("trunk_output").children()],
    models.ShuffleNetV2: _until("fc"),
    models.MNASNet: lambda m: list(m.get_submodule("layers").children()),
    models.GoogLeNet: _until("avgpool"),
    models.Inception3: _until("avgpool"),
    models.DenseNet: _densenet,
    models.ConvNeXt: _convnext,
    models.SwinTransformer: _swin,
    models.MaxVit: _maxvit,
    models.VisionTransformer: _vit,
    models.AlexNet: _features,
    models.VGG: _features,
    models.SqueezeNet: _features,
    models.MobileNetV2: _features,
    models.MobileNetV3: _features,
    models.EfficientNet: _features,
}
