"""Which models together judge best: forward selection on predictions (Caruana et al. 2004), without replacement.

It begins with the single best candidate and adds the one that serves the score of the averaged probabilities best,
until there is no more room. What stays is the largest of these ensembles that validation cannot tell from the best of
them (the rule of one standard error, Breiman et al. 1984, section 3.4.3): on a few hundred images the highest score is
partly luck, while an average of more models varies less on images to come. A candidate is one model, or the models of
all folds of one setting, whose out-of-fold predictions stand for them. Each counts once: weights would fit noise.
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
    """A candidate as it was added; the ensemble's score and probabilities (images, classes) from then on."""

    candidate: Candidate
    score: float
    probabilities: Probabilities


def forward_selection(
    candidates: Sequence[Candidate],
    score: Callable[[Probabilities], float],
    limit: int,
    error: Callable[[Probabilities, Probabilities], float] = lambda first, second: 0.0,
) -> tuple[Step, ...]:
    """Steps of the selection among `candidates`, all judged on the same images; `limit` models at most.

    `score` of probabilities (images, classes) is better when higher; `error` is the standard error of the difference of
    two scores. Of equal candidates the first one is taken. Empty where no candidate has room.
    """
    steps = _steps(candidates, score, limit)
    if not steps:
        return ()
    best = max(steps, key=lambda step: step.score)
    last = max(
        place
        for place, step in enumerate(steps)
        if best.score - step.score <= (0.0 if step is best else error(step.probabilities, best.probabilities))
    )
    return tuple(steps[: last + 1])


def _steps(candidates: Sequence[Candidate], score: Callable[[Probabilities], float], limit: int) -> list[Step]:
    """Candidates in the order in which they serve best, as long as there is room."""
    steps: list[Step] = []
    total, members, left = np.zeros(()), 0, list(candidates)
    while left := [each for each in left if members + len(each.rows) <= limit]:
        tried = [(total + len(each.rows) * each.probabilities) / (members + len(each.rows)) for each in left]
        scores = [score(probabilities) for probabilities in tried]
        best = int(np.argmax(scores))
        chosen = left.pop(best)
        steps.append(Step(chosen, scores[best], tried[best]))
        total, members = total + len(chosen.rows) * chosen.probabilities, members + len(chosen.rows)
    return steps
