"""A comparison as text for the terminal, as JSON, and as a page like that of a report."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from lesion.figures import COLOURS
from lesion.metrics import curves
from lesion.pages import style, template
from search.reporting.charts import PLAIN, Chart, chart
from search.reporting.comparison import Comparison, Pair, Tested
from search.reporting.files import plain

COLUMNS = ("score", "first", "second", "difference", "95 % interval", "p", "p (Holm)", "test", "verdict")
SHORT = ("score", "first", "second", "difference", "95 % interval", "p (Holm)", "better")
"""Columns that fit a terminal."""
HERE = Path(__file__).parent


def cells(each: Tested) -> tuple[str, ...]:
    """One row of `COLUMNS`."""
    test = each.result
    interval = f"{test.low:+z.4f} to {test.high:+z.4f}" if math.isfinite(test.low) else "–"
    numbers = (f"{test.first:.4f}", f"{test.second:.4f}", f"{test.difference:+z.4f}", interval)
    return each.score, *numbers, f"{test.p:.3g}", f"{each.holm:.3g}", test.test, each.verdict


def short_cells(each: Tested) -> tuple[str, ...]:
    """One row of `SHORT`."""
    test = each.result
    interval = f"{test.low:+z.3f} to {test.high:+z.3f}" if math.isfinite(test.low) else "–"
    better = each.verdict.removesuffix(" is better") if "better" in each.verdict else "–"
    numbers = (f"{test.first:.3f}", f"{test.second:.3f}", f"{test.difference:+z.3f}", interval)
    return each.score, *numbers, f"{each.holm:.2g}", better


def tests_in_words(pair: Pair) -> str:
    """By which test each p of a pair is, such as "p by DeLong: auc_nevus; by bootstrap: mean_auc"."""
    scores: dict[str, list[str]] = {}
    for each in pair.tests:
        scores.setdefault(each.result.test, []).append(each.score)
    return "p " + "; ".join(f"by {test}: {', '.join(names)}" for test, names in scores.items())


def as_json(found: Comparison) -> dict[str, Any]:
    """Names, scores and tests, without the probabilities."""
    told: dict[str, Any] = plain(
        {
            "images": len(found.judgements[0].images),
            "part": found.judgements[0].part,
            "compared": [
                {"name": each.name, "part": each.part, "scores": scores}
                for each, scores in zip(found.judgements, found.scores, strict=True)
            ],
            "pairs": [
                {
                    "first": pair.first.name,
                    "second": pair.second.name,
                    "tests": [
                        {"score": each.score, **vars(each.result), "holm": each.holm, "verdict": each.verdict}
                        for each in pair.tests
                    ],
                }
                for pair in found.pairs
            ],
            "notes": list(found.notes),
        }
    )
    return told


def page(found: Comparison) -> str:
    """The whole page as text."""
    from plotly.offline import get_plotlyjs  # noqa: PLC0415 - takes a second, which the terminal need not wait for

    figures = {f"pair-{place}": _differences(pair) for place, pair in enumerate(found.pairs)}
    figures |= {f"roc-{k}": _curves(found, k) for k in range(len(found.judgements[0].classes))}
    return template(HERE / "page.compare.html").render(
        names=[each.name for each in found.judgements],
        part=found.judgements[0].part,
        images=len(found.judgements[0].images),
        notes=found.notes,
        pairs=[(pair.first.name, pair.second.name, list(map(cells, pair.tests))) for pair in found.pairs],
        classes=found.judgements[0].classes,
        columns=COLUMNS,
        style=style(),
        script=(HERE / "page.js").read_text(),
        plotly=get_plotlyjs(),
        figures=json.dumps(plain(figures), separators=(",", ":")).replace("</", "<\\/"),
    )


def _differences(pair: Pair) -> Chart:
    """First minus second with intervals, for scores between 0 and 1 of which more is better."""
    told = [each for each in reversed(pair.tests) if each.score not in ("log_loss", "brier", "ece")]
    colours = [PLAIN if each.verdict == "not distinguishable" else COLOURS[2] for each in told]
    points: Chart = {
        "type": "scatter", "mode": "markers", "x": [each.result.difference for each in told],
        "y": list(range(len(told))), "marker": {"color": colours, "size": 9}, "showlegend": False,
        "text": [f"{each.score}: p {each.result.p:.3g}<br>{each.result.difference:+z.4f}" for each in told],
        "hovertemplate": "%{text}<extra></extra>",
    }  # fmt: skip
    whiskers = [
        {"type": "line", "x0": each.result.low, "x1": each.result.high, "y0": place, "y1": place,
         "line": {"color": colour, "width": 2.5}}
        for place, (each, colour) in enumerate(zip(told, colours, strict=True))
    ]  # fmt: skip
    reach = max((abs(end) for each in told for end in (each.result.low, each.result.high)), default=1.0)
    down = {"tickvals": list(range(len(told))), "ticktext": [each.score for each in told], "automargin": True}
    across = {"title": {"text": "first minus second"}, "range": [-1.05 * reach, 1.05 * reach], "nticks": 6}
    return chart([points], 110 + 24 * len(told), xaxis=across, yaxis={**down, "zeroline": False}, shapes=whiskers)


def _curves(found: Comparison, k: int) -> Chart:
    """ROC curves of one class, a line a judgement."""
    traces: list[Chart] = []
    for place, (each, scores) in enumerate(zip(found.judgements, found.scores, strict=True)):
        ranking = curves.rank(each.probabilities[:, k], each.labels == k, np.ones((1, len(each.labels))))
        area = scores[f"auc_{each.classes[k]}"]
        traces.append({
            "type": "scatter", "mode": "lines", "name": f"{each.name} {area:.3f}",
            "x": ranking.fpr[0].round(4).tolist(), "y": ranking.tpr[0].round(4).tolist(),
            "line": {"color": COLOURS[place % len(COLOURS)], "width": 2},
        })  # fmt: skip
    share = {"range": [-0.02, 1.02]}
    return chart(
        traces,
        400,
        xaxis={**share, "title": {"text": "1 − specificity"}},
        yaxis={**share, "title": {"text": "sensitivity"}},
        legend={"x": 0.98, "xanchor": "right", "y": 0.02, "yanchor": "bottom"},
    )
