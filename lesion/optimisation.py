"""Optimizers, and schedules of their learning rates.

A schedule maps the step, counted from 0, to a factor of the full learning rate, from 0 to 1. One that follows the
validation part is told its score after each epoch, and has a state (see `Follower`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import cos, inf, pi
from typing import Annotated, Protocol, runtime_checkable

from torch import nn, optim

from lesion.registry import Range, Registry

optimizers = Registry("optimizer")
schedules = Registry("schedule")

LearningRate = Annotated[float, Range(1e-8, 10.0)]
Decay = Annotated[float, Range(0.0, 1.0)]
Factor = Annotated[float, Range(0.0, 1.0)]
Schedule = Callable[[int], float]


@runtime_checkable
class Follower(Protocol):
    """A schedule that follows the validation part."""

    def __call__(self, step: int) -> float:
        """Factor at step `step`."""

    def observe(self, monitor: float) -> None:
        """Take in the score of the epoch that is over; higher is better."""

    def state_dict(self) -> dict[str, float]:
        """What `load_state_dict` needs to go on."""

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on from there."""


@optimizers.register
def adam(
    backbone: nn.Module,
    head: nn.Module,
    *,
    lr: LearningRate = 1e-4,
    l2: Decay = 0.0,
    backbone_factor: Factor = 1.0,
) -> optim.Optimizer:
    """Adam (Kingma & Ba 2015, arXiv:1412.6980); the backbone learns at lr × `backbone_factor`.

    The penalty l2/2 · ‖w‖² is part of the loss, so that Adam rescales its gradient too; Keras' ``l2(x)`` is 2x here.
    """
    return optim.Adam(_groups(backbone, head, lr, l2, backbone_factor), lr=lr, fused=True)


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
    return optim.AdamW(_groups(backbone, head, lr, weight_decay, backbone_factor), lr=lr, fused=True)


@optimizers.register
def sgd(
    backbone: nn.Module,
    head: nn.Module,
    *,
    lr: LearningRate = 1e-2,
    momentum: Annotated[float, Range(0.0, 0.999)] = 0.9,
    weight_decay: Decay = 1e-4,
    nesterov: bool = True,
    backbone_factor: Factor = 1.0,
) -> optim.Optimizer:
    """Stochastic gradient descent with momentum, Nesterov's or plain; the backbone learns at lr × `backbone_factor`.

    `weight_decay` is the factor of w in its gradient: Keras' ``l2(x)`` is 2x here.
    """
    groups = _groups(backbone, head, lr, weight_decay, backbone_factor)
    return optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov and momentum > 0, fused=True)


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


@schedules.register
def milestones(
    steps: int,
    steps_per_epoch: int,
    *,
    first: Factor = 0.5,
    second: Factor = 0.75,
    gamma: Factor = 0.1,
) -> Schedule:
    """Multiply the learning rate by `gamma` when shares `first` and `second` of the training are over."""

    def factor(at: int) -> float:
        return float(gamma ** sum(at >= share * steps for share in (first, second)))

    return factor


@schedules.register
def plateau(
    steps: int,
    steps_per_epoch: int,
    *,
    factor: Factor = 0.5,
    patience: Annotated[int, Range(1, None)] = 2,
    floor: Factor = 0.01,
) -> Schedule:
    """Multiply the learning rate by `factor` after each `patience` epochs without a better validation score.

    The rate never falls below `floor`, a share of the full one. An epoch that equals the best is not better; patience
    counts as in Keras, so torch's ``ReduceLROnPlateau`` does the same with one less.
    """
    return Plateau(factor, patience, floor)


class Plateau:
    """The schedule `plateau`; a `Follower`."""

    def __init__(self, factor: float, patience: int, floor: float) -> None:
        self._factor, self._patience, self._floor = factor, patience, floor
        self._rate, self._best, self._flat = 1.0, -inf, 0

    def __call__(self, step: int) -> float:
        """Factor at any step of the epoch at hand."""
        return self._rate

    def observe(self, monitor: float) -> None:
        """Take in the score of the epoch that is over; higher is better, NaN is not."""
        if monitor > self._best:
            self._best, self._flat = monitor, 0
            return
        self._flat += 1
        if self._flat == self._patience:
            self._rate, self._flat = max(self._floor, self._rate * self._factor), 0

    def state_dict(self) -> dict[str, float]:
        """What `load_state_dict` needs to go on."""
        return {"rate": self._rate, "best": self._best, "flat": self._flat}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on from there."""
        self._rate, self._best, self._flat = state["rate"], state["best"], int(state["flat"])


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
