"""How right a training is on the very examples that it learns from: beside the validation part, what tells overfitting.

It costs no pass of its own: the logits of an epoch's steps stay where they are, and are fetched once at its end. They
are those of training mode (dropout, batch statistics), of augmented photos drawn as the balancing draws them, and of
weights that change from step to step: another thing than the trained model's judgement of the training photos.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from lesion.group import ALONE, Group
from lesion.metrics import summary

OF_TRAINING = ("accuracy", "balanced_accuracy", "mean_auc")
"""Metrics of an epoch's training examples, called ``train_accuracy`` and so on; a head that spells has no AUC."""


class Outputs:
    """Logits and labels of the steps of one epoch.

    `paths` (classes, steps) are the words of each class, for a head that spells; such logits are (N, steps, words).
    What the other ranks of a `group` have taken in counts as well.
    """

    def __init__(self, classes: Sequence[str], paths: NDArray[np.int64] | None = None, group: Group = ALONE) -> None:
        self._classes, self._paths, self._group = classes, paths, group
        self._logits: list[torch.Tensor] = []
        self._labels: list[torch.Tensor] = []

    def add(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Take in a step; the logits stay on their device, so nothing waits for it."""
        self._logits.append(logits)
        self._labels.append(labels)

    def scores(self) -> dict[str, float]:
        """`OF_TRAINING` of all steps, NaN where undefined; waits for the device."""
        logits, labels = (self._group.gather(torch.cat(each)) for each in (self._logits, self._labels))
        return self._of(logits.double(), labels.numpy())

    def _of(self, logits: torch.Tensor, labels: NDArray[np.int64]) -> dict[str, float]:
        if self._paths is not None and logits.ndim == 3:
            right = (logits.argmax(dim=2).numpy() == self._paths[labels]).all(axis=1)
            return self._of_words(right, labels)
        probabilities = logits.softmax(dim=1).numpy()
        if not np.isfinite(probabilities).all():  # a loss can be finite where a logit is not
            return {f"train_{name}": float("nan") for name in OF_TRAINING}
        found = summary(probabilities, labels, self._classes)
        return {f"train_{name}": found[name] for name in OF_TRAINING}

    def _of_words(self, right: NDArray[np.bool_], labels: NDArray[np.int64]) -> dict[str, float]:
        """`right` (N,) says where every word is, the right ones before it given.

        Which other class a wrong word would have led to nobody has asked the model, so there is no AUC.
        """
        shown = np.bincount(labels, minlength=len(self._classes))
        found = np.bincount(labels, weights=right, minlength=len(self._classes))[shown > 0] / shown[shown > 0]
        return {"train_accuracy": float(right.mean()), "train_balanced_accuracy": float(found.mean())}
