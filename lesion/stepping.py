"""One optimizer step, in as many micro-batches as memory asks for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lesion.batch_norm import GroupBatchNorm
from lesion.devices import is_out_of_memory
from lesion.group import Group
from lesion.losses import Loss


@dataclass(frozen=True)
class Batch:
    """What a step sees: examples (B, …), `people` (B, width) where the model asks for them, labels (B,).

    `whole` (N,) are the labels of the whole batch of which these examples are a rank's share; alone they are all of it.
    """

    examples: torch.Tensor
    people: torch.Tensor | None
    labels: torch.Tensor
    whole: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def split(self, parts: int) -> list[Batch]:
        """Micro-batches of about one size."""
        # Not chunk, which cuts 10 into 3, 3, 3 and 1: batch norm cannot train on one.
        people = [None] * parts if self.people is None else self.people.tensor_split(parts)
        pieces = zip(self.examples.tensor_split(parts), people, self.labels.tensor_split(parts), strict=True)
        return [Batch(*piece, self.whole) for piece in pieces]


Logits = Callable[[Batch], torch.Tensor]


class Gradients:
    """Gradients of a batch's loss, whose micro-batches are halved each time memory runs out.

    `logits` computes the logits of a (micro-)batch on `device`; `parts` is how many micro-batches a step is cut into.
    `loss` may be another one from step to step.
    """

    def __init__(self, logits: Logits, loss: Loss, device: torch.device) -> None:
        self._logits, self.loss, self._device = logits, loss, device
        self.parts = 1

    def accumulate(self, batch: Batch, optimizer: torch.optim.Optimizer) -> tuple[torch.Tensor, torch.Tensor]:
        """Leave the gradients of `batch` in the parameters.

        Returns its loss, a scalar, and its logits, as the model gave them; both stay on the device.
        """
        while True:
            optimizer.zero_grad()
            try:
                whole = self.loss.masses(batch.whole).sum()
                pieces = [self._backward(piece, whole, self._logits) for piece in batch.split(self.parts)]
                losses, logits = zip(*pieces, strict=True)
                return torch.stack(losses).sum(), torch.cat(logits)
            except (RuntimeError, MemoryError) as problem:
                if not is_out_of_memory(problem) or 4 * self.parts > len(batch):
                    raise
            # Outside the except clause, which would keep the failed step's tensors alive.
            self._halve()

    def _halve(self) -> None:
        self.parts *= 2
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _backward(self, batch: Batch, whole: torch.Tensor, logits_of: Logits) -> tuple[torch.Tensor, torch.Tensor]:
        logits = logits_of(batch).float()
        labels = batch.labels.to(self._device, non_blocking=True)
        loss = self.loss.terms(logits, labels).sum() / whole.to(self._device, non_blocking=True)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach(), logits.detach()


class GroupGradients(Gradients):
    """Gradients of a batch of which each rank of a `group` has its share; all ranks end with the same.

    A rank cannot run out of memory in the middle of a step: the others would wait for it. So the first steps are
    rehearsed by each rank for itself, and all cut their shares in as many pieces as the one that needs most. The second
    is rehearsed as well, because an optimizer takes its memory at the end of the first.
    """

    REHEARSED = 2

    def __init__(self, model: nn.Module, logits: Logits, loss: Loss, device: torch.device, group: Group) -> None:
        super().__init__(logits, loss, device)
        self._model, self._group = model, group
        self._rehearsals = 0
        self._synchronised = GroupBatchNorm(group)
        self._shared: DistributedDataParallel | None = None

    def accumulate(self, batch: Batch, optimizer: torch.optim.Optimizer) -> tuple[torch.Tensor, torch.Tensor]:
        """Leave the gradients of the whole batch in the parameters; returns its loss, and the logits of this share."""
        if self._rehearsals < self.REHEARSED:
            self._rehearse(batch, optimizer)
        shared = self._shared = self._shared or self._wrapped()
        optimizer.zero_grad()
        # DistributedDataParallel takes the mean over the ranks of what is to be their sum.
        whole = self.loss.masses(batch.whole).sum() / self._group.size
        pieces, found = batch.split(self.parts), []
        for index, piece in enumerate(pieces):
            with self._synchronised, nullcontext() if index == len(pieces) - 1 else shared.no_sync():
                found.append(self._backward(piece, whole, shared))
        losses, logits = zip(*found, strict=True)
        return self._group.total(torch.stack(losses).sum()) / self._group.size, torch.cat(logits)

    def _rehearse(self, batch: Batch, optimizer: torch.optim.Optimizer) -> None:
        """Find out how many pieces fit every rank; neither statistics nor what is drawn afterwards change by it."""
        self._rehearsals += 1
        buffers = [(buffer, buffer.clone()) for buffer in self._model.buffers()]
        devices = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            while True:
                lack = self._try(batch, optimizer)
                if self._group.everywhere(lack is None, self._device):
                    break
                if 4 * self.parts > self._group.least(len(batch.whole)):
                    raise lack or torch.OutOfMemoryError(f"out of memory in another of {self._group.size} ranks")
                self._halve()
        for buffer, before in buffers:
            buffer.copy_(before)

    def _try(self, batch: Batch, optimizer: torch.optim.Optimizer) -> BaseException | None:
        """The lack of memory that this rank has alone with a step; None where it has enough."""
        optimizer.zero_grad()
        try:
            whole = self.loss.masses(batch.whole).sum()
            for piece in batch.split(self.parts):
                self._backward(piece, whole, self._logits)
        except (RuntimeError, MemoryError) as problem:
            if not is_out_of_memory(problem):
                raise
            return problem.with_traceback(None)  # which would keep the tensors of the step alive
        return None

    def _wrapped(self) -> DistributedDataParallel:
        """The model as the ranks share it, after a rehearsal has shown which parameters take part in a step."""
        module = _Logits(self._model, self._logits)
        idle = [name for name, each in module.named_parameters() if each.requires_grad and each.grad is None]
        same = [name for name, _ in module.named_buffers()]
        # Gradients that never come would be waited for; buffers are equal in all ranks as they are.
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(  # type: ignore[no-untyped-call]
            module, idle + same
        )
        return DistributedDataParallel(module)


class _Logits(nn.Module):
    """The logits of a batch as what DistributedDataParallel can wrap."""

    def __init__(self, model: nn.Module, logits: Logits) -> None:
        super().__init__()
        self.model, self._logits = model, logits

    def forward(self, batch: Batch) -> torch.Tensor:
        return self._logits(batch)
