"""What is known of the patients beside their photos."""

import math

import pytest

from lesion.errors import DataError
from lesion.people import people_of, read_people


def written(folder, text):
    path = folder / "people.csv"
    path.write_text(text)
    return path


def test_photos_find_their_patients_and_others_are_unknown(tmp_path):
    known = read_people(written(tmp_path, "image,age,sex,site\nISIC_1,45,Male,back\nISIC_2.jpg,unknown,,\n"))
    people = people_of(["photos/ISIC_2.JPG", "ISIC_9.jpg", "x/ISIC_1.png"], known)
    assert people["sex"].tolist() == ["unknown", "unknown", "male"]
    assert people["site"].tolist() == ["unknown", "unknown", "back"]
    assert [math.isnan(years) for years in people["age"]] == [True, True, False]


def test_columns_may_be_left_out(tmp_path):
    known = read_people(written(tmp_path, "image,sex\nISIC_1,female\n"))
    assert people_of(["ISIC_1"], known).iloc[0][["sex", "site"]].tolist() == ["female", "unknown"]


def test_every_mistake_is_told_with_its_line(tmp_path):
    path = written(tmp_path, "image,age,sex,site\na,130,male,back\nb,40,man,back\nc,40,male,knee\n")
    with pytest.raises(DataError) as caught:
        read_people(path)
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("cannot be used: 3 mistakes")
    assert [line.partition("people.csv:")[2].partition(" ")[0] for line in lines[1:]] == ["2:", "3:", "4:"]
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_people(tmp_path / "absent.csv")
