"""How good a model is on a part of the data: scores with intervals, tables and figures.

Everything follows from one matrix of probabilities and the labels, so an evaluation can be made again from
a table that was kept, without the model. Where decisions are made under weights (`lesion.rules`), what is read off
decisions (balanced accuracy, sensitivity, the confusion matrix) is of the weighted probabilities; AUC, log-loss and
calibration are of the probabilities themselves. The official score is of what a submission holds
(`lesion.submission.submitted`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lesion.errors import DataError
from lesion.metrics import (
    UNDECIDED,
    Interval,
    OfficialScores,
    bootstrap,
    confusion_matrix,
    decisions,
    official_scores,
    official_weights,
)
from lesion.rules import OperatingPoint, confidence, reweighted
from lesion.submission import image_ids, submitted, write_submission

DECIDED = ("balanced_accuracy", "accuracy", "macro_f1")
DECIDED_PER_CLASS = ("sensitivity", "specificity", "precision", "f1")
"""Scores that are read off decisions."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Probabilities (N, classes) of images with known labels (N,), and what follows from them.

    `intervals` holds every score of `lesion.metrics.report` with its 95 % bootstrap interval; `confusion`
    counts (true class, decided class), with one more column for undecided rows.
    """

    classes: tuple[str, ...]
    images: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]
    intervals: Mapping[str, Interval]
    official: OfficialScores
    confusion: npt.NDArray[np.int64]
    decision_weights: tuple[float, ...] | None = None

    @property
    def decisive(self) -> npt.NDArray[np.float64]:
        """The probabilities by which is decided, (N, classes)."""
        return reweighted(self.probabilities, self.decision_weights)

    @property
    def metrics(self) -> dict[str, float]:
        """Every score by name; NaN where the labels do not define it."""
        return {name: interval.value for name, interval in self.intervals.items()}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the images; an undefined number is None, which JSON can spell."""
        counts = np.bincount(self.labels, minlength=len(self.classes))
        return {
            "images": len(self.images),
            "classes": {name: int(count) for name, count in zip(self.classes, counts, strict=True)},
            "metrics": {name: _defined(value) for name, value in self.metrics.items()},
            "intervals": {name: [_defined(i.low), _defined(i.high)] for name, i in self.intervals.items()},
            "official": _plain(self.official.to_dict()),
            "confusion": {"columns": [*self.classes, UNDECIDED], "rows": self.confusion.tolist()},
            "decision_weights": None if self.decision_weights is None else list(self.decision_weights),
        }

    def per_image(self, point: OperatingPoint | None = None) -> pd.DataFrame:
        """One row an image: image, truth, decision, correct, confidence, and a probability column a class.

        `confidence` is the probability of what is decided; with an operating `point` there is `flagged` beside it.
        """
        truth = np.array(self.classes, dtype=object)[self.labels]
        decision = np.array(decisions(self.decisive, self.classes), dtype=object)
        facts = {
            "image": list(self.images),
            "truth": truth,
            "decision": decision,
            "correct": truth == decision,
        }
        columns = {f"p_{name}": self.probabilities[:, k] for k, name in enumerate(self.classes)}
        sure = {"confidence": confidence(self.probabilities, self.decisive)}
        flagged = {} if point is None else {"flagged": point.flagged(self.probabilities, self.classes)}
        return pd.DataFrame({**facts, **sure, **flagged, **columns})

    def official_csv(self, path: Path) -> Path:
        """Write what `official` scores in the layout of the ISIC challenge of these classes."""
        shown = submitted(self.probabilities, self.decisive, self.classes)
        return write_submission(path, self.images, shown, self.classes)

    def figures(self, folder: Path) -> list[Path]:
        """Draw roc.png, confusion.png and reliability.png into `folder`, which is made."""
        from lesion import figures  # noqa: PLC0415 - half a second that workers, who never draw, are spared

        return figures.draw_all(folder, self.probabilities, self.labels, self.classes, self.decisive)


def evaluate(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    classes: Sequence[str],
    *,
    images: Sequence[str],
    groups: Sequence[str] | None = None,
    seed: int = 0,
    samples: int = 1000,
    decision_weights: Sequence[float] | None = None,
) -> Evaluation:
    """Score probabilities (N, classes) in [0, 1] against labels (N,).

    `images` are ids, each once; `groups` lesion ids, "" where unknown, so that intervals respect that photos
    of one lesion are not independent. `decision_weights` (classes,) are those of `lesion.rules`. Raises DataError for
    arguments that do not fit together.
    """
    intervals = bootstrap(probabilities, labels, classes, groups=groups, samples=samples, seed=seed)
    decisive = reweighted(probabilities, decision_weights)
    if decision_weights is not None:
        decided = bootstrap(decisive, labels, classes, groups=groups, samples=samples, seed=seed)
        intervals |= {name: decided[name] for name in decided_metrics(classes)}
    p, y = np.array(probabilities, np.float64), np.array(labels, np.int64)  # copies: an evaluation stays
    if len(images) != len(y):
        raise DataError(f"{len(images)} image ids for {len(y)} rows of probabilities; each row needs one")
    ids = image_ids(images)
    return Evaluation(
        classes=tuple(classes),
        images=tuple(ids),
        labels=y,
        probabilities=p,
        intervals=intervals,
        official=official_scores(submitted(p, decisive, classes), y, classes, official_weights(ids)),
        confusion=confusion_matrix(decisive, y, classes),
        decision_weights=None if decision_weights is None else tuple(map(float, decision_weights)),
    )


def decided_metrics(classes: Sequence[str]) -> tuple[str, ...]:
    """Names of the scores that are read off decisions."""
    return (*DECIDED, *(f"{metric}_{name}" for metric in DECIDED_PER_CLASS for name in classes))


def _defined(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return _defined(value) if isinstance(value, float) else value
