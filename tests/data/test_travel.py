"""Packed data that travel to a node: once, checked, and again where the copy is damaged."""

import json
import multiprocessing
import os
import platform
import shutil
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import filelock
import fsspec
import numpy as np
import pandas as pd
import pytest
from buckets import Buckets

from lesion.data import packed, travel
from lesion.data.packed import IMAGES, MANIFEST, TABLE, PackedDataset, open_data
from lesion.errors import DataAccessError, DataError


def packed_set(folder: Path) -> Path:
    """A packed set of five drawn images."""
    folder.mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    table = pd.DataFrame({
        "image": [f"i{n}" for n in range(5)], "label": [0, 1, 0, 1, 0], "lesion": "", "patient": "", "part": "train",
        "age": np.nan, "sex": "unknown", "site": "unknown", "group": range(5), "digest": "",
        "holdout": [False] * 3 + [True] * 2, "fold": range(5),
    })  # fmt: skip
    np.save(folder / IMAGES, images)
    table.to_parquet(folder / TABLE)
    manifest = {
        "format": packed.FORMAT, "name": "tiny", "classes": ["benign", "malignant"], "size": 64, "images": 5,
        "geometry": "stretch", "splits": ["holdout"], "default_split": "holdout",
        "content_hash": packed.content_hash(images, table, ["benign", "malignant"], "stretch"),
    }  # fmt: skip
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The folder of a packed set."""
    return packed_set(tmp_path / "there")


@pytest.fixture(autouse=True)
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This node's folder of copies."""
    monkeypatch.setenv(travel.VARIABLE, str(tmp_path / "node"))
    return tmp_path / "node"


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """How often something was fetched, by any process forked from this one."""
    tally, fetch = tmp_path / "tally", travel._fetch

    def counting(address: str, folder: Path) -> None:
        with tally.open("a") as file:
            file.write(".")
        fetch(address, folder)

    monkeypatch.setattr(travel, "_fetch", counting)
    return lambda: len(tally.read_text()) if tally.exists() else 0


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def served(source: Path) -> Iterator[str]:
    """The address of `source` on a web server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(source.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/{source.name}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def asked(source: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What S3 and Google Cloud Storage are asked for, played by a server on loopback whose bucket holds `source`."""
    seen: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Buckets, folder=source.parent.parent, seen=seen))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    keys = {"AWS_ACCESS_KEY_ID": "lab", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "eu-central-1"}
    # As a cluster's machines are told: by what stands in their environment.
    for name, value in {**keys, "AWS_ENDPOINT_URL": url, "STORAGE_EMULATOR_HOST": url}.items():
        monkeypatch.setenv(name, value)
    # Else gcsfs asks Google itself, over gRPC, what kind of bucket it is.
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    yield seen
    for scheme in ("s3", "gs"):
        fsspec.get_filesystem_class(scheme).clear_instance_cache()  # they remember this server
    server.shutdown()
    server.server_close()


def in_memory(source: Path) -> str:
    memory = fsspec.filesystem("memory")
    for file in travel.FILES:
        memory.pipe(f"/bucket/{file}", (source / file).read_bytes())
    return "memory://bucket"


def test_eight_trials_of_a_node_copy_once(source: Path, fetched: Any) -> None:
    fork = multiprocessing.get_context("fork")
    trials = [fork.Process(target=travel.local_copy, args=(source.as_uri(),)) for _ in range(8)]
    for trial in trials:
        trial.start()
    for trial in trials:
        trial.join(60)
    assert [trial.exitcode for trial in trials] == [0] * 8
    assert fetched() == 1


def test_a_copy_is_the_set_wherever_it_came_from(source: Path, served: str, node: Path) -> None:
    original = PackedDataset.open(source)
    for address in (source.as_uri(), in_memory(source), served):
        place = travel.local_copy(address, folder=node / address[:4])
        copy = PackedDataset.open(place)
        assert np.array_equal(copy.images, original.images)
        assert copy.content_hash == original.content_hash
        assert [path.name for path in place.parent.iterdir() if "partial" in path.name] == []


@pytest.mark.slow  # their libraries take seconds to import
@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_copy_comes_from_a_bucket(source: Path, asked: list[str], scheme: str) -> None:
    """With what `make install` installs, and so on a machine that `ray up` has set up."""
    bucket = f"{scheme}://{source.parent.name}"
    place = travel.local_copy(f"{bucket}/{source.name}")
    copy = PackedDataset.open(place)
    assert np.array_equal(copy.images, PackedDataset.open(source).images)
    copy.verify()
    assert any(IMAGES in request for request in asked)
    with pytest.raises(DataError, match="no packed data set is there"):
        travel.local_copy(f"{bucket}/nowhere")


