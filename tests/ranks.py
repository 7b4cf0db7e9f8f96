"""What the ranks of tests/test_parallel.py build, by names that another process can import."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from small_data import small_data, small_training

from lesion.batch_norm import GroupBatchNorm
from lesion.group import Group
from lesion.parallel import ParallelTraining
from lesion.training import Training

PLAIN = {
    "backbone": "squeezenet1_1", "head__linear__dropout": 0.0, "weight_average": 0.0, "batch_size": 5, "epoch": "full",
    "optimizer": "sgd", "optimizer__adamw__lr": None,
}  # fmt: skip
"""Without batch norm, dropout and anything else that differs between a batch and its parts."""


def build(group: Group, **settings: Any) -> Training:
    """The training of one rank."""
    return small_training(small_data(train=(9, 6, 5)), group=group, **settings)


def broken_elsewhere(group: Group, *, how: str, **settings: Any) -> Training:
    """A training that goes wrong in rank 1 alone."""
    if how == "build" and group.rank:
        raise ValueError("no such image")
    training = build(group, **settings)
    if group.rank:
        training.model.register_forward_pre_hook(partial(_go_wrong, how))
    return training


def _go_wrong(how: str, model: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
    if how == "step":
        raise ValueError("no such image")
    if how == "memory" and len(given[0]) > 3:
        raise torch.OutOfMemoryError("4 images are too many")
    if how == "no memory":
        raise torch.OutOfMemoryError("1 image is too many")
    if how == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "hang":
        os.kill(os.getpid(), signal.SIGSTOP)


class Bench:
    """A rank that trains whatever it is asked for, so that one pair of processes does for many settings."""

    device = torch.device("cpu")

    def __init__(self, group: Group) -> None:
        self.group = group

    def accompany(self, settings: dict[str, Any]) -> None:
        """An epoch of other settings, or batch norm of so many dimensions."""
        if "dimensions" in settings:
            normalise(self.group, **settings)
            return
        training = build(self.group, **settings)
        training.accompany(training.schedule_state)


def normalise(group: Group, dimensions: int) -> dict[str, torch.Tensor]:
    """What batch norm makes of a rank's share of nine examples, in float64: outputs, gradients and statistics."""
    rng = torch.Generator().manual_seed(dimensions)
    kind = {2: torch.nn.BatchNorm1d, 4: torch.nn.BatchNorm2d}[dimensions]
    layer = kind(3, momentum=0.3).double()
    torch.nn.init.normal_(layer.weight, generator=rng)
    examples, slopes = torch.randn(2, 9, 3, *[4] * (dimensions - 2), generator=rng, dtype=torch.float64)
    shown = (examples[group.share(9)] * 3 + 50).requires_grad_()
    with nullcontext() if group.alone else GroupBatchNorm(group):
        outputs = layer(shown)
    (outputs * slopes[group.share(9)]).sum().backward()
    gradients = {"weight": group.total(layer.weight.grad), "bias": group.total(layer.bias.grad)}
    return {"outputs": outputs.detach(), "input": shown.grad, **gradients, **dict(layer.named_buffers())}


def require_alike(ours: Training, theirs: Training) -> None:
    """Equal weights and statistics, but for how sums are rounded."""
    for name, tensor in theirs.model.state_dict().items():
        torch.testing.assert_close(
            ours.model.state_dict()[name], tensor, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )


def main() -> None:
    """Train on two ranks until somebody ends this process; prints the process of rank 1 after an epoch."""
    training = ParallelTraining(partial(build, **PLAIN), 2)
    training.step()
    print(training.ranks.others[0].process.pid, flush=True)
    time.sleep(1000)


if __name__ == "__main__":
    sys.modules["ranks"] = sys.modules["__main__"]
    build.__module__ = "ranks"
    main()
