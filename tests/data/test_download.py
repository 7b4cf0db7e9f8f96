"""Downloads continue where they broke, and what is not the server's file is refused; against a server of our own."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from archive import Archive, served
from drawn_sources import isic2017, jpeg, write_zip

from lesion.data.download import ATTEMPTS, FILES, download, fetch
from lesion.data.layouts import read_listing
from lesion.errors import DataError

DATA = bytes(range(256)) * 40


@pytest.fixture
def archive() -> Iterator[Archive]:
    with served() as state:
        yield state


@pytest.fixture
def pauses() -> list[float]:
    return []


def get(archive: Archive, folder: Path, pauses: list[float], name: str = "a.bin") -> Path:
    return fetch(f"{archive.url}/{name}", folder, pause=pauses.append)


def test_a_file_arrives_whole_and_is_not_fetched_twice(archive, tmp_path, pauses):
    archive.files["a.bin"] = DATA
    path = get(archive, tmp_path, pauses)
    assert path.read_bytes() == DATA
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.bin", "a.bin.sha256"]
    assert (tmp_path / "a.bin.sha256").read_text() == f"{hashlib.sha256(DATA).hexdigest()}  a.bin\n"
    archive.requests.clear()
    assert get(archive, tmp_path, pauses) == path
    assert archive.requests == []


def test_a_cut_connection_is_continued(archive, tmp_path, pauses):
    archive.files["a.bin"], archive.cuts = DATA, 2
    assert get(archive, tmp_path, pauses).read_bytes() == DATA
    half, rest = len(DATA) // 2, len(DATA) * 3 // 4
    assert archive.requests == ["HEAD", "GET", f"GET bytes={half}-", f"GET bytes={rest}-"]
    assert pauses == [1.0, 2.0]


def test_the_next_run_continues_too(archive, tmp_path, pauses):
    archive.files["a.bin"], archive.cuts = DATA, ATTEMPTS
    with pytest.raises(DataError, match=r"a\.bin: failed 5 times .*run it again, it continues where it stopped"):
        get(archive, tmp_path, pauses)
    assert not (tmp_path / "a.bin").exists()
    archive.cuts = 0
    assert get(archive, tmp_path, pauses).read_bytes() == DATA
    assert archive.requests[-1].startswith("GET bytes=")


def test_a_server_without_ranges_sends_it_all_again(archive, tmp_path, pauses):
    archive.files["a.bin"], archive.cuts, archive.ranges = DATA, 1, False
    assert get(archive, tmp_path, pauses).read_bytes() == DATA


def test_a_file_that_changed_meanwhile_is_begun_again(archive, tmp_path, pauses):
    archive.files["a.bin"], archive.cuts = DATA, ATTEMPTS
    with pytest.raises(DataError):
        get(archive, tmp_path, pauses)
    archive.files["a.bin"], archive.cuts, archive.etag = DATA[::-1], 0, '"other-2"'
    assert get(archive, tmp_path, pauses).read_bytes() == DATA[::-1]


def test_a_busy_server_is_asked_again(archive, tmp_path, pauses):
    archive.files["a.bin"], archive.busy = DATA, 2
    assert get(archive, tmp_path, pauses).read_bytes() == DATA
    assert pauses == [1.0, 2.0]


def test_a_missing_file_is_told_at_once(archive, tmp_path, pauses):
    with pytest.raises(DataError, match=r"a\.bin: the server says 404 Not Found: the archive may have moved the file"):
        get(archive, tmp_path, pauses)
    assert pauses == []


def test_a_wrong_length_is_refused(archive, tmp_path, pauses):
    archive.files["a.bin"], archive.extra = DATA, 7
    with pytest.raises(DataError, match=r"cut off after 10,240 of 10,247 bytes|failed 5 times"):
        get(archive, tmp_path, pauses)
    assert not (tmp_path / "a.bin").exists()


def test_a_server_that_tells_no_length_is_refused(archive, tmp_path, pauses):
    archive.files["a.bin"], archive.length = DATA, False
    with pytest.raises(DataError, match="does not say how long the file is"):
        get(archive, tmp_path, pauses)


def test_a_plain_md5_is_compared(archive, tmp_path, pauses):
    archive.files["a.bin"] = DATA
    archive.etag = f'"{hashlib.md5(DATA).hexdigest()}"'
    assert get(archive, tmp_path, pauses).exists()
    archive.files["b.bin"] = DATA[:-1] + b"?"
    with pytest.raises(DataError, match=r"b\.bin: what arrived has MD5 \w+, the server says \w+; it was removed"):
        get(archive, tmp_path, pauses, "b.bin")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.bin", "a.bin.sha256"]


def test_a_damaged_zip_is_refused(archive, tmp_path, pauses):
    data = bytearray(write_zip(tmp_path / "x.zip", {"photo.jpg": jpeg(0)}).read_bytes())
    data[100] ^= 0xFF
    archive.files |= {"a.zip": bytes(data), "b.zip": b"<html>sorry</html>"}
    with pytest.raises(DataError, match=r"what arrived is damaged in photo\.jpg"):
        get(archive, tmp_path / "", pauses, "a.zip")
    with pytest.raises(DataError, match="what arrived is no whole zip"):
        get(archive, tmp_path / "", pauses, "b.zip")


def test_what_was_changed_afterwards_is_told(archive, tmp_path, pauses):
    archive.files["a.bin"] = DATA
    get(archive, tmp_path, pauses).write_bytes(DATA[:-1])
    with pytest.raises(DataError, match=r"is not what was downloaded .*remove it and a\.bin\.sha256"):
        get(archive, tmp_path, pauses)


def test_a_file_put_there_by_hand_is_taken_if_it_is_the_servers(archive, tmp_path, pauses):
    archive.files["a.bin"] = DATA
    (tmp_path / "a.bin").write_bytes(DATA)
    assert get(archive, tmp_path, pauses).read_bytes() == DATA
    assert archive.requests == ["HEAD"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.bin", "a.bin.sha256"]


@pytest.mark.parametrize("own", [DATA[:-9], DATA + DATA, DATA[:-1] + b"?"], ids=["smaller", "larger", "same length"])
@pytest.mark.parametrize("begun", [False, True])
def test_another_file_of_that_name_stays_as_it_is(archive, tmp_path, pauses, own, begun):
    archive.files["a.bin"] = DATA
    archive.etag = f'"{hashlib.md5(DATA).hexdigest()}"'
    if begun:
        archive.cuts = ATTEMPTS
        with pytest.raises(DataError, match="run it again"):
            get(archive, tmp_path, pauses)
    (tmp_path / "a.bin").write_bytes(own)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(DataError, match=r"a\.bin was not downloaded by this command and is another .*: move it away"):
        get(archive, tmp_path, pauses)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_another_zip_of_the_same_length_stays_as_it_is(archive, tmp_path, pauses):
    data = write_zip(tmp_path / "x.zip", {"photo.jpg": jpeg(0)}).read_bytes()
    archive.files["a.zip"] = data
    own = bytearray(data)
    own[100] ^= 0xFF
    (tmp_path / "a.zip").write_bytes(own)
    with pytest.raises(DataError, match=r"it is damaged in photo\.jpg\. It was left as it is"):
        get(archive, tmp_path, pauses, "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == own


def test_what_was_put_there_keeps_its_name_while_nobody_answers(archive, tmp_path, pauses):
    archive.files["a.bin"], archive.busy = DATA, ATTEMPTS
    (tmp_path / "a.bin").write_bytes(DATA)
    with pytest.raises(DataError, match=r"a\.bin: failed 5 times"):
        get(archive, tmp_path, pauses)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.bin", DATA)]


def test_a_part_of_another_program_is_not_continued(archive, tmp_path, pauses):
    archive.files["a.bin"] = DATA
    (tmp_path / "a.bin.part").write_bytes(b"of a browser")
    with pytest.raises(DataError, match=r"a\.bin\.part was not begun by this command .*: move it away"):
        get(archive, tmp_path, pauses)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.bin.part", b"of a browser")]


def test_a_packed_zip_entry_that_is_damaged_is_refused(archive, tmp_path, pauses):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_LZMA) as made:
        made.writestr("photo.jpg", jpeg(0))
    data = bytearray((tmp_path / "x.zip").read_bytes())
    data[43] ^= 0xFF  # in the properties of the entry's stream, behind a header of 39 bytes
    archive.files["a.zip"] = bytes(data)
    with pytest.raises(DataError, match=r"a\.zip: what arrived is no whole zip"):
        get(archive, tmp_path, pauses, "a.zip")


def test_a_whole_data_set_can_be_read_after(archive, tmp_path):
    made = isic2017(tmp_path / "made")
    archive.files |= {path: (made / path.rsplit("/", 1)[1]).read_bytes() for path in FILES["isic2017"]}
    paths = download("isic2017", tmp_path / "here", base_url=archive.url)
    assert len(paths) == 6
    assert read_listing(tmp_path / "here").table.equals(read_listing(made).table)


def test_unknown_names_and_schemes_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"no data set to download 'isic2016'; known: isic2017, isic2018"):
        download("isic2016", tmp_path)
    with pytest.raises(DataError, match="must begin with https"):
        download("isic2017", tmp_path, base_url="file:///etc")
