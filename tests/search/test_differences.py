"""What is said of data that are no longer those of a study: not that they differ alone, but where."""

from pathlib import Path

import pytest
from fake_training import FakeTraining, make_data, make_space

from lesion.data.packed import PackedDataset
from lesion.errors import DataError
from search import run_study
from search.differences import differences, remember
from search.errors import StudyError
from search.ledger import open_ledger
from search.study import identity_of
from search.unchanged import Unchanged
from search.workspace import open_workspace

RELABELLED = "1 of 7 images have another label: i3 (was melanoma, is seborrheic_keratosis)"


def test_each_kind_of_change_is_named_with_the_first_images(tmp_path: Path) -> None:
    folder = make_data(tmp_path)
    data = PackedDataset.open(folder)
    remember(tmp_path / "cache", data)
    assert differences(tmp_path / "cache", data.content_hash, data) == []
    table = data.table.copy()
    table.loc[3, "label"], table.loc[4, "age"], table.loc[6, "image"] = 1, 50.0, "other"
    images = data.images.copy()
    images[1, 0, 0, 0] = 9
    changed = PackedDataset(
        data.path, data.name, data.classes, data.size, data.geometry, "", table, images, data.manifest
    )  # type: ignore[arg-type]
    assert differences(tmp_path / "cache", data.content_hash, changed) == [
        RELABELLED,
        "1 of 7 images have other pixels: i1",
        "1 of 7 images differ in lesion, patient, part, age, sex, site: i4",
        "1 of 7 images are gone: i6",
        "1 of 7 images are new: other",
    ]
    table["label"] = (table["label"] + 1) % 3
    [line, *_] = differences(tmp_path / "cache", data.content_hash, changed)
    assert line.startswith("6 of 7 images have another label: i0 (")
    assert line.endswith(", …")


def test_where_it_is_not_known_hashes_are_all(tmp_path: Path) -> None:
    data = PackedDataset.open(make_data(tmp_path))
    assert differences(tmp_path, "0" * 64, data) == []
    remember(tmp_path, data)
    [note] = tmp_path.glob("images-*.json")
    note.write_bytes(note.read_bytes()[:100])
    assert differences(tmp_path, data.content_hash, data) == []


def test_a_label_changed_by_hand_is_named(tmp_path: Path) -> None:
    folder = make_data(tmp_path)
    watch = Unchanged(PackedDataset.open(folder), tmp_path / "cache")
    watch.verify()
    table = watch.data.table.copy()
    table.loc[3, "label"] = 1
    table.to_parquet(folder / "table.parquet")
    with pytest.raises(DataError, match=r"content hash is .*\n  1 of 7 images have another label: i3"):
        Unchanged(PackedDataset.open(folder), tmp_path / "cache").verify()
    make_data(tmp_path, label=1)  # prepared anew
    with pytest.raises(StudyError, match=r"changed while the study ran: .*; 1 of 7 images have another label: i3"):
        watch.still()


def test_a_study_that_exists_for_other_labels_says_which(tmp_path: Path) -> None:
    place = open_workspace(tmp_path)
    data = PackedDataset.open(make_data(tmp_path))
    Unchanged(data, place.cache).verify()
    space = make_space(tmp_path)
    open_ledger(place.ledger_url, "tiny", identity_of(space, data), 7)
    make_data(tmp_path, label=1)
    with pytest.raises(StudyError) as caught:
        run_study(space, tmp_path, build=FakeTraining)
    first, data_line, detail, *_ = str(caught.value).splitlines()
    assert first == "the study 'tiny' exists for something else:"
    assert data_line.startswith("  data: 'tiny' holds other images or labels than before (content hash was")
    assert detail == f"    {RELABELLED}"
