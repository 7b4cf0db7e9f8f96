"""Whether an ONNX file computes what a `Predictor` says: each member's logits in each view, and the probabilities.

Probabilities alone would show little: those of a model that is sure are 0 and 1, however wrong its logits are. The
photos are drawn lesions on skin, which a trained network tells apart as it tells photos apart; to noise it says always
the same. They go through the predictor's own decoding, members, views and rules; nothing of the graph's making is used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from lesion.data.drawing import draw_lesion
from lesion.metadata import encode
from lesion.people import Person, table_of
from lesion.photos import Decoded, Pixels, decoded
from lesion.prediction import shown_at
from lesion.predictor import Predictor
from lesion.settings import resolve

TOLERANCE = 1e-4
"""Largest difference of a probability, and of a logit as a share of the largest one, where that is above 1."""
CLASSES = ("melanoma", "nevus", "seborrheic_keratosis")
PEOPLE: tuple[Person, ...] = ((45.0, "female", "back"), (80.0, "male", "face"), (math.nan, "unknown", "unknown"))
WIDTH, HEIGHT = 320, 240
"""Pixels of the photos that are drawn."""
LEAST = -690.0
"""Log of the smallest probability that is compared: float64 ends near -745."""


@dataclass(frozen=True)
class Difference:
    """Largest differences of a probability and, on the scale of `TOLERANCE`, of a logit (0 where none were written)."""

    probability: float
    logit: float

    @property
    def sound(self) -> bool:
        """Whether both are within `TOLERANCE`; NaN is not."""
        return self.probability <= TOLERANCE and self.logit <= TOLERANCE

    def __str__(self) -> str:
        return f"{self.probability:.2g} in a probability and {self.logit:.2g} in a logit"


def difference(predictor: Predictor, path: Path, photos: int) -> Difference:
    """By how much the file at `path` differs from `predictor` on a batch of so many drawn photos.

    The file's output `probabilities` is (photos, classes); `logits`, which it need not have, is (members × views,
    photos, classes). Networks of the predictor compute in float32, as a graph does, whatever their settings say.
    """
    import onnxruntime  # noqa: PLC0415 - a package that only an export needs

    exact = replace(
        predictor,
        members=tuple(
            replace(member, settings={**member.settings, "precision": "float32"}) for member in predictor.members
        ),
    )
    (shown,) = decoded(drawn(photos), predictor.squares)
    people = table_of(PEOPLE[k % len(PEOPLE)] for k in range(photos))
    parts = exact.parts(shown, people)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = dict(
        zip(
            [put.name for put in session.get_outputs()],
            session.run(None, _inputs(predictor, shown, people, [put.name for put in session.get_inputs()])),
            strict=True,
        )
    )
    probability = float(np.abs(found["probabilities"] - exact.reported(parts)).max())
    return Difference(probability, _of_logits(found["logits"], parts) if "logits" in found else 0.0)


def drawn(count: int) -> list[Pixels]:
    """So many photos of drawn lesions (H, W, 3), always the same."""
    rng = np.random.default_rng(count)
    return [np.asarray(draw_lesion(CLASSES[k % len(CLASSES)], rng, rng, WIDTH, HEIGHT)) for k in range(count)]


def input_sizes(predictor: Predictor) -> list[int]:
    """Pixels a side of what each member's network looks at."""
    return [int(resolve(member.settings).general["image_size"]) for member in predictor.members]


def _inputs(
    predictor: Predictor, photos: Sequence[Decoded], people: pd.DataFrame, names: Sequence[str]
) -> dict[str, NDArray[np.float32]]:
    squares = np.stack([photo.squares[0] for photo in photos])
    sizes = sorted(set(input_sizes(predictor)))
    given = [shown_at(size, squares, torch.device("cpu")).numpy() for size in sizes]
    return dict(zip(names, [*given, *([encode(people)] if predictor.asks_for_people else [])], strict=True))


def _of_logits(logits: NDArray[np.float32], parts: NDArray[np.float64]) -> float:
    """Difference of logits (parts, N, classes) from probabilities: of both as log p, which takes no softmax back."""
    wide = logits.astype(np.float64)
    largest = wide.max(axis=2, keepdims=True)
    there = wide - largest - np.log(np.exp(wide - largest).sum(axis=2, keepdims=True))
    with np.errstate(divide="ignore"):
        here = np.maximum(np.log(parts), LEAST)
    return float(np.abs(np.maximum(there, LEAST) - here).max() / max(1.0, np.abs(here).max()))
