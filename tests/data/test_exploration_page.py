"""The page of an exploration: what stands on it, that it needs no network, and its charts."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from drawn_sources import manifest, pack

from lesion.data.packed import PackedDataset
from lesion.exploration import describe, explore
from lesion.exploration.charts import class_counts_figure, colours_figure, grouped_bars, groups_figure, values_figure
from lesion.exploration.measures import measure
from lesion.exploration.page import Look, render
from lesion.exploration.pictures import by_sharpness, pairs_figure, samples
from lesion.pages import inline_svg


class Seen(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attributes}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, attribute: str) -> list[str]:
        return [attributes[attribute] for _, attributes in self.tags if attribute in attributes]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PackedDataset:
    """A class is called <b>; one photo stands in both parts, one in the test part, too."""
    parts = ["train"] * 24 + ["validation"] * 10 + ["test"] * 6
    rows = [f"a{i},{('<b>', 'mole')[i % 2]},{part},{20 + i},female" for i, part in enumerate(parts)]
    source = manifest(tmp_path_factory.mktemp("source") / "own", rows, "image,label,part,age,sex")
    for copy, original in ((24, 0), (35, 1)):
        (source / f"a{copy}.jpg").write_bytes((source / f"a{original}.jpg").read_bytes())
    return pack(source, tmp_path_factory.mktemp("workspace"))


def look(data: PackedDataset) -> Look:
    measures = measure(data)
    report = describe(data, measures, None)
    drawn = {
        "class_counts": class_counts_figure(report["counts"], data.name),
        "age_by_class": values_figure(report["people"]["age"], "age", data.name),
    }
    return Look(data, report, drawn, samples(data, 3, 0), {"packed": measures.sharpness})


@pytest.fixture(scope="module")
def text(data: PackedDataset) -> str:
    return render(look(data))


def test_the_page_asks_nobody_for_anything(text: str) -> None:
    seen = Seen(text)
    for address in [*seen.values("src"), *seen.values("href"), *seen.values("xlink:href"), *seen.values("srcset")]:
        assert address.startswith(("data:image/jpeg;base64,", "#")), address
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in seen.tags}
    assert not re.search(r"url\((?!#)|@import", text)
    assert {"xmlns", "xmlns:xlink"} >= {name for name, value in re.findall(r'([\w:]+)="(http[^"]*)"', text)}


def test_every_link_has_its_place_and_no_id_stands_twice(text: str) -> None:
    seen = Seen(text)
    ids = seen.values("id")
    assert len(ids) == len(set(ids))
    wanted = {address[1:] for address in [*seen.values("href"), *seen.values("xlink:href")] if address[0] == "#"}
    wanted |= set(re.findall(r"url\(#([^)]*)\)", text))
    assert len(wanted) > 8
    assert wanted <= set(ids)


def test_it_fits_a_phone_and_a_dark_screen(text: str) -> None:
    seen = Seen(text)
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in seen.tags
    assert "@media (prefers-color-scheme: dark)" in text
    assert not re.search("#000000|#ededed", re.sub("<style>.*?</style>", "", text, flags=re.DOTALL))
    assert "currentColor" in text


def test_what_is_told(text: str, data: PackedDataset) -> None:
    seen = Seen(text)
    words = " ".join(seen.text.split())
    assert "Across parts stand 1 pair of the same bytes and 0 pairs that look alike: scores" in words
    assert "Photos that stand in the test part, too, or look alike there: 1." in words
    assert "a1 = a35: the same bytes under 2 ids, in parts test and train" in words
    assert "The source names no lesions" in words
    assert "6 images, not opened" in words
    assert "The same bytes: 1 pair, 1 across parts" in words
    assert "sex: known of 34 of 34 images" in words
    assert "Site: not known of any image." in words
    assert "Sizes of the photos are not kept in a packed set" in words
    assert words.count("<b>") > 3
    shown = [tag for tag, _ in seen.tags if tag == "img"]
    assert len(shown) == 2 * 3 + 2 + 2 * 16  # samples, the pair, the least sharp and the median ones
    assert len([tag for tag, _ in seen.tags if tag == "svg"]) == 2


def older(data: PackedDataset) -> PackedDataset:
    """`data` as a version packed them that did not count the classes of the test part."""
    test = {name: value for name, value in data.manifest["test"].items() if name != "classes"}
    return replace(data, manifest=data.manifest | {"test": test})


def test_classes_of_the_test_part_are_those_of_the_manifest(data: PackedDataset, text: str) -> None:
    rows = re.findall(r"<tr><td>(&lt;b&gt;|mole|all)</td>(.*?)</tr>", text)[:3]
    assert [(name, re.findall("<td>(.*?)</td>", cells)[-1]) for name, cells in rows] == [
        ("&lt;b&gt;", "3 (50.0%)"), ("mole", "3 (50.0%)"), ("all", "6"),
    ]  # fmt: skip
    found = {"split": "official", "train": {"a": 4}, "validation": {"a": 2}}
    legend = class_counts_figure(found, "drawn", {"a": 3}).legends[0]
    assert [each.get_text() for each in legend.get_texts()] == ["train (4)", "validation (2)", "test (3)"]


def test_data_that_an_older_version_packed_say_that_they_are_not_recorded(
    data: PackedDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    from search.commands.exploration import _show

    old = look(older(data))
    assert old.report["test_classes"] is None
    rows = re.findall(r"<tr><td>(?:&lt;b&gt;|mole|all)</td>(.*?)</tr>", render(old))[:3]
    assert [re.findall("<td>(.*?)</td>", cells)[-1] for cells in rows] == ["not recorded", "not recorded", "6"]
    _show({**old.report, "page": "exploration.html"}, Path("there"))
    assert "test part: 6 images; their classes were not recorded" in capsys.readouterr().out


def bars(*values: int) -> str:
    return grouped_bars(["x"] * len(values), {"all": values}, "images", "").axes[0].get_xscale()


def test_bars_that_differ_fifty_fold_stand_on_a_logarithmic_axis() -> None:
    assert (bars(1, 49), bars(1, 50), bars(0, 49), bars(0, 0), bars(100, 5000)) == (
        "linear", "log", "linear", "linear", "log",
    )  # fmt: skip


def test_every_count_is_written() -> None:
    found = {"split": "official", "train": {"a": 1234, "b": 7}, "validation": {"a": 300, "b": 0}}
    figure = class_counts_figure(found, "drawn")
    assert {text.get_text() for text in figure.axes[0].texts} == {"1,234", "300", "7", "0"}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["train (1,241)", "validation (300)"]
    lesions = groups_figure({"parts": {"train": {"1": 9, "3": 2}, "validation": {"2": 4}}}, "lesions", "drawn")
    assert [each.get_text() for each in lesions.axes[0].get_yticklabels()] == ["1 image", "2 images", "3 images"]
    assert sorted(int(each.get_text()) for each in lesions.axes[0].texts) == [0, 0, 0, 2, 4, 9]
    ages = {"values": ["40-49", "unknown"], "classes": {"a": [5, 2], "b": [0, 11]}}
    panels = values_figure(ages, "age", "drawn").axes
    assert [[each.get_text() for each in axes.texts] for axes in panels] == [["5", "2"], ["0", "11"]]
    assert [axes.get_title(loc="left") for axes in panels] == ["a (7)", "b (11)"]


def test_a_class_without_images_has_no_colours() -> None:
    grey = {"mean": [10.0, 20.0, 30.0], "deviation": [1.0, 2.0, 3.0]}
    none = {"mean": None, "deviation": None}
    figure = colours_figure({"all": grey, "classes": {"a": grey, "b": none}}, "drawn")
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "all"]


def test_least_sharp_and_median() -> None:
    shown = by_sharpness(np.arange(100.0)[::-1], across=2)
    assert shown == {"least sharp": [99, 98, 97, 96], "median": [51, 50, 49, 48]}
    assert by_sharpness(np.array([3.0, 1.0]), across=8) == {"least sharp": [1, 0], "median": [1, 0]}


def test_a_sheet_of_pairs(data: PackedDataset) -> None:
    pairs = look(data).report["duplicates"]["identical"]
    words = {text.get_text() for text in pairs_figure(data, pairs, "the same bytes").axes[0].texts}
    assert {"a0", "a24", "own: the same bytes", "1.0000\ntrain | validation\n<b>"} <= words
    many = pairs_figure(data, pairs * 17, "the same bytes").axes[0].texts
    assert "own: the same bytes, 16 of 17" in {text.get_text() for text in many}


def test_charts_keep_their_ids_apart() -> None:
    figure = grouped_bars(["a"], {"all": [3]}, "images", "")
    one, other = (set(re.findall(r'\bid="([^"]*)"', inline_svg(figure, name))) for name in ("one", "other"))
    assert one
    assert not one & other


def test_the_same_data_give_the_same_page(data: PackedDataset, text: str, tmp_path: Path) -> None:
    assert render(look(data)) == text


def test_external_photos_have_a_column_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from search.commands.exploration import _show

    rows = [f"a{i},{'xy'[i % 2]},{part},L{i // 2}" for i, part in enumerate([""] * 24 + ["external"] * 6)]
    data = pack(manifest(tmp_path / "own", rows, "image,label,part,lesion"), tmp_path / "w", test=0)
    report = explore(data, tmp_path / "out")
    split = data.split()
    counts = report["counts"]
    assert counts["external"] == counts["parts"]["external"] == {"x": 3, "y": 3}
    assert sum(counts["train"].values()) == len(split.train) - 6
    assert sum(counts["validation"].values()) == len(split.validation)
    for found in (report["groups"]["lesion"], report["colours"], report["people"]["sex"]):
        assert list(found["parts"]) == ["train", "validation", "external"]
    assert report["groups"]["lesion"]["on_both_sides"] == 0
    words = " ".join(re.sub("<[^>]+>", " ", (tmp_path / "out" / "exploration.html").read_text()).split())
    assert f"{len(split.train) - 6} train, {len(split.validation)} validation, 6 external" in words
    assert "The source names no lesions" not in words
    # What is known of external photos alone is not known of these.
    data.table.loc[data.table["part"] != "external", "lesion"] = ""
    assert "The source names no lesions" in render(look(data))
    _show(report, tmp_path)
    assert "class train validation external" in " ".join(capsys.readouterr().out.split())


def test_what_the_terminal_says(data: PackedDataset, capsys: pytest.CaptureFixture[str]) -> None:
    from search.commands.exploration import _show

    _show({**look(data).report, "page": "exploration.html"}, Path("there"))
    said = " ".join(capsys.readouterr().out.split())
    assert "pairs of the same bytes: 1, across parts 1" in said
    assert "pairs that look alike: 0, across parts 0" in said
    assert "lesions: not named" in said
    assert "known of 34 images: age 34, sex 34, site 0" in said
    assert re.search(r"blurred, below 70: train \d+ of 24, validation \d+ of 10 [(]16 × 16 pixels, stretch[)]", said)
    assert "in there: exploration.html" in said
    assert "class train validation test" in said
    assert "all 27 7 6" in said
