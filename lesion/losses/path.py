"""The loss of a diagnosis that is spelled along a taxonomy: each word, and the path as a whole.

A near miss, on the right side of a taxonomy, costs less than a far one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import torch
import torch.nn.functional as F

from lesion.classes import ClassCounts
from lesion.errors import SettingError
from lesion.losses.base import Loss, MeanLoss, losses
from lesion.registry import Range
from lesion.taxonomy import Taxonomy, find_taxonomy


@losses.register
def path(classes: ClassCounts, *, weight: Annotated[float, Range(0.0, 10.0)] = 1.0, taxonomy: str = "auto") -> Loss:
    """Mean cross entropy of the words of a path + `weight` × path loss (Barata et al. 2021).

    The path loss is the cosine distance between the sum of the path's one-hot words and the sum of the probabilities
    (words) at each step; doi:10.1016/j.patcog.2020.107413. Takes the logits (N, steps, words) of a head that
    spells, or the logits (N, classes) of any other: a word then has, at its step, the probability of all classes
    under it. `taxonomy` is a name, a file, or `auto`: the head's, or where that spells
    nothing the one that goes by the classes. Raises SettingError.
    """
    return PathLoss(find_taxonomy(taxonomy, classes.names), classes.names, weight)


@dataclass(frozen=True, eq=False)
class PathLoss(MeanLoss):
    """Cross entropy of words, and cosine distance of paths, over a taxonomy of the classes `names`."""

    taxonomy: Taxonomy
    names: tuple[str, ...]
    weight: float

    spells = True

    @cached_property
    def paths(self) -> torch.Tensor:
        """The words of each class (classes, steps)."""
        return torch.from_numpy(self.taxonomy.paths(self.names))

    @cached_property
    def membership(self) -> torch.Tensor:
        """Whether a class has a word at a step (steps, classes, words)."""
        return torch.from_numpy(self.taxonomy.membership(self.names))

    def terms(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:  # noqa: D102
        words = self.paths.to(labels.device)[labels]  # (N, steps)
        log_right, probabilities = self._spelled(logits, words) if logits.ndim == 3 else self._summed(logits, words)
        spelled = F.one_hot(words, probabilities.shape[1]).sum(dim=1).to(logits)  # (N, words)
        distance = 1 - F.cosine_similarity(spelled, probabilities, dim=1)
        return -log_right.mean(dim=1) + self.weight * distance

    def _spelled(self, logits: torch.Tensor, words: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probability of the right word at each step (N, steps), and the sum of the steps (N, words)."""
        steps, count = len(self.taxonomy.levels), len(self.taxonomy.words)
        if logits.shape[1:] != (steps, count):
            raise SettingError(
                f"loss path has taxonomy {self.taxonomy.name}, {steps} steps of {count} words, and the head spells "
                f"{logits.shape[1]} of {logits.shape[2]}: give both the same taxonomy"
            )
        log_p = F.log_softmax(logits, dim=2)
        return log_p.gather(2, words[:, :, None]).squeeze(2), log_p.exp().sum(dim=1)

    def _summed(self, logits: torch.Tensor, words: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The same of logits of classes."""
        log_p = F.log_softmax(logits, dim=1)
        membership = self.membership.to(logits.device)
        # Which classes have the right word at a step: (steps, classes, words) at (N, steps) → (N, steps, classes).
        under = membership.permute(0, 2, 1)[torch.arange(words.shape[1], device=words.device), words]
        log_right = log_p[:, None].masked_fill(~under, -torch.inf).logsumexp(dim=2)
        return log_right, log_p.exp() @ membership.sum(dim=0).to(logits)
