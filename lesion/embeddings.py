"""Feature maps of a frozen backbone for all images of a packed set: made once, on disk, shared by trials.

A head that learns on a frozen backbone sees the same maps every epoch. They stand in a cache folder as an array
(N, C, H, W), one for each view (flip or quarter turn) that somebody asked for, beside a manifest with its checksum. The
name is a hash of all that they depend on: images, weights, architecture, size. One process makes them while others
wait; they are written beside and renamed, and what is damaged is noticed and made again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lesion.augment import resize
from lesion.errors import DataError
from lesion.models import Model
from lesion.prediction import Chosen, Images, dihedral, to_model_input, views_shown
from lesion.registry import Value

FORMAT = 1
MAPS, MANIFEST = "maps.npy", "manifest.json"
BATCH = 64
SPARE = 1 << 26
"""Bytes that stay free on the disk."""

Maps = np.memmap[Any, np.dtype[Any]]
"""Feature maps (N, C, H, W), float16 or float32, mapped and read-only."""
Network = Callable[[torch.Tensor], torch.Tensor]
Embed = Callable[[NDArray[np.uint8]], NDArray[Any]]
"""Maps of a batch of images."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Embeddings:
    """The feature maps of `images` (N, H, H, 3) by the backbone of `model`, as it sees them at `image_size`; float16.

    `data` is the hash of the images; `backbone` its name and settings, for what its weights do not tell. Nothing is
    computed before it is asked for, and the backbone must not change after that.
    """

    model: Model
    images: NDArray[np.uint8]
    image_size: int
    data: str
    backbone: Mapping[str, Value]
    folder: Path
    _open: dict[int, Maps] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def key(self) -> str:
        """Sha256 in hex of everything that the maps depend on."""
        facts = {
            "format": FORMAT,
            "data": self.data,
            "size": self.image_size,
            "backbone": dict(self.backbone),
            "weights": weights_hash(self.model.backbone),
            "normalised": [self.model.mean.flatten().tolist(), self.model.std.flatten().tolist()],
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    @property
    def channels(self) -> int:
        """C of a map."""
        return self.model.backbone.channels

    def maps(self, view: int = 0) -> Maps:
        """Maps (N, C, H, W), float16, of the images in one of the eight views of `lesion.prediction.dihedral`.

        The first call makes them, or opens what another trial made. Raises DataError where the disk is too full or the
        values are too large.
        """
        if view not in self._open:
            with evaluating(self.model):
                self._open[view] = cached_maps(
                    lambda images: self.model.features(dihedral(images, view)),
                    f"{self.key[:32]}-view{view}",
                    self.images,
                    self.folder,
                    image_size=self.image_size,
                    device=self.model.mean.device,
                )
        return self._open[view]

    def shown(self, rows: NDArray[np.int64], view: int, *, turned_first: bool = False) -> Chosen:
        """Maps (M, C, H, W) of the images at `rows` (M,) in one of the eight views.

        `turned_first` says whether an image is turned before it is resized, as a copy is, or after, as a view.
        """
        return Chosen(self.maps(view), rows)  # in float16 the two are the same

    def as_given(self, maps: torch.Tensor) -> torch.Tensor:
        """Stored maps (B, C, H, W) as a head takes them."""
        return maps.float()

    def predict(
        self, model: Model, rows: NDArray[np.int64], people: torch.Tensor | None, views: int
    ) -> NDArray[np.float64]:
        """Class probabilities (N, classes) of the images at `rows` by the head of `model`, averaged over `views`."""
        shown = [self.shown(rows, view) for view in views_shown(views)]
        probabilities = []
        with evaluating(model), torch.inference_mode():
            for start in range(0, len(rows), BATCH):
                batch = slice(start, start + BATCH)
                known = None if people is None else people[batch]
                each = torch.stack([self._judged(model, maps[batch], known) for maps in shown])
                probabilities.append(each.mean(dim=0))  # (views, B, classes) → (B, classes)
        return torch.cat(probabilities).cpu().numpy()

    def _judged(self, model: Model, maps: NDArray[Any], people: torch.Tensor | None) -> torch.Tensor:
        """Class probabilities (B, classes) of feature maps (B, C, H, W)."""
        device = model.mean.device
        features = self.as_given(torch.from_numpy(maps).to(device))
        return model.classify(features, None if people is None else people.to(device)).double().softmax(dim=1)


def cached_maps(
    network: Network,
    key: str,
    images: Images,
    folder: Path,
    *,
    image_size: int,
    device: torch.device,
    dtype: type[np.floating[Any]] = np.float16,
    memory: float = math.inf,
) -> Maps:
    """What `network` makes of all images (N, H, H, 3), (N, C, H, W), out of `folder` or made and put there.

    `key` is a file name that stands for network, images and `dtype`. A process that comes while another one makes the
    same maps waits for it. Raises DataError where the folder cannot be written, the disk is too full, they would take
    more than `memory` bytes, or values overflow float16.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / f".{key}.lock"):
            place = folder / key
            if not _is_sound(place, len(images)):
                embedded = partial(_embedded, network, image_size=image_size, device=device, dtype=dtype)
                _make(place, embedded, images, memory)
            return _mapped(place)
    except OSError as problem:
        raise DataError(
            f"the feature maps cannot be kept in {folder} ({problem.strerror or problem}): free some space, or choose "
            "another cache folder"
        ) from problem


def weights_hash(network: nn.Module) -> str:
    """Sha256 in hex over the tensors of a network: names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """A model in evaluation mode, and then in the mode it came in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def _make(place: Path, embedded: Embed, images: Images, memory: float) -> None:
    """Compute the maps beside `place` and rename; what stood there, and what a killed process left, goes."""
    beside = place.with_name(f".{place.name}.partial")
    for old in (beside, place):
        shutil.rmtree(old, ignore_errors=True)
    beside.mkdir()
    try:
        _write(beside / MAPS, embedded, images, memory)
        manifest = {"format": FORMAT, "sha256": _sha256(beside / MAPS)}
        (beside / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
        beside.rename(place)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _write(file: Path, embedded: Embed, images: Images, memory: float) -> None:
    first = embedded(images[:BATCH])
    shape = (len(images), *first.shape[1:])
    _require_space(file.parent, shape, first.dtype.itemsize, memory)
    maps = np.lib.format.open_memmap(file, mode="w+", dtype=first.dtype, shape=shape)
    maps[:BATCH] = first
    for start in range(BATCH, len(images), BATCH):
        maps[start : start + BATCH] = embedded(images[start : start + BATCH])
    maps.flush()


def _embedded(
    network: Network,
    images: NDArray[np.uint8],
    *,
    image_size: int,
    device: torch.device,
    dtype: type[np.floating[Any]],
) -> NDArray[Any]:
    resized = np.stack([resize(np.asarray(image), image_size) for image in images])
    with torch.inference_mode():
        maps = network(to_model_input(torch.from_numpy(resized), device)).cpu().float()
    if dtype is np.float32:
        return maps.numpy()
    largest = float(maps.abs().max())
    # Not a comparison with "greater": it would let NaN pass.
    if not largest <= torch.finfo(torch.float16).max:
        raise DataError(
            f"the backbone's feature maps reach {largest:.3g}, more than float16 holds (65504): its weights or their "
            "normalisation are wrong, or this backbone has to be trained and not kept frozen"
        )
    return maps.half().numpy()


def _require_space(folder: Path, shape: tuple[int, ...], itemsize: int, memory: float) -> None:
    size = itemsize * int(np.prod(shape, dtype=np.int64))
    if size > memory:
        raise DataError(
            f"the feature maps {shape} need {size / 2**30:.2f} GiB of memory, {memory / 2**30:.2f} GiB are available"
        )
    needed, free = size + SPARE, shutil.disk_usage(folder).free
    if free < needed:
        raise DataError(
            f"the feature maps {shape} need {needed / 2**30:.2f} GiB in {folder.parent}, {free / 2**30:.2f} GiB are "
            "free: free some space, or choose another cache folder or a smaller image_size"
        )


def _is_sound(place: Path, count: int) -> bool:
    """Whether whole maps of `count` images stand at `place`; a line in the log where damaged ones do."""
    if not place.exists():
        return False
    try:
        manifest = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        stat = (place / MAPS).stat()
        found = _checksum(place / MAPS, stat.st_size, stat.st_mtime_ns)
        sound = manifest == {"format": FORMAT, "sha256": found} and len(_mapped(place)) == count
    except (OSError, ValueError):
        sound = False
    if not sound:
        _log.warning("%s is damaged, or of another version; the feature maps are made again", place)
    return sound


def _mapped(place: Path) -> Maps:
    maps: Maps = np.load(place / MAPS, mmap_mode="r", allow_pickle=False)
    return maps


@lru_cache(maxsize=64)
def _checksum(file: Path, size: int, changed: int) -> str:
    """Sha256 of a file, read once by a process as long as the file's size and time do not change."""
    return _sha256(file)


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
