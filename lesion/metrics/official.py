"""The ISIC challenge's scores, equal to `isic-challenge-scoring` to 1e-12, with its conventions.

A tie of the largest probability is wrong; per category, one against the rest, an image is called positive
above 0.5; rates with an empty denominator count as 1; classes that do not occur are left out of means. The
area under a curve that does not exist is NaN, where the scorer returns NaN or stops.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lesion.metrics import curves
from lesion.metrics.curves import Bools, Floats
from lesion.metrics.scores import ISIC_2017, Ints, checked, row_weights

IMAGE_OF_NO_WEIGHT = "ISIC_0035068"
"""Image of the ISIC 2018 test that the scorer leaves out."""


RankedBy = Literal["auc", "balanced_accuracy"]


@dataclass(frozen=True)
class OfficialScores:
    """What the scorer prints. `overall` is what the leaderboard sorts by, named in `ranking`.

    For ISIC 2017 `balanced_accuracy` is of the two scored categories and says nothing: use `ranking`.
    """

    ranking: RankedBy
    overall: float
    balanced_accuracy: float
    per_category: Mapping[str, Mapping[str, float]]
    macro_average: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dict."""
        return asdict(self)


def official_categories(classes: Sequence[str]) -> tuple[str, ...]:
    """Columns of an official submission: all classes, but for ISIC 2017 without nevus.

    >>> official_categories(("melanoma", "seborrheic_keratosis", "nevus"))
    ('melanoma', 'seborrheic_keratosis')
    """
    return tuple(name for name in classes if set(classes) != ISIC_2017 or name != "nevus")


def official_ranking(classes: Sequence[str]) -> RankedBy:
    """What the challenge of these classes ranks by: the mean AUC in ISIC 2017, balanced accuracy later.

    >>> official_ranking(("nevus", "melanoma", "seborrheic_keratosis")), official_ranking(("MEL", "NV"))
    ('auc', 'balanced_accuracy')
    """
    return "auc" if set(classes) == ISIC_2017 else "balanced_accuracy"


def official_weights(images: Sequence[str]) -> Floats:
    """Weight of each image id (N,): 1, but 0 for the image that the scorer leaves out."""
    return np.array([0.0 if name == IMAGE_OF_NO_WEIGHT else 1.0 for name in images])


def official_scores(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    classes: Sequence[str],
    weights: npt.ArrayLike | None = None,
) -> OfficialScores:
    """Score (N, classes) probabilities against (N,) labels as the challenge does.

    `weights` (N,) are as from `official_weights`; the default counts every image. Raises DataError for
    arguments that do not fit together.
    """
    p, y = checked(probabilities, labels, classes)
    w = row_weights(weights, len(y))[0]
    categories = official_categories(classes)
    columns = [classes.index(name) for name in categories]
    per_category = {classes[k]: _category(p[:, k], y == k, w) for k in columns}
    names = list(next(iter(per_category.values())))
    macro = {name: _mean_defined([scores[name] for scores in per_category.values()]) for name in names}
    balanced = _balanced_accuracy(p[:, columns], y, columns, w)
    ranking = official_ranking(classes)
    return OfficialScores(
        ranking=ranking,
        overall=macro["auc"] if ranking == "auc" else balanced,
        balanced_accuracy=balanced,
        per_category=per_category,
        macro_average=macro,
    )


def _category(score: Floats, positive: Bools, weights: Floats) -> dict[str, float]:
    called = score > 0.5
    tp, tn = weights[positive & called].sum(), weights[~positive & ~called].sum()
    fp, fn = weights[~positive & called].sum(), weights[positive & ~called].sum()
    ranking = curves.rank(score, positive, weights[None])
    has_positives = positive.any()
    return {
        "accuracy": float((tp + tn) / (tp + tn + fp + fn)),
        "sensitivity": _rate(tp, tp + fn),
        "specificity": _rate(tn, tn + fp),
        "dice": _rate(2 * tp, 2 * tp + fp + fn),
        "ppv": _rate(tp, tp + fp),
        "npv": _rate(tn, tn + fn),
        "auc": float(curves.auc(ranking)[0]),
        "auc_sens_80": curves.area_above(ranking, 0.8),
        "ap": float(curves.average_precision(ranking)[0]) if has_positives else 0.0,
    }


def _balanced_accuracy(p: Floats, y: Ints, columns: Sequence[int], weights: Floats) -> float:
    tied = (p == p.max(axis=1, keepdims=True)).sum(axis=1) > 1
    decided = np.where(tied, -1, np.asarray(columns)[p.argmax(axis=1)])
    recalls = []
    for k in columns:
        of_class = weights[y == k].sum()
        recalls.append(float(weights[(y == k) & (decided == k)].sum() / of_class) if of_class else float("nan"))
    return _mean_defined(recalls)


def _rate(part: float, whole: float) -> float:
    return float(part / whole) if whole else 1.0


def _mean_defined(values: Sequence[float]) -> float:
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")
