"""What a download leaves, cut short: fetched again from where it is whole, and what is not the server's is refused."""

import sys
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from cuts import cuts
from state_files import unknown_files

sys.path.append(str(Path(__file__).parent.parent / "data"))

from archive import Archive, served

from lesion.data.download import ATTEMPTS, fetch
from lesion.errors import DataError

NAME = "photos.zip"


def zipped() -> bytes:
    content = BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for number in range(3):
            file.writestr(f"{number}.jpg", np.random.default_rng(number).bytes(3000))
    return content.getvalue()


DATA = zipped()


@pytest.fixture
def archive() -> Iterator[Archive]:
    with served() as state:
        state.files[NAME] = DATA
        yield state


def get(archive: Archive, folder: Path) -> bytes:
    return fetch(f"{archive.url}/{NAME}", folder, pause=lambda seconds: None).read_bytes()


def interrupted(archive: Archive, folder: Path) -> None:
    """A download whose connection breaks again and again: it leaves its part and the note of what it is a part of."""
    folder.mkdir(parents=True)
    archive.cuts = ATTEMPTS
    with pytest.raises(DataError, match="it continues where it stopped"):
        get(archive, folder)
    archive.cuts = 0
    assert sorted(path.name for path in folder.iterdir()) == [f"{NAME}.part", f"{NAME}.part.etag"]


@pytest.mark.parametrize("ending", ["part", "part.etag"])
@pytest.mark.parametrize("changed", [False, True])
def test_what_an_interrupted_download_left(archive: Archive, tmp_path: Path, ending: str, changed: bool) -> None:
    """Whole in the end, also where the server has another file by then, of the same length."""
    folder = tmp_path / "source"
    interrupted(archive, folder)
    assert [*unknown_files(tmp_path)] == []
    left = {path: path.read_bytes() for path in folder.iterdir()}
    if changed:
        archive.files[NAME], archive.etag = DATA.replace(b"0.jpg", b"9.jpg"), '"whole-3"'
    for offset in cuts(folder / f"{NAME}.{ending}", 12):
        archive.requests.clear()
        assert get(archive, folder) == archive.files[NAME], offset
        if ending == "part" and offset and not changed:
            assert archive.requests == ["HEAD", f"GET bytes={offset}-"]
        assert sorted(path.name for path in folder.iterdir()) == [NAME, f"{NAME}.sha256"]
        for path in [*folder.iterdir()]:
            path.unlink()
        for path, content in left.items():
            path.write_bytes(content)


@pytest.mark.parametrize("ending", ["", ".sha256"])
def test_what_a_download_noted(archive: Archive, tmp_path: Path, ending: str) -> None:
    """A file, or the note of its SHA-256, that was cut is named, and nothing is fetched over it."""
    folder = tmp_path / "source"
    folder.mkdir()
    get(archive, folder)
    assert [*unknown_files(tmp_path)] == []
    for offset in cuts(folder / f"{NAME}{ending}", 12):
        if ending and offset >= 64:  # the digest is whole; of the name after it nothing is read
            assert get(archive, folder) == DATA
            continue
        with pytest.raises(DataError, match=rf"{folder / NAME} is not what was downloaded.*remove it and {NAME}"):
            get(archive, folder)
    assert get(archive, folder) == DATA
