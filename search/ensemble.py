"""Which models together judge best: forward selection on predictions (Caruana et al. 2004), without replacement.

It begins with the single best candidate and adds the one that raises the score of the averaged probabilities most,
until none does or there is no more room. A candidate is one model, or the models of all folds of one setting, whose
out-of-fold predictions stand for them. Each counts once: with a few hundred images, weights would fit their noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from search.rows import TrialRow

Probabilities = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Candidate:
    """Trials that come together or not at all, and their probabilities (images, classes) of images not trained on."""

    rows: tuple[TrialRow, ...]
    probabilities: Probabilities

    @property
    def label(self) -> str:
        """What people call it after the word trial."""
        return ", ".join(row.label for row in self.rows)


@dataclass(frozen=True, eq=False)
class Step:
    """A candidate as it was added, and the score of the ensemble from then on."""

    candidate: Candidate
    score: float


def forward_selection(
    candidates: Sequence[Candidate], score: Callable[[Probabilities], float], limit: int
) -> tuple[Step, ...]:
    """Steps of the selection among `candidates`, all judged on the same images; `limit` models at most.

    `score` of probabilities (images, classes) is better when higher. Of equal candidates the first one is taken. Empty
    where no candidate has room.
    """
    steps: list[Step] = []
    total, members, left = np.zeros(()), 0, list(candidates)
    while left := [each for each in left if members + len(each.rows) <= limit]:
        tried = [(total + len(each.rows) * each.probabilities) / (members + len(each.rows)) for each in left]
        scores = [score(probabilities) for probabilities in tried]
        best = int(np.argmax(scores))
        if steps and scores[best] <= steps[-1].score:
            break
        chosen = left.pop(best)
        steps.append(Step(chosen, scores[best]))
        total, members = total + len(chosen.rows) * chosen.probabilities, members + len(chosen.rows)
    return tuple(steps)
