"""Figures of an evaluation: ROC curves, confusion matrix, reliability diagram; of epochs; how figures are written.

Each function returns a matplotlib Figure of its own; pyplot's global state, which threads share, is not used.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from lesion.metrics import UNDECIDED, calibration_table, confusion_matrix, curves, summary
from lesion.metrics.curves import Floats
from lesion.metrics.scores import Ints
from lesion.writing import write_atomically

DPI = 120
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#7F7F7F", "#5D3A9B")
"""Okabe and Ito's palette, which colour-blind readers can tell apart, and two more."""


def draw_all(
    folder: Path, probabilities: Floats, labels: Ints, classes: Sequence[str], decisive: Floats | None = None
) -> list[Path]:
    """Write roc.png, confusion.png and reliability.png into `folder`, which is made.

    `decisive` (N, classes) is what is decided by, where that is not the probabilities.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawings: dict[str, Callable[[Floats, Ints, Sequence[str]], Figure]] = {
        "roc.png": roc_figure,
        "confusion.png": confusion_figure,
        "reliability.png": reliability_figure,
    }
    for name, draw in drawings.items():
        shown = decisive if decisive is not None and draw is confusion_figure else probabilities
        write_png(folder / name, draw(shown, labels, classes))
    return [folder / name for name in drawings]


def roc_figure(probabilities: Floats, labels: Ints, classes: Sequence[str]) -> Figure:
    """Draw the ROC curve of each class against the rest, their mean (macro) and that of all pairs (micro)."""
    scores = summary(probabilities, labels, classes)
    figure, axes = canvas(6.4, 6.0)
    axes.plot([0, 1], [0, 1], color="0.8", linewidth=1)
    points = [_roc(probabilities[:, k], labels == k) for k in range(len(classes))]
    for k, (fpr, tpr) in enumerate(points):
        area = scores[f"auc_{classes[k]}"]
        label = f"{classes[k]}  {area:.3f}" if np.isfinite(area) else f"{classes[k]}  undefined"
        axes.plot(fpr, tpr, color=COLOURS[k % len(COLOURS)], linewidth=1.6, label=label)
    if np.isfinite(scores["macro_auc"]):
        fpr, tpr = _mean_curve(points)
        axes.plot(fpr, tpr, color="black", linewidth=1.4, label=f"macro  {scores['macro_auc']:.3f}")
    truth = labels[:, None] == np.arange(len(classes))
    fpr, tpr = _roc(probabilities.ravel(), truth.ravel())
    axes.plot(fpr, tpr, "--", color="0.35", linewidth=1.4, label=f"micro  {scores['micro_auc']:.3f}")
    axes.set(xlabel="1 − specificity", ylabel="sensitivity", title=f"ROC, one against the rest (n = {len(labels)})")
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.legend(loc="lower right", title="AUC", frameon=False)
    return figure


def confusion_figure(probabilities: Floats, labels: Ints, classes: Sequence[str]) -> Figure:
    """Draw the counts of (true, decided) classes, coloured by the share of the true class."""
    counts = confusion_matrix(probabilities, labels, classes)
    columns = [*classes, UNDECIDED]
    if not counts[:, -1].any():
        counts, columns = counts[:, :-1], columns[:-1]
    share = np.nan_to_num(curves.ratio(counts, counts.sum(axis=1, keepdims=True)))
    side = 0.85 * len(classes) + 2.4
    figure, axes = canvas(side + 0.85 * (len(columns) - len(classes)), side)
    axes.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
    for row, column in np.ndindex(*counts.shape):
        text = f"{counts[row, column]}\n{share[row, column]:.0%}"
        colour = "white" if share[row, column] > 0.6 else "0.15"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(columns)), columns, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(classes)), classes)
    axes.set(xlabel="decided", ylabel="true", title=f"Confusion matrix (n = {len(labels)})")
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    return figure


def reliability_figure(probabilities: Floats, labels: Ints, classes: Sequence[str]) -> Figure:
    """Draw the share of right decisions against the probability given to them, and the number of images."""
    table = calibration_table(probabilities, labels, classes)
    count, confidence, right = table[table[:, 0] > 0].T
    edges = np.linspace(0.0, 1.0, len(table) + 1)
    figure = Figure(figsize=(6.0, 6.6), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    bare(axes)
    bare(below)
    axes.plot([0, 1], [0, 1], color="0.8", linewidth=1, label="perfectly calibrated")
    low, high = _wilson(right, count)
    axes.errorbar(
        confidence,
        right,
        (right - low, high - right),
        fmt="o-",
        color=COLOURS[0],
        linewidth=1.6,
        markersize=5,
        capsize=2,
    )
    error = summary(probabilities, labels, classes)["ece"]
    axes.set(ylabel="share right (95 % interval)", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set_title(f"Reliability of the top probability (n = {len(labels)}, ECE {error:.3f})")
    axes.legend(loc="upper left", frameon=False)
    below.bar(edges[:-1], table[:, 0], width=np.diff(edges), align="edge", color=COLOURS[0], alpha=0.6)
    below.set(xlabel="top probability", ylabel="images")
    return figure


def epochs_figure(epochs: Mapping[int, Mapping[str, float]], classes: Sequence[str]) -> Figure:
    """Draw accuracy, loss, precision with recall, and F1 of the validation part after each epoch.

    `epochs` are the metrics of `lesion.training.Training.step` by the epoch's number. Where the best epoch is kept its
    own are drawn, and where it is. Of two classes precision, recall and F1 are those of the second. What is undefined
    after an epoch, as the precision of a class that nothing was called, leaves a gap.
    """
    coloured = [
        (name, COLOURS[k % len(COLOURS)]) for k, name in enumerate(classes[-1:] if len(classes) == 2 else classes)
    ]
    blue, orange = COLOURS[:2]
    panels: dict[str, list[tuple[str, str, str, str]]] = {
        "Accuracy": [
            ("train_accuracy", "training", blue, "--"),
            ("accuracy", "validation", blue, "-"),
            ("balanced_accuracy", "validation, balanced", orange, "-"),
        ],
        "Loss": [("train_loss", "training", blue, "--"), ("log_loss", "validation (log-loss)", blue, "-")],
        "Precision, and dashed recall": [
            *((f"precision_{name}", name, colour, "-") for name, colour in coloured),
            *((f"sensitivity_{name}", "", colour, "--") for name, colour in coloured),
        ],
        "F1": [(f"f1_{name}", name, colour, "-") for name, colour in coloured],
    }
    figure = Figure(figsize=(10.0, 7.2), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
    kept = max(
        (epoch for epoch, told in epochs.items() if told.get("epoch_log_loss", np.nan) == told.get("log_loss")),
        default=None,
    )
    for axes, (title, lines) in zip(figure.subplots(2, 2, sharex=True).flat, panels.items(), strict=True):
        bare(axes)
        for name, label, colour, style in lines:
            values = [told.get(f"epoch_{name}", told.get(name, np.nan)) for told in epochs.values()]
            axes.plot(list(epochs), values, style, color=colour, label=label, linewidth=1.6, marker="o", markersize=3)
        if kept is not None:
            axes.axvline(kept, color="0.6", linestyle=":", linewidth=1.2)
        axes.set(title=title, xlabel="epoch" if kept is None else f"epoch, of which {kept} is kept")
        axes.legend(loc="best", frameon=False, fontsize=8)
    return figure


def write_png(path: Path, figure: Figure) -> Path:
    """Write `figure` to `path` as a PNG, whole or not at all."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=DPI)
    write_atomically(path, picture.getbuffer())
    return path


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of so many inches with one set of axes."""
    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
    axes = figure.subplots()
    bare(axes)
    return figure, axes


def bare(axes: Axes) -> None:
    """Take away what carries no data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.93")
    axes.set_axisbelow(True)


def _roc(scores: Floats, positive: curves.Bools) -> tuple[Floats, Floats]:
    ranking = curves.rank(scores, positive, np.ones((1, len(scores))))
    return ranking.fpr[0], ranking.tpr[0]


def _mean_curve(points: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """Mean sensitivity of the curves at every 1 − specificity that one of them has."""
    grid = np.unique(np.concatenate([fpr for fpr, _ in points]))
    mean = np.mean([np.interp(grid, fpr, tpr) for fpr, tpr in points], axis=0)
    return np.concatenate([[0.0], grid]), np.concatenate([[0.0], mean])


def _wilson(share: Floats, count: Floats) -> tuple[Floats, Floats]:
    """Wilson's 95 % interval of a share, which is not empty at 0 or 1 as the textbook one is."""
    z = 1.96
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    return np.minimum(centre - half, share), np.maximum(centre + half, share)
