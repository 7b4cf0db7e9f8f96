"""Counting parameters, as torch does or as Keras does: the seed systems report theirs from Keras."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from torch import nn


def parameter_count(
    module: nn.Module, convention: Literal["torch", "keras"] = "torch", *, trainable: bool = False
) -> int:
    """Number of parameters of `module`, or of those that train.

    `keras` counts the same network as keras.applications would have it, which differs in three things: the moving mean
    and variance of a batch norm are parameters, though none that train; every convolution has a bias, also where the
    batch norm behind it makes one redundant and torch leaves it out; an LSTM has one bias vector where torch has two.

    >>> layers = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8))
    >>> [parameter_count(layers), parameter_count(layers, "keras"), parameter_count(layers, "keras", trainable=True)]
    [232, 256, 240]
    """
    count = _numel(module.parameters(), trainable)
    if convention == "torch":
        return count
    return count + sum(_difference(part, trainable) for part in module.modules())


def _difference(module: nn.Module, trainable: bool) -> int:
    """What Keras counts more of this one module than torch."""
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return 0 if trainable else 2 * module.num_features
    if isinstance(module, nn.modules.conv._ConvNd) and module.bias is None:
        return module.out_channels if module.weight.requires_grad or not trainable else 0
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        second = (parameter for name, parameter in module.named_parameters() if name.startswith("bias_hh"))
        return -_numel(second, trainable)
    return 0


def _numel(parameters: Iterable[nn.Parameter], trainable: bool) -> int:
    return sum(parameter.numel() for parameter in parameters if parameter.requires_grad or not trainable)
