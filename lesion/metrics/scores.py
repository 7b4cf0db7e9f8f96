"""Scores for the search: every epoch (`summary`) and every finished evaluation (`report`).

All scores are computed for many sets of row weights at once, (samples, N). An ordinary call is one sample
of ones, a bootstrap is a thousand samples of counts: the same code, so an interval belongs to its value.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lesion.errors import DataError
from lesion.metrics import curves
from lesion.metrics.catalogue import SENSITIVITIES
from lesion.metrics.curves import Floats, Ranking, ratio

Ints = npt.NDArray[np.int64]
Samples = dict[str, Floats]

UNDECIDED = "undecided"
"""Decision for a row whose largest probability is shared: it counts as wrong."""

BINS = 15
"""Equal-width bins of the expected calibration error, (0, 1/15], (1/15, 2/15], …"""

ISIC_2017 = frozenset({"melanoma", "seborrheic_keratosis", "nevus"})
"""Classes whose official ranking leaves nevus out."""


def summary(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    classes: Sequence[str],
    weights: npt.ArrayLike | None = None,
) -> dict[str, float]:
    """Scalars worth recording every epoch; under 5 ms for 2000 images.

    `probabilities` are (N, classes) in [0, 1], `labels` (N,) indices into `classes`, `weights` (N,) not
    negative. Keys are those of `of_every_epoch(classes)`: METRICS, and auc_, sensitivity_, specificity_, precision_
    and f1_ with each class. What the labels do not define is NaN, and so is the precision of a class that no row is
    called. Raises DataError for arguments that do not fit together.
    """
    p, y = checked(probabilities, labels, classes)
    w = row_weights(weights, len(y))
    return _first(_summary(p, y, classes, w, _rankings(p, y, w)))


def report(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    classes: Sequence[str],
    weights: npt.ArrayLike | None = None,
) -> dict[str, float]:
    """Every metric of `metrics_of(classes)`: `summary` and the costlier ones of each class."""
    p, y = checked(probabilities, labels, classes)
    return _first(sampled_report(p, y, classes, row_weights(weights, len(y))))


def confusion_matrix(probabilities: npt.ArrayLike, labels: npt.ArrayLike, classes: Sequence[str]) -> Ints:
    """Count (true class, decided class) pairs; one more, last column counts undecided rows, exact ties."""
    p, y = checked(probabilities, labels, classes)
    counts: Ints = _confusion(p, y, np.ones((1, len(y))))[0].astype(np.int64)
    return counts


def decisions(probabilities: npt.ArrayLike, classes: Sequence[str]) -> list[str]:
    """Name the class of the largest probability of each row (N, classes), or UNDECIDED at an exact tie."""
    names = [*classes, UNDECIDED]
    return [names[k] for k in _decided(np.asarray(probabilities, np.float64))]


def calibration_table(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, classes: Sequence[str]
) -> npt.NDArray[np.float64]:
    """Rows (images, mean top probability, share right) for each of the 15 bins; NaN where a bin is empty."""
    p, y = checked(probabilities, labels, classes)
    top = p.max(axis=1)
    right = _decided(p) == y
    members = _one_hot(_bins(top), BINS)
    count = members.sum(axis=0)
    return np.stack([count, ratio(top @ members, count), ratio(right @ members, count)], axis=1)


def checked(probabilities: npt.ArrayLike, labels: npt.ArrayLike, classes: Sequence[str]) -> tuple[Floats, Ints]:
    """Arguments as float64 (N, classes) and int64 (N,), or DataError."""
    p, y = np.asarray(probabilities, np.float64), np.asarray(labels)
    if p.ndim != 2 or p.shape[1] != len(classes) or len(p) == 0:
        raise DataError(f"probabilities are {p.shape}, must be (images, {len(classes)}) with at least one image")
    if y.shape != (len(p),) or y.dtype.kind not in "iu":
        raise DataError(f"labels are {y.dtype} {y.shape}, must be integers ({len(p)},)")
    if not ((p >= 0.0) & (p <= 1.0)).all():  # catches NaN too
        row = int(np.argmin(((p >= 0.0) & (p <= 1.0)).all(axis=1)))
        raise DataError(f"probabilities of row {row} are {p[row].tolist()}, must be from 0 to 1")
    if y.min() < 0 or y.max() >= len(classes):
        raise DataError(f"labels go from {y.min()} to {y.max()}, must be from 0 to {len(classes) - 1}")
    return p, y.astype(np.int64)


def row_weights(weights: npt.ArrayLike | None, rows: int) -> Floats:
    """One sample of weights (1, N): ones unless given; DataError if negative, not finite or not (N,)."""
    if weights is None:
        return np.ones((1, rows))
    w = np.asarray(weights, np.float64)
    if w.shape != (rows,) or not (np.isfinite(w) & (w >= 0.0)).all() or w.sum() == 0.0:
        raise DataError(f"weights are {w.shape}, must be ({rows},), finite, not negative and not all 0")
    return w[None]


def sampled_summary(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, classes: Sequence[str], weights: npt.ArrayLike
) -> Samples:
    """`summary` for each row of `weights` (samples, N): arrays (samples,) by name."""
    p, y = checked(probabilities, labels, classes)
    w = np.asarray(weights, np.float64)
    return _summary(p, y, classes, w, _rankings(p, y, w))


def sampled_report(p: Floats, y: Ints, classes: Sequence[str], weights: Floats) -> Samples:
    """`report` for each row of `weights` (samples, N); arguments as from `checked`."""
    rankings = _rankings(p, y, weights)
    scores = _summary(p, y, classes, weights, rankings)
    for k, label in enumerate(classes):
        scores[f"ap_{label}"] = curves.average_precision(rankings[k])
        for percent in SENSITIVITIES:
            point = curves.specificity_at(rankings[k], percent / 100.0)
            scores[f"specificity_at_{percent}_{label}"] = point
    return scores


def _summary(p: Floats, y: Ints, classes: Sequence[str], weights: Floats, rankings: Sequence[Ranking]) -> Samples:
    return {
        **_ranked(p, y, classes, weights, rankings),
        **_decisions(_confusion(p, y, weights), classes),
        **_calibration(p, y, weights),
    }


def _rankings(p: Floats, y: Ints, weights: Floats) -> list[Ranking]:
    return [curves.rank(p[:, k], y == k, weights) for k in range(p.shape[1])]


def _ranked(p: Floats, y: Ints, classes: Sequence[str], weights: Floats, rankings: Sequence[Ranking]) -> Samples:
    columns = range(len(classes))
    areas = np.stack([curves.auc(ranking) for ranking in rankings], axis=1)
    truth = _one_hot(y, len(classes))
    share = ratio(weights @ truth, weights.sum(axis=1, keepdims=True))
    pairs = curves.rank(p.ravel(), truth.ravel() > 0.0, np.repeat(weights, len(classes), axis=1))
    ranking = [k for k in columns if set(classes) != ISIC_2017 or classes[k] != "nevus"]
    if len(classes) == 2:
        # Each class is the other's rest: one AUC, told twice but for the rounding of 1 - p.
        ranking = [1]
    return {
        "mean_auc": areas[:, ranking].mean(axis=1),
        "macro_auc": areas.mean(axis=1),
        "micro_auc": curves.auc(pairs),
        "macro_ap": np.mean([curves.average_precision(ranking) for ranking in rankings], axis=0),
        # a class that does not occur weighs nothing, though its own AUC is undefined
        "weighted_auc": np.where(share > 0.0, areas * share, 0.0).sum(axis=1),
        **{f"auc_{label}": areas[:, k] for k, label in enumerate(classes)},
    }


def _decisions(confusion: Floats, classes: Sequence[str]) -> Samples:  # (samples, classes, classes + 1)
    right = np.diagonal(confusion, axis1=1, axis2=2)
    support, called = confusion.sum(axis=2), confusion.sum(axis=1)[:, :-1]
    total = support.sum(axis=1)
    sensitivity = ratio(right, support)
    specificity = ratio(total[:, None] - support - called + right, total[:, None] - support)
    precision, f1 = ratio(right, called), ratio(2.0 * right, support + called)
    return {
        "balanced_accuracy": _mean_present(sensitivity, support),
        "accuracy": ratio(right.sum(axis=1), total),
        "macro_f1": _mean_present(f1, support),
        **{f"sensitivity_{label}": sensitivity[:, k] for k, label in enumerate(classes)},
        **{f"specificity_{label}": specificity[:, k] for k, label in enumerate(classes)},
        **{f"precision_{label}": precision[:, k] for k, label in enumerate(classes)},
        **{f"f1_{label}": f1[:, k] for k, label in enumerate(classes)},
    }


def _calibration(p: Floats, y: Ints, weights: Floats) -> Samples:
    total = weights.sum(axis=1)
    tiny = np.finfo(np.float64).eps
    surprise = -np.log(np.clip(p[np.arange(len(y)), y], tiny, 1.0 - tiny))
    distance = ((p - _one_hot(y, p.shape[1])) ** 2).sum(axis=1)
    top = p.max(axis=1)
    gaps = (top - (_decided(p) == y))[:, None] * _one_hot(_bins(top), BINS)  # (N, bins)
    return {
        "log_loss": weights @ surprise / total,
        "brier": weights @ distance / total,
        "ece": np.abs(weights @ gaps).sum(axis=1) / total,
    }


def _decided(p: Floats) -> Ints:
    tied = (p == p.max(axis=1, keepdims=True)).sum(axis=1) > 1
    return np.where(tied, np.int64(p.shape[1]), p.argmax(axis=1))


def _confusion(p: Floats, y: Ints, weights: Floats) -> Floats:
    classes = p.shape[1]
    cells = y * (classes + 1) + _decided(p)
    return (weights @ _one_hot(cells, classes * (classes + 1))).reshape(-1, classes, classes + 1)


def _mean_present(values: Floats, support: Floats) -> Floats:
    present = support > 0.0
    return ratio(np.where(present, values, 0.0).sum(axis=1), present.sum(axis=1))


def _bins(top: Floats) -> Ints:
    bins: Ints = np.clip(np.ceil(top * BINS) - 1, 0, BINS - 1).astype(np.int64)
    return bins


def _one_hot(index: Ints, width: int) -> Floats:
    hot = np.zeros((len(index), width))
    hot[np.arange(len(index)), index] = 1.0
    return hot


def _first(samples: Samples) -> dict[str, float]:
    return {name: float(values[0]) for name, values in samples.items()}
