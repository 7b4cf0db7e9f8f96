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
    with pytest.raises(DataError, match="entries that leave their folder: 1 "):
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
        (
            ["a0,x,train", "a1,y,dev"],
            "image,label,part",
            "labels.csv:3: no part 'dev'; known: external, test, train, v",
        ),
        (["a0,x,train", "a1,y,"], "image,label,part", "labels.csv: part is empty in 1 line: "),
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


def test_a_word_that_is_wrong_in_a_whole_column_is_told_five_times(tmp_path):
    said = refused(
        manifest(tmp_path / "own", [f"a{n},x,training" for n in range(300)], "image,label,part")
    ).splitlines()
    wrong = "no part 'training'; known: external, test, train, validation (did you mean 'train'?)"
    assert said[0].endswith(": 301 mistakes")  # with the class, of which there is one only
    assert [line for line in said if wrong in line] == [f"labels.csv:{n}: {wrong}" for n in range(2, 7)]
    assert "  and 295 more lines like these" in said
    assert len(said) == 8
    assert not any("no image is of part train" in line for line in said)


def test_an_official_folder_without_its_images_is_told_five_times(tmp_path):
    source = isic2017(tmp_path / "s")
    write_zip(source / "ISIC-2017_Training_Data.zip", {"ATTRIBUTION.txt": b"none"})
    said = refused(source).splitlines()
    wrong = "has no image in ISIC-2017_Training_Data.zip"
    assert said[1:6] == [f"{TRUTH}:{i + 2}: ISIC_{i:07d} {wrong}" for i in range(5)]
    assert said[6:] == ["  and 19 more lines like these"]


def test_no_error_is_longer_than_a_hundred_lines(tmp_path):
    rows = [f"a{n},{'xy'[n % 2]},{n + 200}" for n in range(300)]
    said = refused(manifest(tmp_path / "own", rows, "image,label,age")).splitlines()
    assert said[0].endswith(": 300 mistakes")
    assert said[-1] == "and 200 more"
    assert len(said) == 102


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


@pytest.mark.parametrize("name", ["ISIC-2017_Training_Data.zip", TRUTH])
def test_one_official_file_is_no_source(tmp_path, name):
    source = isic2017(tmp_path / "s") / name
    with pytest.raises(DataError, match=r"is a piece of isic2017: give the folder in which it lies, with the images"):
        read_listing(source)


def test_one_unpacked_official_folder_is_no_source(tmp_path):
    source = tmp_path / "ISIC-2017_Training_Data"
    with zipfile.ZipFile(isic2017(tmp_path / "s") / "ISIC-2017_Training_Data.zip") as archive:
        archive.extractall(tmp_path)
    with pytest.raises(DataError, match=r"is a piece of isic2017: give the folder in which it lies, with the images"):
        read_listing(source)


@pytest.mark.parametrize("top", ["", "isic2017/"])
def test_official_files_in_one_zip_are_told_to_be_unpacked(tmp_path, top):
    made = isic2017(tmp_path / "s")
    source = write_zip(tmp_path / "all.zip", {f"{top}{p.name}": p.read_bytes() for p in sorted(made.iterdir())})
    where = " in isic2017" if top else ""
    with pytest.raises(DataError, match=rf"all\.zip holds isic2017{where}, in one zip: unpack it, and give the folder"):
        read_listing(source)


def test_an_official_set_in_a_folder_deeper_is_named(tmp_path):
    made = isic2017(tmp_path / "downloads" / "first")
    with pytest.raises(DataError, match=f"holds isic2017 in first: give {made} as the source"):
        read_listing(tmp_path / "downloads")


def test_own_images_in_a_folder_called_like_an_official_one_are_read(tmp_path):
    entries = {f"ISIC-2017_Training_Data/a{i}.jpg": jpeg(i) for i in range(4)}
    rows = "image,label\n" + "".join(f"a{i},{'xy'[i % 2]}\n" for i in range(4))
    source = write_zip(tmp_path / "own.zip", {"labels.csv": rows.encode()} | entries)
    assert len(read_listing(source).table) == 4


def test_a_folder_called_like_a_csv_is_read_as_a_folder(tmp_path):
    rows = [f"a{i},{'xy'[i % 2]}" for i in range(4)]
    assert len(read_listing(manifest(tmp_path / "own.csv", rows)).table) == 4
    (tmp_path / "empty.csv").mkdir()
    with pytest.raises(DataError, match="nothing known in here"):
        read_listing(tmp_path / "empty.csv")


def test_a_ground_truth_may_lie_in_a_folder_of_its_own_name(tmp_path):
    source = isic2017(tmp_path / "s")
    before = read_listing(source).table
    text = (source / TRUTH).read_text()
    (source / TRUTH).unlink()
    (source / TRUTH).mkdir()
    assert f"{TRUTH} is a folder without the file of that name" in refused(source)
    (source / TRUTH / TRUTH).write_text(text)
    assert read_listing(source).table.equals(before)


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
