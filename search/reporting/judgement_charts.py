"""Charts of one set of probabilities: ROC, precision and recall, reliability, confusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lesion.figures import COLOURS
from lesion.metrics import curves, summary
from search.reporting.charts import PLAIN, Chart, chart
from search.reporting.points import class_curves, confusion_counts, reliability_rows

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def roc(probabilities: Floats, labels: Ints, classes: Sequence[str]) -> Chart:
    """ROC curve of each class against the rest."""
    scores = summary(probabilities, labels, classes)
    traces = [
        _line(each.false_positive_rate, each.sensitivity, f"{each.name} {scores[f'auc_{each.name}']:.3f}", k)
        for k, each in enumerate(class_curves(probabilities, labels, classes))
    ]
    traces.append(_line(np.array([0.0, 1.0]), np.array([0.0, 1.0]), "", None))
    return chart(traces, 400, xaxis=_share("1 − specificity"), yaxis=_share("sensitivity"), legend=_corner("right"))


def precision_recall(probabilities: Floats, labels: Ints, classes: Sequence[str]) -> Chart:
    """Precision against recall of each class."""
    traces = [
        _line(each.sensitivity[1:], each.precision[1:], f"{each.name} {each.average_precision:.3f}", k)
        for k, each in enumerate(class_curves(probabilities, labels, classes))
        if (labels == k).any()
    ]
    return chart(traces, 400, xaxis=_share("recall"), yaxis=_share("precision"), legend=_corner("left"))


def reliability(probabilities: Floats, labels: Ints, classes: Sequence[str]) -> Chart:
    """Share of right decisions against the probability they were given; larger marks hold more images."""
    count, confidence, right = np.array(reliability_rows(probabilities, labels, classes)).T
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
    columns, counts = confusion_counts(probabilities, labels, classes)
    share = np.nan_to_num(curves.ratio(counts, counts.sum(axis=1, keepdims=True)))
    text = [
        [f"{counts[row, column]}<br>{share[row, column]:.0%}" for column in range(len(columns))]
        for row in range(len(classes))
    ]
    heat: Chart = {
        "type": "heatmap", "z": share.tolist(), "x": [f"{name} " for name in columns],
        "y": [f"{name} " for name in classes], "text": text, "texttemplate": "%{text}", "colorscale": "Blues",
        "reversescale": True, "zmin": 0, "zmax": 1, "showscale": False, "hoverinfo": "skip",
    }  # fmt: skip
    down = {"autorange": "reversed", "automargin": True, "title": {"text": "true"}, "tickangle": -60}
    return chart([heat], 340 + 20 * len(classes), yaxis=down, xaxis={"automargin": True, "title": {"text": "decided"}})


def _line(x: Floats, y: Floats, name: str, colour: int | None) -> Chart:
    if colour is None:
        line: dict[str, Any] = {"color": PLAIN, "width": 1, "dash": "dot"}
        return {"type": "scatter", "mode": "lines", "x": _list(x), "y": _list(y), "line": line, "showlegend": False,
                "hoverinfo": "skip"}  # fmt: skip
    line = {"color": COLOURS[colour % len(COLOURS)], "width": 2}
    return {"type": "scatter", "mode": "lines", "name": name, "x": _list(x), "y": _list(y), "line": line}


def _list(values: Floats) -> list[float | None]:
    return [round(float(value), 5) if np.isfinite(value) else None for value in values]


def _corner(side: str) -> Chart:
    """The legend in a lower corner, where curves of a good model are not."""
    return {"x": 0.98 if side == "right" else 0.02, "xanchor": side, "y": 0.02, "yanchor": "bottom"}


def _share(title: str) -> Chart:
    return {"title": {"text": title}, "range": [-0.02, 1.02]}
