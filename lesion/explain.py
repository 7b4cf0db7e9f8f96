"""Why a model says what it says: Grad-CAM maps and attention of photos, for one member or an ensemble.

    for why in explain(Predictor.load("model/"), ["photo.jpg"], target="melanoma"):
        why.map        # (S, S), 0 to 1: where the photo speaks for melanoma

The map of an ensemble is the mean of its members' maps, each scaled to a largest value of 1 first: logits of different
networks have no common scale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from lesion.devices import precision_for
from lesion.errors import SettingError, unknown
from lesion.gradcam import Look, grad_cam
from lesion.judgements import PredictionTable
from lesion.metadata import encode
from lesion.photos import Decoded, Pixels, decoded
from lesion.prediction import shown_at
from lesion.predictor import Member, Predictor
from lesion.settings import resolve
from lesion.uncertainty import disagreement

BATCH = 16
"""Photos whose maps are held at once."""

Map = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Attention:
    """Where heads looked at each step, (steps, S, S), each step's largest value 1, and what the steps are called.

    Where several members spell the same words, it is the mean of theirs; `members` counts them.
    """

    words: tuple[str, ...]
    maps: Map
    members: int


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why the class `target` for one photo.

    `photo` (S, S, 3) is what the model was shown; `map` (S, S), 0 to 1, is where it speaks for `target`, all 0 where
    nothing does. `peaks` are the largest values of the members' maps before scaling, in logits; `sides` their h and w.
    `said` is the model's judgement as a row of `PredictionTable.to_frame`.
    """

    name: str
    photo: Pixels
    target: str
    map: Map
    said: Mapping[str, object]
    peaks: tuple[float, ...]
    sides: tuple[tuple[int, int], ...]
    views: int
    attention: tuple[Attention, ...] = field(default=())


def explain(
    predictor: Predictor,
    photos: Sequence[str | Path],
    *,
    target: str | None = None,
    people: pd.DataFrame | None = None,
    views: int | None = None,
    broken: Callable[[str, str], None] = lambda name, problem: None,
) -> Iterator[Explanation]:
    """Explanations of photos in their order; those that cannot be read are told to `broken` (name, reason).

    `target` is a class, None for the one decided for each photo. `people` as of `Predictor.judge`. `views`: flips and
    turns averaged, those of the predictor unless given. Raises SettingError for an unknown class, and for members that
    cut photos differently.
    """
    if target is not None and target not in predictor.classes:
        raise SettingError(unknown("class", target, predictor.classes))
    if len({member.geometry for member in predictor.members}) > 1:
        raise SettingError("the members cut photos differently (stretch, crop, pad): one map cannot be of all of them")
    done = 0
    for portion in decoded(photos, predictor.squares):
        for start in range(0, len(portion), BATCH):
            batch = portion[start : start + BATCH]
            for photo in batch:
                if photo.problem:
                    broken(photo.name, photo.problem)
            places = [done + start + k for k, photo in enumerate(batch) if not photo.problem]
            sound = [photo for photo in batch if not photo.problem]
            if sound:
                known = None if people is None else people.iloc[places]
                yield from _explained(predictor, sound, known, target, views or predictor.views)
        done += len(portion)


def _explained(
    predictor: Predictor, photos: Sequence[Decoded], people: pd.DataFrame | None, target: str | None, views: int
) -> Iterator[Explanation]:
    parts = predictor.parts(photos, people)
    table = PredictionTable(
        predictor.classes,
        tuple(photo.name for photo in photos),
        predictor.reported(parts),
        disagreement(parts),
        predictor.rules,
    )
    frame = table.to_frame()
    rows = [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]
    decided = predictor.rules.decisive(table.probabilities).argmax(axis=1)
    targets = decided if target is None else np.full(len(photos), predictor.classes.index(target))
    looks = [_look(predictor, member, photos, people, targets, views) for member in predictor.members]
    side = max(size for size, _ in predictor.squares)
    largest = [size for size, _ in predictor.squares].index(side)
    for k, (photo, row) in enumerate(zip(photos, rows, strict=True)):
        maps = [_shown(look.maps[k][None], side)[0] for look in looks]
        yield Explanation(
            photo.name,
            photo.squares[largest],
            predictor.classes[targets[k]],
            _scaled(np.mean([_scaled(each) for each in maps], axis=0)),
            row,
            tuple(float(look.maps[k].max()) for look in looks),
            tuple((look.maps.shape[1], look.maps.shape[2]) for look in looks),
            views,
            _attention(looks, k, side),
        )


def _look(
    predictor: Predictor,
    member: Member,
    photos: Sequence[Decoded],
    people: pd.DataFrame | None,
    targets: NDArray[np.int64],
    views: int,
) -> Look:
    general = resolve(member.settings).general
    device = member.model.mean.device
    square = predictor.squares.index((member.size, member.geometry))
    images = shown_at(general["image_size"], np.stack([photo.squares[square] for photo in photos]), device)
    known = None if people is None else torch.from_numpy(encode(people)).to(device)
    return grad_cam(
        member.model.eval(),
        images,
        torch.from_numpy(np.asarray(targets)).to(device),
        known,
        views=views,
        dtype=precision_for(device, member.model.backbone, general["precision"]),
    )


def _attention(looks: Sequence[Look], k: int, side: int) -> tuple[Attention, ...]:
    """The attention that members paid to photo `k`, one entry for each way of spelling."""
    spelled: dict[tuple[str, ...], list[Map]] = {}
    for look in looks:
        if look.attention is not None:
            steps = look.attention.shape[1]
            words = look.words[k] if look.words else tuple(f"step {step + 1}" for step in range(steps))
            spelled.setdefault(words, []).append(_shown(look.attention[k], side))
    return tuple(
        Attention(words, np.stack([_scaled(step) for step in np.mean(maps, axis=0)]), len(maps))
        for words, maps in spelled.items()
    )


def _shown(maps: torch.Tensor, side: int) -> Map:
    """Maps (M, h, w) at the size of the photo, (M, side, side)."""
    large = F.interpolate(maps[:, None].float(), size=(side, side), mode="bilinear", align_corners=False)
    return np.asarray(large[:, 0].cpu().numpy(), np.float32)


def _scaled(values: NDArray[np.floating]) -> Map:
    largest = float(values.max())
    return np.asarray(values / largest if largest > 0 else values, np.float32)