def test_a_copy_that_is_there_needs_no_source(source: Path, fetched: Any) -> None:
    content = PackedDataset.open(source).content_hash
    place = travel.local_copy(source.as_uri(), content)
    (source / IMAGES).unlink()
    assert travel.local_copy("memory://gone", content) == place
    assert fetched() == 1


@pytest.mark.parametrize("damage", ["cut short", "changed", "a file gone", "never finished"])
def test_a_damaged_copy_is_fetched_again(source: Path, fetched: Any, damage: str) -> None:
    place = travel.local_copy(source.as_uri())
    images = place / IMAGES
    whole = images.read_bytes()
    if damage == "cut short":
        images.write_bytes(whole[:-100])
    elif damage == "changed":
        images.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    elif damage == "a file gone":
        images.unlink()
    else:
        place.rename(place.with_name(f".{place.name}.partial-dead"))
    assert travel.local_copy(source.as_uri()) == place
    assert images.read_bytes() == whole
    assert fetched() == 2
    assert not list(place.parent.glob("*.partial-*"))


def test_a_copy_that_was_only_touched_is_read_and_kept(source: Path, fetched: Any) -> None:
    place = travel.local_copy(source.as_uri())
    (place / IMAGES).touch()
    travel.local_copy(source.as_uri())
    assert fetched() == 1


def test_what_arrives_damaged_is_refused_and_leaves_nothing(source: Path, node: Path) -> None:
    whole = (source / IMAGES).read_bytes()
    (source / IMAGES).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DataError, match="content hash is"):
        travel.local_copy(source.as_uri())
    assert [path.suffix for path in node.iterdir()] == [".lock"]


