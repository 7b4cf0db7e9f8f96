"""Photos by file, folder and list."""

import numpy as np
import pytest
from PIL import Image

from lesion.errors import DataError
from lesion.photo_lists import gather


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos" / "inner").mkdir(parents=True)
    for name in ("a.jpg", "b.PNG", "inner/c.jpeg"):
        Image.new("RGB", (8, 8)).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "notes.txt").write_text("no photo")
    return tmp_path / "photos"


def test_files_and_folders_each_once(photos):
    found = gather([photos / "inner" / "c.jpeg", photos, photos / "a.jpg"])
    assert [file.name for file in found.files] == ["c.jpeg", "a.jpg", "b.PNG"]
    assert found.people is None
    assert not found.labels


def test_a_list_tells_labels_and_patients_from_its_own_folder(photos, tmp_path):
    text = (
        "image,label,age,sex,site\nphotos/a,melanoma,70,male,back\nphotos/b.PNG,,,unknown,\nphotos/gone.jpg,nevus,,,\n"
    )
    (tmp_path / "list.csv").write_text(text)
    found = gather([tmp_path / "list.csv"])
    assert list(found.files) == [photos / "a.jpg", photos / "b.PNG", photos / "gone.jpg"]
    assert found.labels == {photos / "a.jpg": "melanoma", photos / "gone.jpg": "nevus"}
    assert found.people.iloc[0].tolist() == [70.0, "male", "back"]
    assert np.isnan(found.people["age"].iloc[1])
    assert found.people["site"].tolist() == ["back", "unknown", "unknown"]


def test_a_table_of_people_overrules_the_list(photos, tmp_path):
    (tmp_path / "list.csv").write_text("image,age,sex\nphotos/a.jpg,70,male\nphotos/b.PNG,20,female\n")
    (tmp_path / "people.csv").write_text("image,age,sex\na,33,\nb,,male\n")
    found = gather([tmp_path / "list.csv"], tmp_path / "people.csv")
    assert found.people["age"].tolist() == [33.0, 20.0]
    assert found.people["sex"].tolist() == ["male", "male"]


def test_photos_of_one_name_in_two_folders_are_of_two_people(tmp_path):
    for name in ("a/1.jpg", "b/1.jpg", "b/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "list.csv").write_text("image,age,sex\na/1.jpg,20,male\nb/1.jpg,80,female\n")
    found = gather([tmp_path / "list.csv", tmp_path / "b" / "1.png"])
    assert found.people[["age", "sex"]].iloc[:2].to_numpy().tolist() == [[20.0, "male"], [80.0, "female"]]
    assert found.people["sex"].iloc[2] == "unknown"  # a photo that the list does not name
    (tmp_path / "people.csv").write_text("image,age\n1,33\n")
    with pytest.raises(DataError, match=r"people.csv:2: photo 1 may be .*a/1.jpg or .*b/1.jpg or 1 more"):
        gather([tmp_path / "list.csv", tmp_path / "b" / "1.png"], tmp_path / "people.csv")


def test_a_line_is_of_its_photo_however_that_is_given(photos, tmp_path, monkeypatch):
    (tmp_path / "photos" / "list.csv").write_text("image,age\na,70\n../photos/b.PNG,20\n")
    monkeypatch.chdir(tmp_path)
    found = gather([photos / "b.PNG", photos / "inner" / ".." / "a.jpg", photos / "list.csv"])
    assert found.people["age"].tolist()[:2] == [20.0, 70.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na.jpg,nevus\n", r"list.csv:1: missing columns 'image'"),
        ("image,age\na.jpg,old\n", r"list.csv:2: .*age is 'old', must be a number"),
        ("image,site\na.jpg,nowhere\n", r"list.csv:2: site is 'nowhere'; known: abdomen"),
        ("image\na.jpg\na.jpg\n", r"list.csv:3: a.jpg stands already in line 2"),
        ("image,age\na.jpg,20\n./a.jpg,80\n", r"list.csv:3: .*a.jpg stands already in line 2"),
    ],
)
def test_what_is_wrong_with_a_list_is_said_with_its_line(tmp_path, text, message):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        gather([tmp_path / "list.csv"])


def test_folders_without_photos_and_lists_that_are_not_there(tmp_path):
    with pytest.raises(DataError, match="no photo in this folder"):
        gather([tmp_path])
    with pytest.raises(DataError, match=r"none.csv cannot be read: No such file"):
        gather([tmp_path / "none.csv"])
