"""From images to probabilities, averaged over flips and quarter turns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from lesion.augment import resize
from lesion.devices import autocast, precision_for
from lesion.models import Model


class Images(Protocol):
    """RGB images (N, H, H, 3), uint8, read a batch at a time: an array, a mapped file, or some of it."""

    def __len__(self) -> int:
        """N."""

    def __getitem__(self, where: slice, /) -> NDArray[np.uint8]:
        """A batch of them."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """The entries of `array` (N, …), such as a mapped file, at `rows` (M,), copied only when they are read."""

    array: NDArray[Any]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, where: Any, /) -> NDArray[Any]:
        chosen: NDArray[Any] = self.array[self.rows[where]]
        return chosen


def predict_probabilities(
    model: Model,
    images: Images,
    *,
    people: torch.Tensor | None = None,
    image_size: int,
    views: int = 1,
    batch_size: int = 64,
    device: torch.device | None = None,
    precision: str = "auto",
) -> NDArray[np.float64]:
    """Class probabilities (N, classes) of RGB images (N, H, H, 3), any H; each row sums to 1.

    `views` of the eight flips and quarter turns are averaged: 1, 2 (and flipped), 4 (and turned) or 8.
    `people` (N, width) is what `lesion.metadata` encodes; a model that asks for it takes None for nothing known.
    The model is left in the mode it came in.
    """
    each = predict_views(
        model,
        images,
        people=people,
        image_size=image_size,
        views=views,
        batch_size=batch_size,
        device=device,
        precision=precision,
    )
    mean: NDArray[np.float64] = each.mean(axis=0)
    return mean


def predict_views(
    model: Model,
    images: Images,
    *,
    people: torch.Tensor | None = None,
    image_size: int,
    views: int = 1,
    batch_size: int = 64,
    device: torch.device | None = None,
    precision: str = "auto",
) -> NDArray[np.float64]:
    """Class probabilities (views, N, classes) in each view; arguments as of `predict_probabilities`."""
    if len(images) == 0:
        raise ValueError("no images to predict")
    device = device or next(model.parameters()).device
    dtype = precision_for(device, model.backbone, precision)
    was_training = model.training
    model.eval()
    places = [slice(i, i + batch_size) for i in range(0, len(images), batch_size)]
    try:
        with torch.inference_mode():
            probabilities = [
                _in_views(
                    model,
                    shown_at(image_size, np.asarray(images[place]), device),
                    None if people is None else people[place].to(device),
                    views,
                    dtype,
                )
                for place in places
            ]
    finally:
        model.train(was_training)
    return torch.cat(probabilities, dim=1).cpu().numpy()


def to_model_input(images: torch.Tensor, device: torch.device) -> torch.Tensor:
    """uint8 (N, H, W, 3) → float in [0, 1], (N, 3, H, W), channels last in memory, on `device`."""
    return images.to(device, non_blocking=True).permute(0, 3, 1, 2).float().div_(255)


def dihedral(images: torch.Tensor, view: int) -> torch.Tensor:
    """View 0 to 7 of square images (N, C, S, S): odd views are mirrored, each pair a quarter turn further."""
    turned = torch.rot90(images, view // 2, (2, 3))
    return turned.flip(3) if view % 2 else turned


def dihedral_back(maps: torch.Tensor, view: int) -> torch.Tensor:
    """What `dihedral` made of maps (N, C, S, S), undone."""
    flipped = maps.flip(3) if view % 2 else maps
    return torch.rot90(flipped, -(view // 2), (2, 3))


def views_shown(views: int) -> list[int]:
    """Which of the eight views are averaged: two are the image and its mirror image, four those of a half turn too.

    >>> views_shown(4)
    [0, 1, 4, 5]
    """
    stride = 1 if views in (1, 2, 8) else 2
    return [v // 2 * 2 * stride + v % 2 for v in range(views)]


def shown_at(size: int, batch: NDArray[np.uint8], device: torch.device) -> torch.Tensor:
    """Images (N, H, H, 3) as a network takes them that looks at `size` pixels, (N, 3, size, size) in [0, 1]."""
    return to_model_input(torch.from_numpy(np.stack([resize(image, size) for image in batch])), device)


def _in_views(
    model: Model, images: torch.Tensor, people: torch.Tensor | None, views: int, dtype: torch.dtype
) -> torch.Tensor:
    each = []
    for view in views_shown(views):
        with autocast(images.device, dtype):
            shown = dihedral(images, view).contiguous(memory_format=torch.channels_last)
            logits = model(shown) if people is None else model(shown, people)
        each.append(logits.double().softmax(dim=1))  # (N, classes)
    return torch.stack(each)