def test_another_set_than_the_study_s_is_refused(source: Path) -> None:
    with pytest.raises(
        DataError, match=r"holds other data than the study is of \(content hash .*, wanted 000000000000"
    ):
        travel.local_copy(source.as_uri(), "0" * 64)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("file:///nowhere/at/all", "no packed data set is there"),
        ("memory://empty", "no packed data set is there"),
        ("nonsense://bucket/set", r"cannot be copied to .*nonsense"),
    ],
)
def test_what_cannot_be_read_is_named(address: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        travel.local_copy(address)


def test_a_manifest_cannot_name_a_path(source: Path) -> None:
    (source / MANIFEST).write_text('{"content_hash": "../../etc"}')
    with pytest.raises(DataError, match="names no content hash"):
        travel.local_copy(source.as_uri())


def test_a_full_disk_is_told_before(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(travel, "SPARE", 1 << 60)
    with pytest.raises(DataError, match=r"GiB are free; free some space, or name another folder in LESION_NODE_DATA"):
        travel.local_copy(source.as_uri())


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Our folder among temporary files, where no other is named; not made yet."""
    monkeypatch.delenv(travel.VARIABLE)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"lesion-search-{os.getuid()}"


def test_copies_among_temporary_files_are_for_this_account_alone(source: Path, temporary: Path) -> None:
    place = travel.local_copy(source.as_uri())
    assert place.parent == temporary / "data"
    assert [folder.stat().st_mode & 0o777 for folder in (temporary, place.parent)] == [0o700] * 2
    assert travel.local_copy(source.as_uri()) == place


@pytest.mark.parametrize("whose", ["another's", "a link", "another's below"])
def test_a_folder_among_temporary_files_that_others_may_change_is_refused(
    source: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    below = whose.endswith("below")
    if whose == "a link":
        elsewhere = source.parent / "elsewhere"
        elsewhere.mkdir()
        temporary.symlink_to(elsewhere)
    else:
        (temporary / "data").mkdir(parents=True, mode=0o700)
    if whose.startswith("another's"):
        theirs = temporary / "data" if below else temporary
        real = Path.lstat

        def lstat(path: Path) -> os.stat_result:
            found = real(path)
            if path == theirs:
                return os.stat_result([*found[:4], found.st_uid + 1, *found[5:]])
            return found

        monkeypatch.setattr(Path, "lstat", lstat)
    named = temporary / "data" if below else temporary
    with pytest.raises(DataError, match=rf"^{named} is another account's.*LESION_NODE_DATA"):
        travel.local_copy(source.as_uri())
    assert not [*temporary.rglob("*.npy")]


@pytest.mark.parametrize("tampered", ["nothing", "changed", "linked", "hard-linked"])
def test_a_folder_of_ours_that_a_umask_left_open_is_closed_and_its_copies_are_checked_once(
    source: Path, temporary: Path, fetched: Any, monkeypatch: pytest.MonkeyPatch, tampered: str
) -> None:
    place = travel.local_copy(source.as_uri())
    images, elsewhere = place / IMAGES, source.parent / "elsewhere"
    whole, times = images.read_bytes(), images.stat()
    temporary.chmod(0o775)
    if tampered == "changed":  # by who knows that its size and times are looked at
        images.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        os.utime(images, ns=(times.st_atime_ns, times.st_mtime_ns))
    elif tampered == "linked":
        place.rename(elsewhere)
        place.symlink_to(elsewhere)
    elif tampered == "hard-linked":
        elsewhere.hardlink_to(images)
    reads: list[Path] = []
    verify = PackedDataset.verify
    monkeypatch.setattr(PackedDataset, "verify", lambda data: (reads.append(data.path), verify(data)))
    assert [travel.local_copy(source.as_uri()) for _ in range(3)] == [place] * 3
    assert temporary.stat().st_mode & 0o777 == 0o700
    assert images.read_bytes() == whole
    assert images.lstat().st_nlink == 1
    assert not place.is_symlink()
    assert fetched() == (1 if tampered == "nothing" else 2)
    assert len(reads) == (2 if tampered == "changed" else 1)


def test_data_are_opened_by_their_address(source: Path, tmp_path: Path, node: Path) -> None:
    data = open_data(tmp_path, source.as_uri())
    assert data.path.parent == node


@pytest.mark.parametrize("damage", ["gone", "changed", "another set", "no room", "no credentials"])
def test_a_set_that_was_there_before_and_cannot_be_copied_is_no_fault_of_who_asks(
    source: Path, node: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    content = PackedDataset.open(source).content_hash
    images = source / IMAGES
    if damage == "gone":
        images.unlink()
    elif damage == "changed":
        images.write_bytes(images.read_bytes()[:-1] + b"x")
    elif damage == "another set":
        content = "0" * 64
    elif damage == "no room":
        monkeypatch.setattr(travel, "SPARE", 1 << 60)
    else:
        monkeypatch.setattr(travel, "_system", refuse)
    with pytest.raises(DataAccessError, match=f"^{platform.node()}: ") as told:
        travel.local_copy(source.as_uri(), content)
    assert source.as_uri() in str(told.value) or damage == "changed"
    if damage == "changed":  # that shows when it has arrived
        travel.require_access(source.as_uri(), content)
        return
    with pytest.raises(DataAccessError, match=f"^{platform.node()}: "):
        travel.require_access(source.as_uri(), content)
    assert list(node.glob("*/*")) == []


def refuse(source: str) -> Any:
    raise RuntimeError("Unable to locate credentials")


def test_a_node_that_has_a_copy_needs_no_access(source: Path, node: Path) -> None:
    content = PackedDataset.open(source).content_hash
    travel.require_access(source.as_uri(), content)
    assert [path.suffix for path in node.iterdir()] == [".lock"]
    travel.local_copy(source.as_uri(), content)
    travel.require_access("memory://gone", content)


def fill(monkeypatch: pytest.MonkeyPatch, node: Path, source: Path) -> Path:
    """Fill the node's disk with a copy that was cut short, but for half of what a copy takes; returns what was left."""
    left = node / f".{PackedDataset.open(source).content_hash[:32]}.partial-dead"
    left.mkdir(parents=True)
    (left / IMAGES).write_bytes((source / IMAGES).read_bytes())
    size = sum((source / name).stat().st_size for name in travel.FILES)

    def disk_usage(folder: Path) -> Any:
        used = sum(path.stat().st_size for path in node.rglob("*") if path.is_file())
        return shutil._ntuple_diskusage(0, used, travel.SPARE + size + size // 2 - used)  # type: ignore[attr-defined]

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    return left


def test_what_a_killed_process_left_takes_no_room(source: Path, node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left, content = fill(monkeypatch, node, source), PackedDataset.open(source).content_hash
    travel.require_access(source.as_uri(), content)
    assert not left.exists()
    travel.local_copy(source.as_uri(), content)


def test_a_copy_that_is_under_way_takes_the_room_that_it_was_promised(
    source: Path, node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, content = fill(monkeypatch, node, source), PackedDataset.open(source).content_hash
    with filelock.FileLock(node / f".{content[:32]}.lock"):
        travel.require_access(source.as_uri(), content)
        assert left.exists()
    (node / "something else").write_bytes((source / IMAGES).read_bytes())
    with pytest.raises(DataAccessError, match="GiB are free"):
        travel.require_access(source.as_uri(), content)
