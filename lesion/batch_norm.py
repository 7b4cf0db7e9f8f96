"""Batch norm over the whole batch of a group, whose ranks see a share of it each.

The layers stay what they are: within the context their statistics are those of all ranks, whatever library they come
from. Replacing them, as ``torch.nn.SyncBatchNorm`` does, would lose what others make of them (timm's have their
activation inside), and which of them a backbone keeps frozen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.nn.modules._functions import SyncBatchNorm
from torch.overrides import TorchFunctionMode

from lesion.group import Group


class GroupBatchNorm(TorchFunctionMode):
    """Within it every batch norm that trains normalises by mean and variance of the batch of the whole group."""

    def __init__(self, group: Group) -> None:
        super().__init__()
        self._group = group

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if func is not F.batch_norm or not given.get("training"):
            return func(*args, **given)
        shown, mean, variance = args
        weight, bias, momentum, eps = (given[name] for name in ("weight", "bias", "momentum", "eps"))
        if shown.is_cuda:
            size = self._group.size
            return SyncBatchNorm.apply(shown, weight, bias, mean, variance, eps, momentum, dist.group.WORLD, size)
        return _OnCPU.apply(shown, weight, bias, mean, variance, eps, momentum)


class _OnCPU(torch.autograd.Function):
    """What torch's SyncBatchNorm does on GPUs alone, in plain steps."""

    @staticmethod
    def forward(
        ctx: Any,
        shown: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        running_mean: torch.Tensor | None,
        running_variance: torch.Tensor | None,
        eps: float,
        momentum: float,
    ) -> torch.Tensor:
        x, axes = _exact(shown), _all_but_channels(shown)
        sums = torch.cat([x.sum(axes), x.new_tensor([x.numel() / x.shape[1]])])  # (C + 1,)
        dist.all_reduce(sums)
        count = sums[-1]
        mean = sums[:-1] / count
        centred = x - _wide(mean, x)
        variance = centred.square().sum(axes)
        dist.all_reduce(variance)
        variance /= count
        scale = (variance + eps).rsqrt()
        normalised = centred * _wide(scale, x)
        if running_mean is not None and running_variance is not None:
            running_mean.lerp_(mean.to(running_mean), momentum)
            running_variance.lerp_((variance * count / (count - 1)).to(running_variance), momentum)
        ctx.save_for_backward(normalised, scale, weight, count)
        ctx.biased = bias is not None
        if weight is not None:
            normalised = normalised * _wide(weight, x)
        return (normalised if bias is None else normalised + _wide(bias, x)).to(shown)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        normalised, scale, weight, count = ctx.saved_tensors
        given, axes = _exact(gradients[0]), _all_but_channels(normalised)
        of_bias, of_weight = given.sum(axes), (given * normalised).sum(axes)  # of this rank's share
        sums = torch.stack([of_bias, of_weight])
        dist.all_reduce(sums)
        means = sums / count
        slope = scale if weight is None else scale * weight
        back = (given - _wide(means[0], given) - normalised * _wide(means[1], given)) * _wide(slope, given)
        return (
            back.to(gradients[0]), None if weight is None else of_weight, of_bias if ctx.biased else None,
            None, None, None, None,
        )  # fmt: skip


def _exact(x: torch.Tensor) -> torch.Tensor:
    """Statistics are not rounded to bfloat16."""
    return x if x.dtype is torch.float64 else x.float()


def _all_but_channels(x: torch.Tensor) -> list[int]:
    return [0, *range(2, x.ndim)]


def _wide(of_channels: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """(C,) → (1, C, 1, …), to go with `x` (N, C, …)."""
    return of_channels.view(1, -1, *[1] * (x.ndim - 2))
