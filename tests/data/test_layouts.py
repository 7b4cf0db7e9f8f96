"""Sources are recognised by their names, and every mistake of a source is told at once."""

from __future__ import annotations

import math
import zipfile

import pytest
from drawn_sources import TRUTH_2017, isic2017, jpeg, manifest, write_zip

from lesion.data.archives import read
from lesion.data.layouts import read_listing
from lesion.errors import DataError

TRUTH = "ISIC-2017_Training_Part3_GroundTruth.csv"
OTHER_COLUMNS = "image_id,melanoma,nevus\nISIC_0000000,0.0,1.0\n"


def refused(source) -> str:
    listing = read_listing(source)
    listing.mistakes.lines += listing.missing
    with pytest.raises(DataError) as caught:
        listing.mistakes.refuse("source")
    return str(caught.value)


def test_official_zips_and_unpacked_folders_are_the_same(tmp_path):
    zipped = isic2017(tmp_path / "zips")
    unpacked = tmp_path / "folders"
    unpacked.mkdir()
    for path in zipped.iterdir():
        if path.suffix == ".zip":
            zipfile.ZipFile(path).extractall(unpacked)
        else:
            (unpacked / path.name).write_bytes(path.read_bytes())
    one, other = read_listing(zipped), read_listing(unpacked)
    assert one.table.equals(other.table)
    assert [read(m) for m in one.members] == [read(m) for m in other.members]
    assert one.classes == ("melanoma", "seborrheic_keratosis", "nevus")
    assert not [*one.extra, *other.extra, *one.mistakes.lines, *other.mistakes.lines]


def test_metadata_is_read_and_unknown_stays_unknown(tmp_path):
    table = read_listing(isic2017(tmp_path)).table
    assert math.isnan(table["age"].iloc[0])
    assert table["age"].iloc[1] == 40
    assert set(table["sex"]) == {"male", "female", "unknown"}
    assert table.loc[table["part"] == "test", "age"].isna().all()


def test_the_order_of_lines_has_no_meaning(tmp_path):
    source = isic2017(tmp_path)
    before = read_listing(source).table
    header, *lines = (source / TRUTH).read_text().splitlines()
    (source / TRUTH).write_text("\n".join([header, *reversed(lines)]))
    assert read_listing(source).table.equals(before)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (OTHER_COLUMNS, ":1: missing columns 'seborrheic_keratosis'; known: image_id, melanoma, seborrheic_keratosis"),
        (OTHER_COLUMNS, ":1: unknown columns 'nevus'"),
        (TRUTH_2017 + "ISIC_0000000,1.0,1.0\n", "melanoma and seborrheic_keratosis are 1, at most one must be"),
        (TRUTH_2017 + "ISIC_0000000,,0.0\n", f"{TRUTH}:2: ISIC_0000000: melanoma is NaN"),
        (TRUTH_2017 + "ISIC_0000000,nan,0.0\n", f"{TRUTH}:2: ISIC_0000000: melanoma is NaN"),
        (TRUTH_2017 + "ISIC_0000000,yes,0.0\n", f"{TRUTH}:2: ISIC_0000000: melanoma is 'yes', must be a number"),
        (TRUTH_2017 + "ISIC_0000000,0.5,0.0\n", f"{TRUTH}:2: ISIC_0000000: labels must be 0.0 or 1.0, not [0.5, 0.0]"),
        (TRUTH_2017 + "ISIC_0000000,1.0,0.0\nISIC_0000000,0.0,0.0\n", ":3: ISIC_0000000 stands already in line 2"),
        (TRUTH_2017 + ",1.0,0.0\n", f"{TRUTH}:2: no image_id is given"),
        (TRUTH_2017 + "ISIC_0000000,1.0\n", f"{TRUTH}:2: has 2 values under 3 columns"),
        (TRUTH_2017 + "ISIC_0009999,1.0,0.0\n", f"{TRUTH}:2: ISIC_0009999 has no image in ISIC-2017_Training_Data.zip"),
        (TRUTH_2017, f"{TRUTH}: has a header but no lines"),
        ("", f"{TRUTH}: is empty"),
        (TRUTH_2017.replace(",", ";"), ":1: the columns 'image_id;melanoma;seborrheic_keratosis' are not separated"),
    ],
)  # fmt: skip
def test_mistakes_of_a_ground_truth_have_file_and_line(tmp_path, text, message):
    source = isic2017(tmp_path)
    (source / TRUTH).write_text(text)
    assert message in refused(source)


def test_every_mistake_is_told_at_once(tmp_path):
    source = isic2017(tmp_path)
    (source / TRUTH).write_text(TRUTH_2017 + "ISIC_0000000,1.0,1.0\nISIC_0000001,x,0.0\nISIC_7,0.0,0.0\n")
    (source / "ISIC-2017_Validation_Data.zip").unlink()
    said = refused(source)
    assert "source: 4 mistakes\n" in said
    assert "ISIC-2017_Validation_Data.zip (or folder ISIC-2017_Validation_Data) is missing" in said


def test_a_file_in_another_encoding_is_told(tmp_path):
    source = isic2017(tmp_path)
    (source / TRUTH).write_bytes(TRUTH_2017.encode("utf-16"))
    assert f"{TRUTH}: is no CSV in UTF-8" in refused(source)


