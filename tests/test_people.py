"""What is known of the patients beside their photos."""

import math
from pathlib import Path

import pytest

from lesion.errors import DataError
from lesion.people import NOBODY, people_of, table_of


def written(folder, text):
    path = folder / "people.csv"
    path.write_text(text)
    return path


def test_photos_find_their_patients_and_others_are_unknown(tmp_path):
    path = written(tmp_path, "image,age,sex,site\nISIC_1,45,Male,back\nISIC_2.jpg,unknown,,\nISIC_7,30,male,face\n")
    photos = [Path("photos/ISIC_2.JPG"), Path("ISIC_9.jpg"), Path("x/ISIC_1.png")]
    found = people_of(photos, path)
    assert list(found) == [photos[2], photos[0]]
    people = table_of(found.get(photo, NOBODY) for photo in photos)
    assert people["sex"].tolist() == ["unknown", "unknown", "male"]
    assert people["site"].tolist() == ["unknown", "unknown", "back"]
    assert [math.isnan(years) for years in people["age"]] == [True, True, False]


def test_columns_may_be_left_out(tmp_path):
    path = written(tmp_path, "image,sex\nISIC_1,female\n")
    assert people_of([Path("ISIC_1")], path)[Path("ISIC_1")][1:] == ("female", "unknown")


def test_every_mistake_is_told_with_its_line(tmp_path):
    path = written(tmp_path, "image,age,sex,site\na,130,male,back\nb,40,man,back\nc,40,male,knee\n")
    with pytest.raises(DataError) as caught:
        people_of([], path)
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("cannot be used: 3 mistakes")
    assert [line.partition("people.csv:")[2].partition(" ")[0] for line in lines[1:]] == ["2:", "3:", "4:"]
    with pytest.raises(DataError, match="cannot be read: No such file"):
        people_of([], tmp_path / "absent.csv")


def test_a_name_that_could_be_two_photos_is_refused(tmp_path):
    path = written(tmp_path, "image,age\na/1.jpg,20\nb/1.jpg,80\n2,30\n3,40\n")
    photos = [Path("a/2.jpg"), Path("a/3.jpg"), Path("b/3.jpg"), Path("c/3.png")]
    with pytest.raises(DataError) as caught:
        people_of(photos, path)
    head, twice, several = str(caught.value).splitlines()
    assert head.endswith("cannot be used: 2 mistakes")
    assert "people.csv:3: photo 1 stands already in line 2; folder and ending do not count here: tell age, " in twice
    assert "people.csv:5: photo 3 may be a/3.jpg or b/3.jpg or 1 more: tell age, sex and site in a CSV list" in several
