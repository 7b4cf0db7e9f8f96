"""Under a wholly frozen backbone a photo that nothing augments has one map, in every epoch and every trial: made once.

Trials that change only head, loss or balancing then train on maps out of the cache, and none runs the backbone. They
are the trials that they would be without: maps are kept in float32, as the training's precision gives them; those of a
copy are of the photo turned and then resized, as it is trained on, and those of a view of the photo resized and then
turned, as it is judged. On a CPU the scores are equal to the bit, but for batches of a few images, which oneDNN may add
up in another order (features then differ by about 1e-6 of the largest).

Where the backbone begins with random weights the maps are of one seed, nobody would share them, and it is run.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from lesion.augment import resize
from lesion.balancing.memory import available_memory
from lesion.devices import autocast
from lesion.embeddings import Embeddings, Maps, cached_maps, evaluating
from lesion.errors import DataError
from lesion.models import Model
from lesion.prediction import Chosen, Images, dihedral, views_shown
from lesion.settings import Plan

_log = logging.getLogger(__name__)


def shows_the_same(plan: Plan, model: Model) -> bool:
    """Whether a photo has the same map in every epoch of `model`, built after `plan`, and in other trials too."""
    weights = plan.choices["backbone"].settings.get("weights", "none")
    return plan.choices["augmentation"].name == "none" and weights != "none" and model.backbone.still


@dataclass(frozen=True, eq=False)
class FrozenMaps(Embeddings):
    """The maps that a training in `precision` would compute, float32."""

    precision: torch.dtype = torch.float32
    _made: dict[str, Maps] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def key(self) -> str:
        """Sha256 in hex of everything that the maps depend on."""
        device = self.model.mean.device.type
        facts = f"{super().key} {self.precision} on {device} by torch {torch.__version__}"
        return hashlib.sha256(facts.encode()).hexdigest()

    def maps(self, view: int = 0) -> Maps:
        """Maps (N, C, H, W), float32, of all images as they are; views are made of the rows that are shown."""
        if view:
            raise ValueError("views are made by `shown`")
        return self._cached(self.images, 0, "whole")

    def shown(self, rows: NDArray[np.int64], view: int, *, turned_first: bool = False) -> Chosen:
        """Maps (M, C, H, W) of the images at `rows` (M,) in one of the eight views; see `Embeddings.shown`."""
        if view == 0:
            return Chosen(self.maps(), rows)
        images: Images = Chosen(self.images, rows)
        name = f"{'copy' if turned_first else 'view'}{view}-{hashlib.sha256(rows.tobytes()).hexdigest()[:16]}"
        if turned_first:
            images = _Turned(images, view, self.image_size)
        maps = self._cached(images, 0 if turned_first else view, name)
        return Chosen(maps, np.arange(len(rows)))

    def as_given(self, maps: torch.Tensor) -> torch.Tensor:
        """In memory as a backbone leaves them: a head that averages places adds them up in this order."""
        return maps.contiguous(memory_format=torch.channels_last)

    def all_made(
        self, train: NDArray[np.int64], copies: Iterable[int], held_out: NDArray[np.int64], views: int
    ) -> bool:
        """Make or open what a training needs: its copies (views 0 to 7) and the views that it is judged in.

        False, and a line in the log, where they cannot be kept or are larger than the memory at hand.
        """
        try:
            for view in copies:
                self.shown(train, view, turned_first=True)
            for view in views_shown(views):
                self.shown(held_out, view)
        except DataError as problem:
            _log.warning("%s; the frozen backbone is run in every epoch instead", problem)
            return False
        return True

    def _cached(self, images: Images, view: int, name: str) -> Maps:
        if name not in self._made:
            with evaluating(self.model):
                self._made[name] = cached_maps(
                    lambda photos: self._features(photos, view),
                    f"{self.key[:32]}-{name}",
                    images,
                    self.folder,
                    image_size=self.image_size,
                    device=self.model.mean.device,
                    dtype=np.float32,
                    memory=available_memory(),
                )
        return self._made[name]

    def _features(self, photos: torch.Tensor, view: int) -> torch.Tensor:
        with autocast(photos.device, self.precision):
            return self.model.features(dihedral(photos, view).contiguous(memory_format=torch.channels_last))


@dataclass(frozen=True, eq=False)
class _Turned:
    """Photos (N, H, H, 3) in one of the eight views, then resized."""

    photos: Images
    view: int
    size: int

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, where: slice, /) -> NDArray[np.uint8]:
        turned = np.rot90(self.photos[where], self.view // 2, (1, 2))
        if self.view % 2:
            turned = turned[:, :, ::-1]
        return np.stack([resize(np.ascontiguousarray(photo), self.size) for photo in turned])
