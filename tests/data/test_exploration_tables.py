"""Ages, lesions, duplicates and colours of small sets whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_sources import encoded, isic2017, manifest, pack, picture, two_classes
from PIL import ImageOps

from lesion.data.packed import PackedDataset
from lesion.exploration.duplicates import find_duplicates
from lesion.exploration.groups import count_groups
from lesion.exploration.measures import colour_summary, measure
from lesion.exploration.people import count_people


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PackedDataset:
    source = isic2017(tmp_path_factory.mktemp("source") / "isic2017")
    return pack(source, tmp_path_factory.mktemp("workspace"))


def with_column(data: PackedDataset, **columns: object) -> PackedDataset:
    return replace(data, table=data.table.assign(**columns))


def test_ages_and_sexes_of_each_class_and_part(data: PackedDataset) -> None:
    found = count_people(data)
    assert found["sex"]["values"] == ["female", "male", "unknown"]
    assert found["sex"]["classes"] == {"melanoma": [0, 12, 0], "seborrheic_keratosis": [12, 0, 0], "nevus": [0, 0, 12]}
    assert found["sex"]["known"] == 24
    assert found["age"]["values"] == ["40-49", "unknown"]
    assert found["age"]["parts"] == {"train": [18, 6], "validation": [9, 3]}
    assert found["age"]["medians"] == {"melanoma": 40.0, "seborrheic_keratosis": 40.0, "nevus": 40.0}


def test_what_is_not_known_is_a_value_of_its_own(data: PackedDataset) -> None:
    found = count_people(data)["site"]
    assert (found["known"], found["values"]) == (0, ["unknown"])
    assert found["classes"]["nevus"] == [12]
    nobody = count_people(with_column(data, age=np.nan))["age"]
    assert (nobody["known"], nobody["values"]) == (0, ["unknown"])
    assert nobody["medians"]["nevus"] is None
    sites = ["elbow", "", "back", None] * 9
    found = count_people(with_column(data, site=sites))["site"]
    assert found["values"] == ["back", "elbow", "unknown"]
    assert np.sum(list(found["classes"].values()), axis=0).tolist() == [9, 9, 18]


def test_lesions_by_their_number_of_images(tmp_path: Path) -> None:
    data = pack(two_classes(tmp_path / "own"), tmp_path / "workspace", test=0.0)
    found = count_groups(data)["lesion"]
    assert (found["images"], found["groups"], found["by_images"]) == (24, 12, {"2": 12})
    assert found["classes"] == {"melanoma": {"2": 6}, "mole": {"2": 6}}
    assert sum(found["parts"][side]["2"] for side in ("train", "validation")) == 12
    assert (found["on_both_sides"], found["of_several_classes"]) == (0, 0)
    assert count_groups(data)["patient"]["groups"] == 0

    torn = ["one", "one", "one", *[f"L{i}" for i in range(20)], ""]  # a0, a1 are moles, a10 sorts third
    validation = np.zeros(24, dtype=bool)
    validation[0] = True
    found = count_groups(with_column(data, lesion=torn, holdout=validation))["lesion"]
    assert (found["images"], found["groups"], found["by_images"]) == (23, 21, {"1": 20, "3": 1})
    assert found["parts"] == {"train": {"1": 20, "2": 1}, "validation": {"1": 1}}
    assert found["on_both_sides"] == 1
    labels = data.labels.copy()
    labels[:2] = [0, 1]
    assert count_groups(with_column(data, lesion=torn, label=labels))["lesion"]["of_several_classes"] == 1


def doubled(folder: Path) -> Path:
    """24 photos to train on, 10 to validate, 6 to test; some stand twice."""
    parts = ["train"] * 24 + ["validation"] * 10 + ["test"] * 6
    rows = [f"a{i},{'ab'[i % 2]},{part}" for i, part in enumerate(parts)]
    source = manifest(folder, rows, "image,label,part")
    same = {2: 0, 3: 0, 24: 0, 36: 1}  # 2 and 0 in one class and part; 3 is of another class; 24, 36 in other parts
    for copy, original in same.items():
        (source / f"a{copy}.jpg").write_bytes((source / f"a{original}.jpg").read_bytes())
    for seed, (place, view) in {5: (25, ImageOps.mirror), 7: (9, ImageOps.flip), 11: (37, ImageOps.mirror)}.items():
        photo = picture(seed, 200, 150)
        (source / f"a{seed}.jpg").write_bytes(encoded(photo))
        (source / f"a{place}.jpg").write_bytes(encoded(view(photo), quality=90))
    return source


def test_photos_that_stand_twice(tmp_path: Path) -> None:
    data = pack(doubled(tmp_path / "own"), tmp_path / "workspace", size=32)
    found = find_duplicates(data)
    same = [(*pair["images"], pair["across"]) for pair in found["identical"]]
    assert same == [("a0", "a24", True), ("a0", "a3", False), ("a0", "a2", False)]
    assert found["identical"][0]["parts"] == ["train", "validation"]
    assert found["identical"][1]["classes"] == ["a", "b"]
    alike = {tuple(sorted(pair["images"])): pair for pair in found["alike"]}
    assert set(alike) == {("a25", "a5"), ("a7", "a9")}
    assert found["alike"][0]["across"]
    assert alike["a25", "a5"]["parts"] == ["train", "validation"]
    assert all(0.995 <= pair["cosine"] < 1 and pair["one_lesion"] is None for pair in found["alike"])
    assert found["across"] == {"identical": 1, "alike": 1}
    for pair in found["identical"] + found["alike"]:
        assert [data.table["image"].iloc[row] for row in pair["rows"]] == pair["images"]


def test_of_pairs_with_the_test_part_only_names_are_told(tmp_path: Path) -> None:
    data = pack(doubled(tmp_path / "own"), tmp_path / "workspace", size=32)
    (tmp_path / "workspace" / "test").rename(tmp_path / "away")
    told = find_duplicates(data)["with_test"]
    assert [(each["kind"], each["images"]) for each in told][:1] == [("identical", ["a1"])]
    assert ("alike", ["a11"]) in [(each["kind"], each["images"]) for each in told]
    assert "a36" in told[0]["message"]


def test_pairs_of_one_lesion_are_known_as_such(tmp_path: Path) -> None:
    rows = [f"a{i},{'ab'[i // 2 % 2]},L{i // 2}" for i in range(24)]
    source = manifest(tmp_path / "own", rows, "image,label,lesion")
    for one, other in ((0, 1), (12, 8)):
        photo = picture(one, 200, 150)
        (source / f"a{one}.jpg").write_bytes(encoded(photo))
        (source / f"a{other}.jpg").write_bytes(encoded(photo, quality=90))
    data = pack(source, tmp_path / "workspace", test=0.0, size=32)
    found = {tuple(sorted(pair["images"])): pair["one_lesion"] for pair in find_duplicates(data)["alike"]}
    assert found == {("a0", "a1"): True, ("a12", "a8"): False}


def test_too_many_images_to_compare_is_said(data: PackedDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_duplicates(data)["compared"]
    monkeypatch.setattr("lesion.exploration.duplicates.MOST", 35)
    assert not find_duplicates(data)["compared"]


def test_colours_are_those_of_all_pixels(data: PackedDataset) -> None:
    found = colour_summary(measure(data), data)
    pixels = np.asarray(data.images, dtype=np.float64)
    chosen = {
        "all": slice(None),
        "nevus": data.labels == 2,
        "validation": (data.table["part"] == "validation").to_numpy(),
    }
    told = {"all": found["all"], "nevus": found["classes"]["nevus"], "validation": found["parts"]["validation"]}
    for name, rows in chosen.items():
        own = pixels[rows].reshape(-1, 3)
        np.testing.assert_allclose(told[name]["mean"], own.mean(axis=0), rtol=1e-9)
        np.testing.assert_allclose(told[name]["deviation"], own.std(axis=0), rtol=1e-9)
    assert colour_summary(measure(data), with_column(data, label=0))["classes"]["nevus"]["mean"] is None


def test_parts_are_the_sides_of_the_split_where_the_source_has_none(tmp_path: Path) -> None:
    data = pack(two_classes(tmp_path / "own"), tmp_path / "workspace", test=0.0)
    split = data.split()
    sums = {part: sum(counted) for part, counted in count_people(data)["sex"]["parts"].items()}
    assert sums == {"train": len(split.train), "validation": len(split.validation)}
