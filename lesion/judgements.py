"""What a model says of photos, as a table: probabilities, decision, operating point, uncertainty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from lesion.metrics import decisions
from lesion.rules import Rules, confidence
from lesion.submission import submitted, write_submission
from lesion.taxonomy import Taxonomy
from lesion.uncertainty import entropy


@dataclass(frozen=True, eq=False)
class PredictionTable:
    """Probabilities (files, classes) of the files that could be read, and why the others could not.

    `disagreement` (files,) is that of members and views; `rules` are the model's; `taxonomy` is the one along which it
    spells diagnoses, None for a model that does not.
    """

    classes: tuple[str, ...]
    files: tuple[str, ...]
    probabilities: npt.NDArray[np.float64]
    disagreement: npt.NDArray[np.float64]
    rules: Rules = field(default_factory=Rules)
    broken: Mapping[str, str] = field(default_factory=dict)
    taxonomy: Taxonomy | None = None

    @property
    def levels(self) -> tuple[Mapping[str, npt.NDArray[np.float64]], ...]:
        """For each level of the taxonomy above the classes the probability (files,) of each word."""
        if self.taxonomy is None:
            return ()
        members = self.taxonomy.membership(self.classes)  # (levels, classes, words)
        return tuple(
            {self.taxonomy.words[word]: self.probabilities @ members[level][:, word] for word in words}
            for level, words in enumerate(self.taxonomy.levels[:-1])
        )

    def to_frame(self) -> pd.DataFrame:
        """One row a file: image, decision, confidence, flagged, entropy, disagreement, p_<class>, level_<n>_<word>.

        `confidence` is the probability of the decided class; `flagged` is there where the model has an operating point,
        the words of the taxonomy's levels, from the most general, where it has a taxonomy.
        """
        decisive = self.rules.decisive(self.probabilities)
        columns = {f"p_{name}": self.probabilities[:, k] for k, name in enumerate(self.classes)}
        point = self.rules.operating_point
        flagged = {} if point is None else {"flagged": point.flagged(self.probabilities, self.classes)}
        unsure = {"entropy": entropy(self.probabilities), "disagreement": self.disagreement}
        said = {
            "image": self.files,
            "decision": decisions(decisive, self.classes),
            "confidence": confidence(self.probabilities, decisive),
        }
        levels = {
            f"level_{number}_{word}": p for number, level in enumerate(self.levels, 1) for word, p in level.items()
        }
        return pd.DataFrame({**said, **flagged, **unsure, **columns, **levels})

    def official_csv(self, path: Path) -> Path:
        """Write the layout of an ISIC submission; DataError when two files have the same name.

        Where the challenge decides by the largest number of a row, these are the probabilities under the model's
        decision weights; where it ranks by AUC (ISIC 2017), the probabilities.
        """
        shown = submitted(self.probabilities, self.rules.decisive(self.probabilities), self.classes)
        return write_submission(path, self.files, shown, self.classes)
