"""External photos are learnt from in every split and judge in none, and leave the data set's own splits as they are."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from drawn_sources import encoded, isic2017, manifest, others, pack, picture, two_classes
from PIL import Image

from lesion.data import lookalikes, packing
from lesion.data.check import check
from lesion.data.external import ExternalSource, learnt_from, limited
from lesion.data.packed import EXTERNAL, PackedDataset, open_test, prepared
from lesion.errors import DataError
from lesion.exploration.originals import read_originals

AS = {"MEL": "melanoma", "NV": "nevus"}


@pytest.fixture
def both(tmp_path: Path) -> tuple[PackedDataset, PackedDataset]:
    """ISIC 2017 by itself, and with eight external photos."""
    source = isic2017(tmp_path / "isic2017")
    external = ExternalSource(others(tmp_path / "other"), AS)
    return pack(source, tmp_path / "w"), pack(source, tmp_path / "w", external=external)


def rows_of(data: PackedDataset, part: str) -> np.ndarray:
    return np.flatnonzero((data.table["part"] == part).to_numpy())


def names(data: PackedDataset, rows: np.ndarray) -> list[str]:
    return [str(image) for image in data.table["image"].iloc[rows]]


def test_every_split_trains_on_them_and_none_validates_on_them(both: tuple[PackedDataset, PackedDataset]) -> None:
    plain, data = both
    ours = rows_of(data, EXTERNAL)
    assert names(data, ours) == ["b0.jpg", "b1.jpg", "b2.jpg", "b3.jpg", "b6.jpg", "b7.jpg", "b8.jpg", "b9.jpg"]
    assert [data.classes[label] for label in data.labels[ours]] == ["melanoma", "melanoma", "nevus", "nevus"] * 2
    assert data.splits == plain.splits == ("official", "holdout", "fold-0", "fold-1")
    assert data.default_split == plain.default_split
    for name in data.splits:
        with_them, without = data.split(name), plain.split(name)
        assert set(ours) <= set(with_them.train)
        assert names(data, with_them.validation) == names(plain, without.validation)
        assert set(names(data, with_them.train)) - set(names(data, ours)) == set(names(plain, without.train))
        assert with_them.hash != without.hash
    assert data.content_hash != plain.content_hash
    data.verify()


def test_the_data_set_has_another_name_and_the_test_part_none_of_them(
    both: tuple[PackedDataset, PackedDataset], tmp_path: Path
) -> None:
    plain, data = both
    assert (plain.name, data.name) == ("isic2017", "isic2017_external")
    assert prepared(tmp_path / "w") == ["isic2017", "isic2017_external"]
    tests = [open_test(tmp_path / "w", each.name) for each in both]
    assert tests[0].content_hash == tests[1].content_hash


def test_a_test_share_is_carved_off_without_them(tmp_path: Path) -> None:
    source = two_classes(tmp_path / "own", 32)
    external = ExternalSource(others(tmp_path / "other"), {"MEL": "melanoma", "NV": "mole"})
    pack(source, tmp_path / "w", test=0.25)
    pack(source, tmp_path / "w", test=0.25, external=external)
    alone, beside = (open_test(tmp_path / "w", name) for name in ("own", "own_external"))
    assert len(alone) == len(beside) == 8
    assert alone.content_hash == beside.content_hash


def test_the_manifest_says_where_they_are_from_and_what_was_left_out(tmp_path: Path) -> None:
    parts = ["train"] * 8 + ["validation"] * 2 + ["test"] * 2
    external = ExternalSource(others(tmp_path / "ham", parts=parts), AS)
    data = pack(isic2017(tmp_path / "source"), tmp_path / "w", external=external)
    (told,) = data.manifest[EXTERNAL]
    assert told == {
        "source": "ham",
        "photos": 6,
        "classes": AS,
        "left_out": {"of class DF": 2, "of its validation part": 2, "of its test part": 2},
    }
    assert EXTERNAL not in pack(isic2017(tmp_path / "source"), tmp_path / "w").manifest


def test_at_most_so_many_lesions_of_a_class_one_photo_of_each(tmp_path: Path) -> None:
    folder, source = others(tmp_path / "other", 48), isic2017(tmp_path / "source")
    drawn = {}
    for seed in (0, 0, 1):
        external = ExternalSource(folder, AS, most=3)
        data = pack(source, tmp_path / "w", name=f"of-{seed}", seed=seed, external=external)
        chosen = data.table.iloc[rows_of(data, EXTERNAL)]
        assert chosen["label"].value_counts().to_dict() == {0: 3, 2: 3}
        assert chosen["lesion"].is_unique
        assert drawn.setdefault(seed, list(chosen["image"])) == list(chosen["image"])
    assert drawn[0] != drawn[1]
    assert data.manifest[EXTERNAL][0]["left_out"] == {"of class DF": 16, "beyond one each of 3 lesions of a class": 26}
    every = pack(source, tmp_path / "w", external=ExternalSource(folder, AS, most=100))
    assert len(rows_of(every, EXTERNAL)) == 16


# -- leaks ------------------------------------------------------------------------------------------------------------


def test_photos_of_lesions_that_are_searched_or_tested_are_left_out(tmp_path: Path) -> None:
    source, folder = two_classes(tmp_path / "own"), others(tmp_path / "other")
    table = folder / "labels.csv"
    table.write_text(table.read_text().replace("NV,B1", "NV,L3"))  # b2 and b3: a lesion of a6 and a7
    shutil.copy(source / "a0.jpg", folder / "b0.jpg")  # the same bytes
    (source / "a4.jpg").write_bytes(encoded(picture(4), "PNG"))
    (folder / "b6.jpg").write_bytes(encoded(picture(4).rotate(180), "PNG"))  # the looks of a4
    external = ExternalSource(folder, {"MEL": "melanoma", "NV": "mole"})
    plain = pack(source, tmp_path / "w", test=0)
    data = pack(source, tmp_path / "w", test=0, external=external)
    # b1 and b7 are of the lesions of b0 and b6, and go with them.
    assert names(data, rows_of(data, EXTERNAL)) == ["b8.jpg", "b9.jpg"]
    (finding,) = (each for each in data.manifest["findings"] if each["kind"] == EXTERNAL)
    assert finding["message"] == (
        "6 external photos left out, of a lesion, patient or look that photos to be searched or tested with have too: "
        "b0.jpg, b1.jpg, b2.jpg, b3.jpg, b6.jpg, …"
    )
    assert finding["images"] == ["b0.jpg", "b1.jpg", "b2.jpg", "b3.jpg", "b6.jpg", "b7.jpg"]
    assert [each["kind"] for each in data.manifest["findings"]] == [EXTERNAL]
    for name in data.splits:
        assert names(data, data.split(name).validation) == names(plain, plain.split(name).validation)
    again = pack(source, tmp_path / "w", test=0, external=external, look_alikes=False, name="unlooked")
    assert names(again, rows_of(again, EXTERNAL)) == ["b6.jpg", "b7.jpg", "b8.jpg", "b9.jpg"]


def test_two_photos_are_no_group_by_way_of_an_external_one(tmp_path: Path) -> None:
    source, folder = two_classes(tmp_path / "own"), others(tmp_path / "other")
    table = folder / "labels.csv"
    table.write_text(table.read_text().replace("MEL,B0", "MEL,L0"))
    shutil.copy(source / "a10.jpg", folder / "b1.jpg")  # b0 shows lesion L0, b1 too, with the bytes of L5
    data = pack(
        source, tmp_path / "w", test=0, external=ExternalSource(folder, {"MEL": "melanoma", "NV": "mole"})
    )  # fmt: skip
    group = dict(zip(data.table["image"], data.table["group"], strict=True))
    assert group["a0.jpg"] == group["a1.jpg"] != group["a10.jpg"]


def test_too_many_to_compare_leave_the_others_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, folder = two_classes(tmp_path / "own"), others(tmp_path / "other")
    for name, turn in (("a4.jpg", 0), ("a20.jpg", 180)):
        (source / name).write_bytes(encoded(picture(4).rotate(turn), "PNG"))
    monkeypatch.setattr(packing, "MOST", 30)
    monkeypatch.setattr(lookalikes, "MOST", 30)
    data = pack(
        source, tmp_path / "w", test=0, external=ExternalSource(folder, {"MEL": "melanoma", "NV": "mole"})
    )  # fmt: skip
    group = dict(zip(data.table["image"], data.table["group"], strict=True))
    assert group["a4.jpg"] == group["a20.jpg"]
    messages = [each["message"] for each in data.manifest["findings"] if each["kind"] == EXTERNAL]
    assert messages == ["external photos were not compared by looks: more than 30 images in all"]


# -- a manifest that says so itself -----------------------------------------------------------------------------------


def marked(folder: Path, part: str, lesion: str = "E") -> Path:
    """Twenty photos of the part `part` and four external ones."""
    rows = [f"a{i},{('x', 'y')[i % 2]},{part},L{i}" for i in range(20)]
    rows += [f"a{i},{('x', 'y')[i % 2]},external,{lesion}{i}" for i in range(20, 24)]
    return manifest(folder, rows, "image,label,part,lesion")


@pytest.mark.parametrize("part", ["", "train"])
def test_a_manifest_may_mark_them(tmp_path: Path, part: str) -> None:
    data = pack(marked(tmp_path / "own", part), tmp_path / "w", test=0.2)
    assert names(data, rows_of(data, EXTERNAL)) == ["a20", "a21", "a22", "a23"]
    assert data.manifest[EXTERNAL] == [{"source": "own", "photos": 4, "classes": {}, "left_out": {}}]
    assert not set(open_test(tmp_path / "w", "own").table["image"]) & {"a20", "a21", "a22", "a23"}
    assert all(set(rows_of(data, EXTERNAL)) <= set(data.split(name).train) for name in data.splits)


def test_a_check_counts_them_and_tells_those_that_will_be_left_out(tmp_path: Path) -> None:
    report = check(marked(tmp_path / "own", "train", lesion="L1"), workers=1)  # L120 … are lesions of nobody else
    assert report.counts == {"train": {"x": 10, "y": 10}, "external": {"x": 2, "y": 2}}
    assert (report.leaking, report.crossing, report.ok) == ((), {}, True)
    source = marked(tmp_path / "twice", "train")
    (source / "labels.csv").write_text((source / "labels.csv").read_text().replace("E21", "L3"))
    report = check(source, workers=1)
    assert (report.leaking, report.crossing, report.ok) == (("a21",), {}, True)
    data = pack(source, tmp_path / "w", test=0)
    assert len(rows_of(data, EXTERNAL)) == 3
    assert check(data.path).counts["external"] == {"x": 2, "y": 1}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (("external", "external", "external"), "no image is of part train"),
        (("external", "", "train"), "part is empty in 1 line: give it for every image or for none, those of part ext"),
        (("train", "external", "exernal"), "no part 'exernal'; known: external, test, train, validation"),
    ],
)
def test_mistakes_of_a_marked_manifest(tmp_path: Path, parts: Sequence[str], message: str) -> None:
    rows = [f"a{i},{('x', 'y')[i % 2]},{part}" for i, part in enumerate(parts)]
    with pytest.raises(DataError, match=message):
        pack(manifest(tmp_path / "own", rows, "image,label,part"), tmp_path / "w")


# -- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({}, r"which of its classes is which\? .*ours: melanoma, seborrheic_keratosis, nevus; theirs: DF, MEL, NV"),
        ({"MEL": "melanom"}, "source isic2017: no class 'melanom'; known: .* did you mean 'melanoma'"),
        ({"MELL": "melanoma"}, r"external source other: no class 'MELL'; known: DF, MEL, NV \(did you mean 'MEL'"),
        ({"A": "b"}, r"source isic2017: no class 'b'(.|\n)*external source other: no class 'A'"),
    ],
)
def test_classes_that_a_side_does_not_have_are_told(tmp_path: Path, classes: dict[str, str], message: str) -> None:
    external = ExternalSource(others(tmp_path / "other"), classes)
    with pytest.raises(DataError, match=message.replace(" did", ".*did")):
        pack(isic2017(tmp_path / "source"), tmp_path / "w", external=external)


def test_an_id_that_both_sources_have_is_told(tmp_path: Path) -> None:
    source = two_classes(tmp_path / "own")
    same = two_classes(tmp_path / "same")
    with pytest.raises(
        DataError, match=r"external source same: 24 ids stand in source own too \(a0.jpg, a1.jpg, .*…\)"
    ):
        pack(source, tmp_path / "w", external=ExternalSource(same, {"mole": "mole", "melanoma": "melanoma"}))


def test_a_faulty_external_source_is_refused_as_any_other(tmp_path: Path) -> None:
    folder = others(tmp_path / "other")
    (folder / "b1.jpg").unlink()
    with pytest.raises(DataError, match=r"source other: 1 mistake\nlabels.csv:3: b1.jpg has no image in other"):
        pack(isic2017(tmp_path / "source"), tmp_path / "w", external=ExternalSource(folder, AS))


def test_external_photos_are_no_lesions_to_split(tmp_path: Path) -> None:
    rows = [f"a{i},{('x', 'y')[i == 0]}," for i in range(12)] + [f"a{i},y,external" for i in range(12, 24)]
    with pytest.raises(DataError, match="needs at least 2 lesions of every class; y has 1"):
        pack(manifest(tmp_path / "own", rows, "image,label,part"), tmp_path / "w", test=0)


# -- as the rest of prepare -------------------------------------------------------------------------------------------


def test_an_interrupted_run_is_continued_and_what_stands_is_kept(tmp_path: Path) -> None:
    source, external = isic2017(tmp_path / "source"), ExternalSource(others(tmp_path / "other"), AS)
    whole, seen = pack(source, tmp_path / "whole", external=external), []

    def interrupt(done: int, total: int, what: str) -> None:
        if what == "decoding" and done >= 48:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(source, tmp_path / "w", external=external, progress=interrupt)
    assert prepared(tmp_path / "w") == []
    data = pack(source, tmp_path / "w", external=external, progress=lambda *told: seen.append(told))
    assert min(done for done, _, what in seen if what == "decoding") == 48
    assert data.content_hash == whole.content_hash
    pack(source, tmp_path / "w", external=external, progress=lambda *told: seen.append(told))
    assert seen[-1][2] == "already prepared"
    with pytest.raises(DataError, match="is another data set"):
        pack(source, tmp_path / "w", external=external, name="isic2017_external", seed=3)


# -- the setting ------------------------------------------------------------------------------------------------------


def test_a_smaller_share_is_part_of_a_larger_one_and_keeps_lesions_whole(tmp_path: Path) -> None:
    source, folder = isic2017(tmp_path / "source"), others(tmp_path / "other", 120)
    data = pack(source, tmp_path / "w", external=ExternalSource(folder, AS))
    split, ours = data.split(), set(rows_of(data, EXTERNAL).tolist())
    assert limited(data, split, 1.0) is split
    before: set[int] = set()
    for share in (0.0, 0.2, 0.5, 0.7, 0.99):
        made = limited(data, split, share)
        chosen = set(made.train.tolist()) & ours
        assert set(made.train.tolist()) - chosen == set(split.train.tolist()) - ours
        assert made.validation is split.validation
        assert abs(len(chosen) / len(ours) - share) < 0.2
        assert before <= chosen
        whole = data.table.iloc[sorted(chosen)]["lesion"].value_counts()
        assert whole.empty or (whole == 2).all()
        assert set(np.flatnonzero(learnt_from(data, share))) >= set(made.train.tolist())
        before = chosen
    assert 20 < len(before) <= len(ours) == 80
    assert limited(data, split, 0.5).hash == limited(data, split, 0.5).hash != limited(data, split, 0.7).hash


def test_without_them_a_share_changes_nothing_and_with_none_the_split_is_that_of_the_data_without(
    both: tuple[PackedDataset, PackedDataset],
) -> None:
    plain, data = both
    assert limited(plain, plain.split(), 0.0) is not None
    for name in data.splits:
        split = plain.split(name)
        assert limited(plain, split, 0.3) is split
        assert limited(data, data.split(name), 0.0).hash == split.hash


def test_photos_at_their_own_size_cannot_be_read_of_two_sources(
    both: tuple[PackedDataset, PackedDataset], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"8 photos of data set isic2017_external .*, so leave --source out"):
        read_originals(both[1], tmp_path / "isic2017")


# -- data sets of before ----------------------------------------------------------------------------------------------


def test_hashes_of_data_without_external_photos_are_what_they_were(tmp_path: Path) -> None:
    rows = [f"a{i}.png,{('mole', 'melanoma')[i // 2 % 2]},L{i // 2}" for i in range(24)]
    source = manifest(tmp_path / "own", rows, "image,label,lesion", images=0)
    for i in range(24):
        Image.fromarray(np.full((16, 16, 3), i * 10, np.uint8)).save(source / f"a{i}.png")
    data = pack(source, tmp_path / "w", test=0)
    # Recorded before there were external photos: a study must find its data and its splits again.
    assert data.content_hash == "89ac24774a909b4e9c46fa58a61fa047ffc207e17f4e356c626f9b75ca5ab5dc"
    assert {name: data.split(name).hash[:12] for name in data.splits} == {
        "holdout": "320c64639040",
        "fold-0": "ef493cf60637",
        "fold-1": "2f84cc90d670",
    }
    assert EXTERNAL not in data.manifest
