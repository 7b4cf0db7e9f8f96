"""The charts of a report, as the plain values that plotly.js draws: {"data": traces, "layout": …}.

Colours of text, grid and background are left to the page, which knows whether it is dark. A chart is as wide as the
screen; `height` is in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lesion.figures import COLOURS
from search.reporting.effects import BETTER, WORSE, Stage
from search.reporting.gather import Reading
from search.reporting.importance import METHODS, Importance
from search.reporting.tables import ordered
from search.space.domains import show

Chart = dict[str, Any]

STATES = {"complete": COLOURS[2], "pruned": COLOURS[4], "failed": COLOURS[1], "running": COLOURS[5]}
VERDICTS = {BETTER: COLOURS[2], WORSE: COLOURS[1]}
PLAIN = "#7F7F7F"
LEGEND = {"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom"}
"""Above what is drawn: the margin makes room for it, however many rows a narrow screen breaks it into."""
HIGHLIGHTED = 5
"""Trials whose learning curves are coloured."""


def chart(traces: list[Chart], height: int, **layout: Any) -> Chart:
    """A chart with the layout that all have in common."""
    base = {"height": height, "margin": {"l": 56, "r": 16, "t": 16, "b": 48}, "legend": LEGEND}
    return {"data": traces, "layout": {**base, **layout}}


def progress(reading: Reading, over: str) -> Chart:
    """Values by the hours since the start ("time"), or by the device-hours of all trials until then ("cost")."""
    # What has failed has no value to draw, but it took its time, too.
    every = [row for row in reading.status.rows if row.started]
    by_end = sorted((row for row in every if row.ended), key=lambda row: (row.ended, row.number))
    drawn = {row.number for row in reading.told}
    ended = [row for row in by_end if row.number in drawn]
    if not ended:
        return {}
    began = min(row.started for row in every if row.started)
    spent, places = 0.0, {}
    for row in by_end:
        spent += row.device_seconds / 3600
        hours = (row.ended - began).total_seconds() / 3600 if row.ended else 0.0
        places[row.number] = hours if over == "time" else spent
    traces: list[Chart] = []
    for state in ("pruned", "complete"):
        rows = [row for row in ended if row.state == state]
        traces.append({
            "type": "scatter", "mode": "markers", "name": state,
            "x": [places[row.number] for row in rows], "y": [row.value for row in rows],
            "text": [f"trial {row.number}, epoch {row.epoch}" for row in rows],
            "marker": {"color": STATES[state], "size": 8, "symbol": "circle" if state == "complete" else "x-thin-open"},
        })  # fmt: skip
    better = max if reading.status.identity.direction == "maximize" else min
    x, y, best = [], [], None
    for row in (row for row in ended if row.state == "complete" and row.value is not None):
        best = row.value if best is None else better(best, float(row.value or 0.0))
        x.append(places[row.number])
        y.append(best)
    if x:
        x.append(max(places.values()))
        y.append(best)
        line = {"color": STATES["complete"], "shape": "hv"}
        traces.append({"type": "scatter", "mode": "lines", "name": "best complete", "x": x, "y": y, "line": line})
    title = "hours since the first trial" if over == "time" else "device-hours spent"
    objective = reading.status.identity.objective
    return chart(traces, 380, xaxis={"title": {"text": title}}, yaxis={"title": {"text": objective}})


def learning_curves(reading: Reading) -> Chart:
    """The objective after every epoch, a line a trial; dotted lines are rungs."""
    traces: list[Chart] = []
    best = [row.number for row in reading.trials if row.state == "complete"][:HIGHLIGHTED]
    for row in reversed(reading.trials):
        if not row.history:
            continue
        marked, state = row.number in best, reading.status.state_of(row)
        colour = COLOURS[best.index(row.number) % len(COLOURS)] if marked else PLAIN
        traces.append({
            "type": "scatter", "mode": "lines+markers", "name": f"trial {row.number}", "showlegend": marked,
            "x": list(row.history), "y": list(row.history.values()), "opacity": 1.0 if marked else 0.45,
            "line": {"color": colour, "width": 2.5 if marked else 1}, "marker": {"size": 5 if marked else 4},
            "hovertemplate": f"trial {row.number}, {state}<br>epoch %{{x}}: %{{y:.4f}}<extra></extra>",
        })  # fmt: skip
    rungs = [
        {"type": "line", "x0": rung, "x1": rung, "yref": "paper", "y0": 0, "y1": 1,
         "line": {"dash": "dot", "width": 1, "color": PLAIN}}
        for rung in reading.rungs
    ]  # fmt: skip
    axis = {"title": {"text": "epoch"}, "dtick": 1 if max(_epochs(reading), default=1) <= 20 else None}
    title = {"text": reading.status.identity.objective}
    return chart(traces, 420, xaxis=axis, yaxis={"title": title}, shapes=rungs)


def effects(stage: Stage, direction: str) -> Chart:
    """Every option's effect with its interval, best first within its component."""
    told = [each for each in reversed(ordered(stage, direction)) if each.effect is not None]
    if not told:
        return {}
    names = [f"{each.component.rpartition('.')[2]} · {show(each.option)}" for each in told]
    colours = [VERDICTS.get(each.verdict, PLAIN) for each in told]
    points: Chart = {
        "type": "scatter", "mode": "markers", "x": [each.effect for each in told], "y": list(range(len(told))),
        "marker": {"color": colours, "size": 9}, "showlegend": False,
        "text": [
            f"{name}: {each.trials} trials, {each.verdict}<br>{each.effect:+z.4f}"
            for name, each in zip(names, told, strict=True)
        ],
        "hovertemplate": "%{text}<extra></extra>",
    }  # fmt: skip
    whiskers: list[Chart] = [
        {"type": "line", "x0": each.low, "x1": each.high, "y0": place, "y1": place,
         "line": {"color": colour, "width": 2.5}}
        for place, (each, colour) in enumerate(zip(told, colours, strict=True))
    ]  # fmt: skip
    whiskers += [
        {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": place - 0.5, "y1": place - 0.5,
         "line": {"color": PLAIN, "width": 0.5}}
        for place in range(1, len(told)) if told[place].component != told[place - 1].component
    ]  # fmt: skip
    reach = [bound for each in told for bound in (each.low, each.high) if bound is not None]
    axis = {"tickvals": list(range(len(told))), "ticktext": names, "automargin": True, "zeroline": False}
    margin = 0.05 * (max(reach) - min(reach))
    across: Chart = {"title": {"text": "effect on the objective"}, "range": [min(reach) - margin, max(reach) + margin]}
    across |= {"zeroline": True, "nticks": 6}
    return chart([points], 110 + 24 * len(told), xaxis=across, yaxis=axis, shapes=whiskers)


