"""What a training is fed: the training part as balancing lets it be drawn, in seeded order, augmented."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lesion.augment import Augmenter, augmentations
from lesion.balancing import VIEWS, Draws, Part, Vectors
from lesion.balancing.store import drawn
from lesion.balancing.vectors import Features, Pixels
from lesion.classes import ClassCounts
from lesion.data.packed import PackedDataset, Split
from lesion.embeddings import Embeddings
from lesion.examples import Epoch, ExampleOrder, Photos, Source, StoredMaps, batches
from lesion.frozen import FrozenMaps
from lesion.group import ALONE, Group
from lesion.metadata import encode
from lesion.settings import Plan
from lesion.stepping import Batch

Stream = Callable[[str], int]
"""Seed of a purpose by its name."""


@dataclass(frozen=True, eq=False)
class Material:
    """The examples of a training; `steps` batches of `batch_size` make an epoch.

    `labels` (M,) and `people` (M, width), None where the model does not ask for them, are of the draws. `embeddings`
    made the feature maps that are the examples; None where those are photos.
    """

    counts: ClassCounts
    class_weights: NDArray[np.float64] | None
    labels: torch.Tensor
    people: torch.Tensor | None
    batch_size: int
    steps: int
    order: ExampleOrder
    source: Source
    embeddings: Embeddings | None = None

    def epoch(self, epoch: int, *, workers: int, pinned: bool, group: Group = ALONE) -> Iterator[Batch]:
        """Batches of epoch `epoch`, counted from 0: photos uint8 (B, S, S, 3), or feature maps float32 (B, C, H, W).

        Of each batch the share of this rank of `group`, and the labels of the whole.
        """
        order, share = self.order.epoch(epoch), group.share(self.batch_size)
        shown = batches(Epoch(self.source, order, epoch), self.batch_size, share=share, workers=workers, pinned=pinned)
        for step, (examples, indices) in enumerate(shown):
            people = None if self.people is None else self.people[indices]
            whole = order[step * self.batch_size : (step + 1) * self.batch_size]
            yield Batch(examples, people, self.labels[indices], self.labels[whole])


def gather(
    plan: Plan,
    data: PackedDataset,
    split: Split,
    stream: Stream,
    *,
    embeddings: Embeddings | None = None,
    cache: Path | None = None,
) -> Material:
    """Balance the training part of `split` and lay out its order; SettingError when it cannot be balanced so.

    With `embeddings` the examples are their feature maps, else augmented photos; photos as well where feature maps
    would only save time and cannot. What is drawn among neighbours is kept in `cache`.
    """
    part = _part(plan, data, split, embeddings)
    choice = plan.choices["balancing"]
    draws = drawn(part, choice.name, choice.settings, np.random.default_rng(stream("balancing")), cache)
    if isinstance(embeddings, FrozenMaps) and not _stored(embeddings, plan, split, draws):
        embeddings = None
    general = plan.general
    batch_size = min(general["batch_size"], len(draws))
    steps = max(1, (len(part) if general["epoch"] == "equal" else len(draws)) // batch_size)
    return Material(
        counts=ClassCounts(data.classes, draws.counts(part), Draws.everything(len(part)).counts(part)),
        class_weights=draws.class_weights,
        labels=torch.from_numpy(draws.labels(part)),
        people=people(plan, data, split.train[draws.row]),
        batch_size=batch_size,
        steps=steps,
        order=ExampleOrder(draws, steps * batch_size, stream("order")),
        source=_photos(plan, data, split, draws, stream)
        if embeddings is None
        else StoredMaps(embeddings, split.train, draws),
        embeddings=embeddings,
    )


def people(plan: Plan, data: PackedDataset, rows: NDArray[np.int64]) -> torch.Tensor | None:
    """Encoded metadata (N, width) of `rows`, or None where the plan's model does not ask for it."""
    if plan.choices["metadata"].name == "none":
        return None
    return torch.from_numpy(encode(data.table.iloc[rows]))


def _part(plan: Plan, data: PackedDataset, split: Split, embeddings: Embeddings | None) -> Part:
    vectors: dict[str, Vectors] = {"pixels": Pixels(data.images, split.train, plan.general["image_size"])}
    if embeddings is not None:
        vectors["features"] = Features(embeddings, split.train)
    return Part(data.labels[split.train], data.classes, vectors, key=f"{data.content_hash}/{split.hash}")


def _stored(maps: FrozenMaps, plan: Plan, split: Split, draws: Draws) -> bool:
    """Whether all that this training shows is among feature maps; what lies between two photos is not."""
    copies = [VIEWS[int(copy)] for copy in np.unique(draws.copy)]
    return not draws.synthetic.any() and maps.all_made(split.train, copies, split.validation, plan.general["views"])


def _photos(plan: Plan, data: PackedDataset, split: Split, draws: Draws, stream: Stream) -> Photos:
    choice, size = plan.choices["augmentation"], plan.general["image_size"]
    policy = augmentations[choice.name].build(size, **choice.settings)
    return Photos(data.images, split.train, draws, size, Augmenter(policy, stream("augmentation")))
