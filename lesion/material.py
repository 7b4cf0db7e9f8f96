"""What a training is fed: the training part as balancing lets it be drawn, in seeded order, augmented."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lesion.augment import Augmenter, augmentations
from lesion.balancing import Draws, Part, balancings
from lesion.classes import ClassCounts
from lesion.data.packed import PackedDataset, Split
from lesion.examples import Epoch, ExampleOrder, Photos, Source, batches
from lesion.metadata import encode
from lesion.settings import Plan
from lesion.stepping import Batch

Stream = Callable[[str], int]
"""Seed of a purpose by its name."""


@dataclass(frozen=True, eq=False)
class Material:
    """The examples of a training; `steps` batches of `batch_size` make an epoch.

    `labels` (M,) and `people` (M, width), None where the model does not ask for them, are of the draws.
    """

    counts: ClassCounts
    class_weights: NDArray[np.float64] | None
    labels: torch.Tensor
    people: torch.Tensor | None
    batch_size: int
    steps: int
    order: ExampleOrder
    source: Source

    def epoch(self, epoch: int, *, workers: int, pinned: bool) -> Iterator[Batch]:
        """Batches of epoch `epoch`, counted from 0; examples are uint8 (B, S, S, 3)."""
        shown = Epoch(self.source, self.order.epoch(epoch), epoch)
        for examples, indices in batches(shown, self.batch_size, workers=workers, pinned=pinned):
            people = None if self.people is None else self.people[indices]
            yield Batch(examples, people, self.labels[indices])


def gather(plan: Plan, data: PackedDataset, split: Split, stream: Stream) -> Material:
    """Balance the training part of `split` and lay out its order; SettingError when it cannot be balanced so."""
    part = Part(data.labels[split.train], data.classes, key=f"{data.content_hash}/{split.hash}")
    draws = _balanced(plan, part, stream)
    general = plan.general
    batch_size = min(general["batch_size"], len(draws))
    steps = max(1, (len(part) if general["epoch"] == "equal" else len(draws)) // batch_size)
    choice = plan.choices["augmentation"]
    policy = augmentations[choice.name].build(general["image_size"], **choice.settings)
    augmenter = Augmenter(policy, stream("augmentation"))
    return Material(
        counts=ClassCounts(data.classes, draws.counts(part), Draws.everything(len(part)).counts(part)),
        class_weights=draws.class_weights,
        labels=torch.from_numpy(draws.labels(part)),
        people=people(plan, data, split.train[draws.row]),
        batch_size=batch_size,
        steps=steps,
        order=ExampleOrder(draws, steps * batch_size, stream("order")),
        source=Photos(data.images, split.train, draws, general["image_size"], augmenter),
    )


def people(plan: Plan, data: PackedDataset, rows: NDArray[np.int64]) -> torch.Tensor | None:
    """Encoded metadata (N, width) of `rows`, or None where the plan's model does not ask for it."""
    if plan.choices["metadata"].name == "none":
        return None
    return torch.from_numpy(encode(data.table.iloc[rows]))


def _balanced(plan: Plan, part: Part, stream: Stream) -> Draws:
    choice = plan.choices["balancing"]
    rng = np.random.default_rng(stream("balancing"))
    draws: Draws = balancings[choice.name].build(part, Draws.everything(len(part)), rng, **choice.settings)
    return draws