def test_images_without_a_label_are_no_mistake(tmp_path):
    source = isic2017(tmp_path)
    lines = (source / TRUTH).read_text().splitlines()
    (source / TRUTH).write_text("\n".join(lines[:-1]))
    listing = read_listing(source)
    assert listing.extra == ("ISIC-2017_Training_Data.zip/ISIC-2017_Training_Data/ISIC_0000023.jpg",)
    assert not listing.mistakes.lines


def test_a_truncated_zip_says_so(tmp_path):
    path = isic2017(tmp_path) / "ISIC-2017_Training_Data.zip"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"ISIC-2017_Training_Data\.zip: not a whole zip .*5,000 bytes.*cut short"):
        read_listing(tmp_path)


@pytest.mark.parametrize("name", ["../evil.jpg", "/etc/evil.jpg", "a/../../evil.jpg", "C:\\evil.jpg", "..\\evil.jpg"])
def test_a_zip_entry_that_leaves_its_folder_is_refused(tmp_path, name):
    isic2017(tmp_path)
    write_zip(tmp_path / "ISIC-2017_Training_Data.zip", {name: jpeg(0)})
    with pytest.raises(DataError, match="1 entries leave their folder"):
        read_listing(tmp_path)


def test_zip_and_folder_side_by_side_are_refused(tmp_path):
    (isic2017(tmp_path) / "ISIC-2017_Training_Data").mkdir()
    assert "both ISIC-2017_Training_Data.zip and the folder" in refused(tmp_path)


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (["a0,mole", "a1,"], "image,label", "labels.csv:3: a1: label is empty"),
        (["a0,mole", "a1,nan"], "image,label", "labels.csv:3: a1: label is nan"),
        (["a0,mole", "a1,mole"], "image,label", "labels.csv: has one class only (mole)"),
        (["a0,x,train", "a1,y,dev"], "image,label,part", "labels.csv:3: part is 'dev'; known: train, validation, test"),
        (["a0,x,train", "a1,y,"], "image,label,part", "labels.csv: part is empty in 1 lines"),
        (["a0,x,test", "a1,y,test"], "image,label,part", "labels.csv: no image is of part train"),
        (["a0,x,300", "a1,y,50"], "image,label,age", "labels.csv:2: age is 300, must be from 0 to 120"),
        (["a0,x,m", "a1,y,male"], "image,label,sex", "labels.csv:2: sex is 'm'; known: male, female, unknown"),
        (["a0,x,1", "a1,y,2"], "image,label,grade", "labels.csv:1: unknown columns 'grade'; known: image, label, part"),
        (["a0,x", "a0.jpg,y"], "image,label", "labels.csv:3: a0.jpg stands already in line 2"),
        (["a0,x", "a9.jpg,y"], "image,label", "labels.csv:3: a9.jpg has no image in own"),
    ],
)
def test_mistakes_of_a_manifest_have_file_and_line(tmp_path, rows, header, message):
    assert message in refused(manifest(tmp_path / "own", rows, header))


def test_a_manifest_may_stand_in_a_zip_or_be_named_itself(tmp_path):
    folder = manifest(tmp_path / "own", ["a0,mole", "a1.jpg,melanoma"])
    path = write_zip(tmp_path / "own.zip", {p.name: p.read_bytes() for p in folder.iterdir()})
    listings = [read_listing(s) for s in (folder, folder / "labels.csv", path)]
    assert [x.classes for x in listings] == [("melanoma", "mole")] * 3
    assert [list(x.table["label"]) for x in listings] == [[1, 0]] * 3


def test_numbered_classes_are_in_the_order_of_their_numbers(tmp_path):
    assert read_listing(manifest(tmp_path, ["a0,10", "a1,9"])).classes == ("9", "10")


@pytest.mark.parametrize(("make", "message"), [
    (lambda p: p / "nowhere", "no such file or folder"),
    (lambda p: p, "nothing known in here; expected ISIC 2017"),
])  # fmt: skip
def test_a_source_that_is_none(tmp_path, make, message):
    with pytest.raises(DataError, match=message):
        read_listing(make(tmp_path))


def test_2018_without_lesion_ids_is_refused(tmp_path):
    write_zip(tmp_path / "ISIC2018_Task3_Training_Input.zip", {"ISIC2018_Task3_Training_Input/ISIC_1.jpg": jpeg(0)})
    truth = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\nISIC_1,1.0,0.0,0.0,0.0,0.0,0.0,0.0\n"
    name = "ISIC2018_Task3_Training_GroundTruth"
    write_zip(tmp_path / f"{name}.zip", {f"{name}/{name}.csv": truth.encode()})
    assert "ISIC2018_Task3_Training_LesionGroupings.csv is missing" in refused(tmp_path)


def test_counts_of_the_real_sets(shared):
    listing = read_listing(shared / "data" / "isic2017")
    counts = listing.table.groupby(["part", "label"]).size().to_dict()
    expected = {"train": (374, 254, 1372), "validation": (30, 42, 78), "test": (117, 90, 393)}
    assert counts == {(part, i): n for part, row in expected.items() for i, n in enumerate(row)}
    table = read_listing(shared / "data" / "isic2018").table
    assert table["lesion"].nunique() == 7470
    assert table.groupby("label").size().tolist() == [1113, 6705, 514, 327, 1099, 115, 142]
    assert set(table["sex"]) == {"male", "female", "unknown"}