def importance(found: Sequence[Importance]) -> Chart:
    """Bars by setting, one colour a method, and in grey what a method finds in shuffled values."""
    names = list(dict.fromkeys(name for each in found for name in each.shares))[::-1]
    bars: list[Chart] = [
        {"type": "bar", "orientation": "h", "name": name, "y": names, "x": [shares.get(each) for each in names],
         "marker": {"color": colour}, "showlegend": True, "hovertemplate": "%{y}: %{x:.0%}<extra></extra>"}
        for each in found
        for name, shares, colour in (
            (f"{each.method} of shuffled values, 95 %", each.chance, PLAIN),
            (each.method, each.shares, COLOURS[METHODS.index(each.method)]),
        )
        if shares
    ]  # fmt: skip
    longest = max((x for bar in bars for x in bar["x"] if x is not None), default=1.0)
    axis = {"tickformat": ".0%", "range": [0, 1.05 * longest], "nticks": 6}
    height = 110 + (14 + 12 * len(bars)) * len(names)
    return chart(bars, height, xaxis=axis, yaxis={"automargin": True}, barmode="group")


def parallel(reading: Reading) -> Chart:
    """Parallel coordinates of what all trials were asked, coloured by the value at the first common epoch."""
    rows = [row for row in reading.told if row.state in ("complete", "pruned")]
    if len(rows) < 2:
        return {}
    epoch = min(row.epoch for row in rows)
    values = [row.history[epoch] for row in rows]
    shared = sorted(set.intersection(*(set(row.settings) for row in rows)), key=list(rows[0].settings).index)
    varied = [name for name in shared if len({row.settings[name] for row in rows}) > 1]
    axes: list[Chart] = [_axis(name, [row.settings[name] for row in rows]) for name in varied]
    axes.append({"label": f"epoch {epoch}", "values": values})
    line = {"color": values, "colorscale": "Viridis", "showscale": False}
    wide = {"l": 80, "r": 40, "t": 64, "b": 24}
    made = chart([{"type": "parcoords", "dimensions": axes, "line": line, "labelangle": -20}], 440, margin=wide)
    return {**made, "least": 130 * len(axes)}


def _axis(name: str, values: list[Any]) -> Chart:
    label = ".".join(name.split(".")[-1:])
    if all(isinstance(each, int | float) and not isinstance(each, bool) for each in values):
        return {"label": label, "values": values}
    options = sorted({show(each) for each in values})
    places = list(range(len(options)))
    return {"label": label, "values": [options.index(show(each)) for each in values], "tickvals": places,
            "ticktext": options, "range": [-0.2, len(options) - 0.8]}  # fmt: skip


def _epochs(reading: Reading) -> list[int]:
    return [row.epoch for row in reading.status.rows]
