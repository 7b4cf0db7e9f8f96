"""Downloads continue where they broke, and what is not the server's file is refused; against a server of our own."""

from __future__ import annotations

import hashlib
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
