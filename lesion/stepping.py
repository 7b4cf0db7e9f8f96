"""One optimizer step, in as many micro-batches as memory asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from lesion.devices import is_out_of_memory
from lesion.losses import Loss


@dataclass(frozen=True)
class Batch:
    """What a step sees: examples (B, …), `people` (B, width) where the model asks for them, labels (B,)."""

    examples: torch.Tensor
    people: torch.Tensor | None
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def split(self, parts: int) -> list[Batch]:
        """Micro-batches of about one size."""
        # Not chunk, which cuts 10 into 3, 3, 3 and 1: batch norm cannot train on one.
        people = [None] * parts if self.people is None else self.people.tensor_split(parts)
        pieces = zip(self.examples.tensor_split(parts), people, self.labels.tensor_split(parts), strict=True)
        return [Batch(*piece) for piece in pieces]


class Gradients:
    """Gradients of a batch's loss, whose micro-batches are halved each time memory runs out.

    `logits` computes the logits of a (micro-)batch on `device`; `parts` is how many micro-batches a step is cut into.
    """

    def __init__(self, logits: Callable[[Batch], torch.Tensor], loss: Loss, device: torch.device) -> None:
        self._logits, self._loss, self._device = logits, loss, device
        self.parts = 1

    def accumulate(self, batch: Batch, optimizer: torch.optim.Optimizer) -> tuple[torch.Tensor, torch.Tensor]:
        """Leave the gradients of `batch` in the parameters.

        Returns its loss, a scalar, and its logits, as the model gave them; both stay on the device.
        """
        while True:
            optimizer.zero_grad()
            try:
                whole = self._loss.masses(batch.labels).sum()
                pieces = [self._backward(piece, whole) for piece in batch.split(self.parts)]
                losses, logits = zip(*pieces, strict=True)
                return torch.stack(losses).sum(), torch.cat(logits)
            except (RuntimeError, MemoryError) as problem:
                if not is_out_of_memory(problem) or 4 * self.parts > len(batch):
                    raise
            # Outside the except clause, which would keep the failed step's tensors alive.
            self.parts *= 2
            if self._device.type == "cuda":
                torch.cuda.empty_cache()

    def _backward(self, batch: Batch, whole: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self._logits(batch).float()
        labels = batch.labels.to(self._device, non_blocking=True)
        loss = self._loss.terms(logits, labels).sum() / whole.to(self._device, non_blocking=True)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach(), logits.detach()
