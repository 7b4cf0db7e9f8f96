"""Charts of one set of probabilities: ROC, precision and recall, reliability, confusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lesion.figures import COLOURS
from lesion.metrics import UNDECIDED, calibration_table, confusion_matrix, curves, summary
from search.reporting.charts import PLAIN, Chart, chart

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

POINTS = 400
"""A curve of more points looks the same, and makes the page heavy."""


def roc(probabilities: Floats, labels: Ints, classes: Sequence[str]) -> Chart:
    """ROC curve of each class against the rest."""
    scores = summary(probabilities, labels, classes)
    traces = []
    for k, name in enumerate(classes):
        ranking = curves.rank(probabilities[:, k], labels == k, np.ones((1, len(labels))))
        label = f"{name} {scores[f'auc_{name}']:.3f}"
        traces.append(_line(ranking.fpr[0], ranking.tpr[0], label, k))
    traces.append(_line(np.array([0.0, 1.0]), np.array([0.0, 1.0]), "", None))
    return chart(traces, 400, xaxis=_share("1 − specificity"), yaxis=_share("sensitivity"), legend=_corner("right"))


def precision_recall(probabilities: Floats, labels: Ints, classes: Sequence[str]) -> Chart:
    """Precision against recall of each class."""
    traces = []
    for k, name in enumerate(classes):
        if not (labels == k).any():
            continue
        ranking = curves.rank(probabilities[:, k], labels == k, np.ones((1, len(labels))))
        area = float(curves.average_precision(ranking)[0])
        precision = curves.ratio(ranking.true[0, 1:], ranking.true[0, 1:] + ranking.false[0, 1:])
        traces.append(_line(ranking.tpr[0, 1:], precision, f"{name} {area:.3f}", k))
    return chart(traces, 400, xaxis=_share("recall"), yaxis=_share("precision"), legend=_corner("left"))


def reliability(probabilities: Floats, labels: Ints, classes: Sequence[str]) -> Chart:
    """Share of right decisions against the probability they were given; larger marks hold more images."""
    table = calibration_table(probabilities, labels, classes)
    count, confidence, right = table[table[:, 0] > 0].T
    sizes = 6 + 22 * np.sqrt(count / count.max())
    told: Chart = {
        "type": "scatter", "mode": "lines+markers", "x": _list(confidence), "y": _list(right), "showlegend": False,
        "marker": {"size": _list(sizes), "color": COLOURS[0]}, "line": {"color": COLOURS[0], "width": 1},
        "text": [f"{int(each)} images" for each in count], "cliponaxis": False,
        "hovertemplate": "%{text}<br>given %{x:.2f}, right %{y:.2f}<extra></extra>",
    }  # fmt: skip
    ideal = _line(np.array([0.0, 1.0]), np.array([0.0, 1.0]), "", None)
    return chart([ideal, told], 400, xaxis=_share("top probability"), yaxis=_share("share right"))


def confusion(probabilities: Floats, labels: Ints, classes: Sequence[str]) -> Chart:
    """Counts of (true, decided) classes, coloured by the share of the true class."""
    counts = confusion_matrix(probabilities, labels, classes)
    columns = [*classes, UNDECIDED]
    if not counts[:, -1].any():
        counts, columns = counts[:, :-1], columns[:-1]
    share = np.nan_to_num(curves.ratio(counts, counts.sum(axis=1, keepdims=True)))
    text = [
        [f"{counts[row, column]}<br>{share[row, column]:.0%}" for column in range(len(columns))]
        for row in range(len(classes))
    ]
    heat: Chart = {
        "type": "heatmap", "z": share.tolist(), "x": [f"{name} " for name in columns],
        "y": [f"{name} " for name in classes], "text": text, "texttemplate": "%{text}", "colorscale": "Blues",
        "reversescale": False, "zmin": 0, "zmax": 1, "showscale": False, "hoverinfo": "skip",
    }  # fmt: skip
    down = {"autorange": "reversed", "automargin": True, "title": {"text": "true"}, "tickangle": -60}
    return chart([heat], 340 + 20 * len(classes), yaxis=down, xaxis={"automargin": True, "title": {"text": "decided"}})


def _line(x: Floats, y: Floats, name: str, colour: int | None) -> Chart:
    place = np.unique(np.linspace(0, len(x) - 1, min(len(x), POINTS)).astype(int))
    if colour is None:
        line: dict[str, Any] = {"color": PLAIN, "width": 1, "dash": "dot"}
        return {"type": "scatter", "mode": "lines", "x": _list(x), "y": _list(y), "line": line, "showlegend": False,
                "hoverinfo": "skip"}  # fmt: skip
    line = {"color": COLOURS[colour % len(COLOURS)], "width": 2}
    return {"type": "scatter", "mode": "lines", "name": name, "x": _list(x[place]), "y": _list(y[place]), "line": line}


def _list(values: Floats) -> list[float | None]:
    return [round(float(value), 5) if np.isfinite(value) else None for value in values]


def _corner(side: str) -> Chart:
    """The legend in a lower corner, where curves of a good model are not."""
    return {"x": 0.98 if side == "right" else 0.02, "xanchor": side, "y": 0.02, "yanchor": "bottom"}


def _share(title: str) -> Chart:
    return {"title": {"text": title}, "range": [-0.02, 1.02]}
