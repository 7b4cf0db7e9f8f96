"""The page of an exploration: one HTML file with its charts and thumbnails in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lesion.data.packed import EXTERNAL, PackedDataset
from lesion.exploration.charts import FOLD
from lesion.exploration.measures import by_side
from lesion.exploration.pictures import by_sharpness, pair_label
from lesion.pages import inline_svg, style, template, thumbnail

PAIRS = 24
"""Pairs of each kind that are shown."""

IMAGENET = "0.485, 0.456, 0.406 and 0.229, 0.224, 0.225"
"""What models with ImageNet weights expect as mean and deviation of R, G, B, from 0 to 1."""

NOT_RECORDED = "not recorded"

Rows = list[tuple[str, ...]]


@dataclass(frozen=True, eq=False)
class Look:
    """What the page shows: the report, its charts by name, rows of samples by class, sharpness (N,) by where."""

    data: PackedDataset
    report: Mapping[str, Any]
    charts: Mapping[str, Figure]
    samples: Mapping[str, Sequence[int]]
    sharpness: Mapping[str, NDArray[np.float64]]


def render(look: Look) -> str:
    """The whole page as text; the titles of the charts become captions."""
    report = look.report
    return template(Path(__file__).with_name("page.html")).render(
        report=report,
        notes=list(_notes(report)),
        tiles=_tiles(report),
        charts={name: _chart(look.data.name, name, figure) for name, figure in look.charts.items()},
        counts=_counts(report),
        samples=[(name, [_card(look.data, row) for row in rows]) for name, rows in look.samples.items()],
        people=[(what, found["known"], *_people(found)) for what, found in report["people"].items()],
        groups=_groups(report),
        pairs=[_kind(look, "identical", "The same bytes"), _kind(look, "alike", "Look alike")],
        blurred=_blurred(report),
        least_sharp=[
            (report["blur"][where]["measured_at"], [
                (label, [_card(look.data, row, f"{sharpness[row]:.1f}") for row in rows])
                for label, rows in by_sharpness(sharpness).items()
            ])
            for where, sharpness in look.sharpness.items()
        ],
        colours=_colours(report["colours"]),
        unit=_unit(report["colours"]["all"]),
        imagenet=IMAGENET,
        style=style(),
    )  # fmt: skip


def _notes(report: Mapping[str, Any]) -> Iterator[str]:
    """What a reader should know before anything is trained on the data."""
    across, with_test = report["duplicates"]["across"], report["duplicates"]["with_test"]
    if across["identical"] or across["alike"]:
        yield (
            f"Across parts stand {_some(across['identical'], 'pair')} of the same bytes and "
            f"{_some(across['alike'], 'pair')} that look alike: scores on such images are too good."
        )
    if with_test:
        ours = {image for found in with_test for image in found["images"]}
        yield f"Photos that stand in the test part, too, or look alike there: {len(ours)}. Scores there are too good."
    pairs = [*report["duplicates"]["identical"], *report["duplicates"]["alike"]]
    conflicts = sum(len(set(pair["classes"])) > 1 for pair in pairs)
    if conflicts:
        yield f"{_some(conflicts, 'pair')} of photos that look alike under different classes: a label may be wrong."
    lesions = report["groups"]["lesion"]
    if lesions["on_both_sides"]:
        yield f"Images on both sides of the split: {_some(lesions['on_both_sides'], 'lesion')}."
    if not any(counted for part, counted in lesions["parts"].items() if part != EXTERNAL):
        yield "The source names no lesions: only photos that look alike are known to be of one."
    counts = [count for count in report["counts"]["train"].values() if count]
    if counts and max(counts) >= FOLD * min(counts):
        yield f"The largest class has {max(counts) / min(counts):.0f} times the training images of the smallest."


def _tiles(report: Mapping[str, Any]) -> Rows:
    counts, test = report["counts"], report["test_images"]
    sides = ", ".join(f"{sum(counted.values()):,} {side}" for side, counted in by_side(counts).items())
    lesions = report["groups"]["lesion"]["groups"]
    blurred = report["blur"].get("originals", report["blur"]["packed"])
    return [
        ("images", sides),
        ("test part", f"{test:,} images, not opened" if test else "none"),
        ("classes", str(len(report["classes"]))),
        ("lesions", f"{lesions:,}" if lesions else "not named"),
        (f"blurred (sharpness below {blurred['below']:g})", f"{blurred['images']:,} of {blurred['of']:,}"),
    ]


def _chart(data: str, name: str, figure: Figure) -> tuple[str, str]:
    """Caption and vector of a chart."""
    title = figure.get_suptitle().removeprefix(f"{data}: ")
    figure.suptitle("").set_in_layout(False)
    return title, inline_svg(figure, name)


def _counts(report: Mapping[str, Any]) -> tuple[Sequence[str], Rows]:
    """Images of each class by part and by side of the default split, those shown once where they are the same.

    The test part's are those that the manifest has; in data packed by an older version they are not recorded.
    """
    counts = report["counts"]
    sides = by_side(counts)
    own = {} if counts["parts"] == sides or len(counts["parts"]) == 1 else counts["parts"]
    columns: dict[str, Mapping[str, int]] = {f"part {part}": counted for part, counted in own.items()} | sides
    rows = [(name, *(_share(each[name], sum(each.values())) for each in columns.values()))
            for name in report["classes"]]  # fmt: skip
    rows.append(("all", *(f"{sum(each.values()):,}" for each in columns.values())))
    test, images = report["test_classes"], report["test_images"]
    if not images:
        return ("class", *columns), rows
    told = [NOT_RECORDED if test is None else _share(test[name], images) for name in report["classes"]]
    rows = [(*row, cell) for row, cell in zip(rows, [*told, f"{images:,}"], strict=True)]
    return ("class", *columns, "test part"), rows


def _people(found: Mapping[str, Any]) -> tuple[Sequence[str], Rows]:
    """Images of each class and part, by value."""
    lines = {**found["classes"], **{f"{part}, all classes": counted for part, counted in found["parts"].items()}}
    medians = found.get("medians")
    columns = ("", *found["values"], *(["median age"] if medians else []))
    rows: Rows = []
    for name, counted in lines.items():
        median = () if not medians else (f"{medians[name]:g}" if medians.get(name) is not None else "–",)
        rows.append((name, *(f"{count:,}" for count in counted), *median))
    return columns, rows


def _groups(report: Mapping[str, Any]) -> tuple[Sequence[str], Rows]:
    columns = ("", "images", "how many", "most images of one", "of several classes", "on both sides")
    names = {"lesion": "lesions", "patient": "patients", "together": "kept together"}
    rows: Rows = []
    for what, found in report["groups"].items():
        if not found["groups"]:
            rows.append((names[what], "not named", *["–"] * 4))
            continue
        numbers = (found["images"], found["groups"], max(map(int, found["by_images"])), found["of_several_classes"])
        rows.append((names[what], *(f"{number:,}" for number in numbers), f"{found['on_both_sides']:,}"))
    return columns, rows


def _kind(look: Look, kind: str, title: str) -> dict[str, Any]:
    """The pairs of one kind: how many, and cards of the first."""
    found = look.report["duplicates"][kind]
    shown = [
        {"cards": [_card(look.data, row) for row in pair["rows"]], "lines": pair_label(pair).splitlines(),
         "across": pair["across"]}
        for pair in found[:PAIRS]
    ]  # fmt: skip
    across = look.report["duplicates"]["across"][kind]
    return {
        "title": f"{title}: {_some(len(found), 'pair')}, {across:,} across parts",
        "shown": shown,
        "all": len(found),
    }


def _blurred(report: Mapping[str, Any]) -> tuple[Sequence[str], Rows]:
    found = report["blur"]
    columns = ("images below", *(each["measured_at"] for each in found.values()))
    rows: Rows = [("all", *(_share(each["images"], each["of"]) for each in found.values()))]
    for kind in ("parts", "classes"):
        for name in found["packed"][kind]:
            rows.append(
                (name, *(_share(each[kind][name]["images"], each[kind][name]["of"]) for each in found.values()))
            )
    return columns, rows


def _colours(found: Mapping[str, Any]) -> list[tuple[str, str, list[str]]]:
    """Name, mean colour as CSS, and mean ± deviation of R, G, B."""
    named = {
        "all": found["all"],
        **found["classes"],
        **{f"{part}, all classes": c for part, c in found["parts"].items()},
    }
    return [
        (
            name,
            "rgb({:.0f}, {:.0f}, {:.0f})".format(*each["mean"]),
            [f"{mean:.1f} ± {spread:.1f}" for mean, spread in zip(each["mean"], each["deviation"], strict=True)],
        )
        for name, each in named.items()
        if each["mean"]
    ]


def _unit(found: Mapping[str, Sequence[float]]) -> str:
    """Mean and deviation from 0 to 1, as a normalisation takes them."""
    return " and ".join(", ".join(f"{each / 255:.3f}" for each in found[what]) for what in ("mean", "deviation"))


def _card(data: PackedDataset, row: int, told: str = "") -> dict[str, str]:
    record = data.table.iloc[row]
    label = data.classes[record["label"]]
    return {"source": thumbnail(data.images[row], 144), "image": str(record["image"]), "label": label, "told": told}


def _share(count: int, of: int) -> str:
    return f"{count:,} ({count / of:.1%})" if of else "0"


def _some(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
