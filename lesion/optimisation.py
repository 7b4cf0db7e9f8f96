"""Optimizers and learning-rate schedules."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import cos, pi
from typing import Annotated

from torch import nn, optim

from lesion.registry import Range, Registry

optimizers = Registry("optimizer")
schedules = Registry("schedule")

LearningRate = Annotated[float, Range(1e-8, 10.0)]
Decay = Annotated[float, Range(0.0, 1.0)]
Factor = Annotated[float, Range(0.0, 1.0)]
Schedule = Callable[[int], float]


@optimizers.register
def adamw(
    backbone: nn.Module,
    head: nn.Module,
    *,
    lr: LearningRate = 3e-4,
    weight_decay: Decay = 0.01,
    backbone_factor: Factor = 1.0,
) -> optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101); the backbone learns at lr × `backbone_factor`."""
    return optim.AdamW(_groups(backbone, head, lr, weight_decay, backbone_factor), lr=lr)


@optimizers.register
def sgd(
    backbone: nn.Module,
    head: nn.Module,
    *,
    lr: LearningRate = 1e-2,
    momentum: Annotated[float, Range(0.0, 0.999)] = 0.9,
    weight_decay: Decay = 1e-4,
    backbone_factor: Factor = 1.0,
) -> optim.Optimizer:
    """Stochastic gradient descent with Nesterov momentum; the backbone learns at lr × `backbone_factor`."""
    groups = _groups(backbone, head, lr, weight_decay, backbone_factor)
    return optim.SGD(groups, lr=lr, momentum=momentum, nesterov=momentum > 0)


@schedules.register
def constant(steps: int, steps_per_epoch: int) -> Schedule:
    """The same learning rate throughout."""
    return lambda step: 1.0


@schedules.register
def cosine(steps: int, steps_per_epoch: int, *, warmup: Annotated[float, Range(0.0, 100.0)] = 1.0) -> Schedule:
    """Linear warm-up over `warmup` epochs, then half a cosine to zero (Loshchilov & Hutter 2017, arXiv:1608.03983).

    A warm-up that is longer than half the training is cut to half.
    """
    rise = min(round(warmup * steps_per_epoch), steps // 2)

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + cos(pi * min(1.0, (step - rise) / max(1, steps - rise))))

    return factor


@schedules.register
def step(
    steps: int,
    steps_per_epoch: int,
    *,
    first: Annotated[int, Range(1, None)] = 20,
    every: Annotated[int, Range(1, None)] = 10,
    gamma: Annotated[float, Range(0.0, 1.0)] = 0.1,
) -> Schedule:
    """Multiply the learning rate by `gamma` at epoch `first` and each `every` epochs after."""

    def factor(at: int) -> float:
        epoch = at // steps_per_epoch
        drops: int = 0 if epoch < first else 1 + (epoch - first) // every
        return gamma**drops

    return factor


def _groups(
    backbone: nn.Module, head: nn.Module, lr: float, weight_decay: float, factor: float
) -> list[dict[str, object]]:
    # Biases and normalisation scales are one-dimensional; decaying them pulls the layer's output, not its
    # complexity (He et al. 2019, arXiv:1812.01187, section 3.1).
    return [
        {"params": params, "lr": rate, "weight_decay": decay}
        for module, rate in ((backbone, lr * factor), (head, lr))
        for decay, params in _by_decay(module.parameters(), weight_decay)
        if params
    ]


def _by_decay(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[tuple[float, list[nn.Parameter]]]:
    trained = [p for p in parameters if p.requires_grad]
    return [(weight_decay, [p for p in trained if p.ndim > 1]), (0.0, [p for p in trained if p.ndim <= 1])]
