"""Openings of a test part: counted by its content, in every study of a workspace."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from reported_study import reported

from lesion.data.packed import MANIFEST
from lesion.data.sketches import sketch
from search.openings import Openings, openings, part_of, record
from search.reporting import report
from search.test_parts import named
from search.workspace import Workspace

HERE, THERE = "a" * 64, "b" * 64


def scored(place: Workspace, study: str, key: str, part: str | None) -> Path:
    """What the scoring of one model leaves; `part` is None where an earlier release did it."""
    folder = place.reports / study
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / f"tested-{key}.npy"
    np.save(kept, np.full((2, 3), 1 / 3))
    if part is not None:
        record(kept, part)
    return kept


def digest(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def test_models_are_counted_by_the_content_of_the_test_part(place: Workspace) -> None:
    assert openings(place, "first", HERE) == Openings()
    for study, key, part in (
        ("first", "01", HERE), ("first", "02", HERE), ("second", "03", HERE), ("third", "04", THERE),
        ("first", "05", THERE),  # of a study of the same name, on other data
    ):  # fmt: skip
        scored(place, study, key, part)
    (place.reports / "drawn" / "augmentations").mkdir(parents=True)
    assert openings(place, "first", HERE) == Openings(2, {"second": 1})
    assert openings(place, "second", HERE) == Openings(1, {"first": 2})
    assert openings(place, "third", THERE) == Openings(1, {"first": 1})
    assert openings(place, "fourth", HERE) == Openings(0, {"first": 2, "second": 1})
    # Where the data are gone, what the study itself did is still known.
    assert openings(place, "first", "") == Openings(3)


def test_the_same_photos_at_another_size_are_the_same_part(place: Workspace) -> None:
    photos = [digest(n) for n in range(100)]
    whole, most = sketch(photos), sketch(photos[:90])
    few = sketch([*photos[:10], *(digest(n) for n in range(1000, 1040))])
    scored(place, "first", "01", named(HERE, whole))
    assert openings(place, "small", named(THERE, whole)) == Openings(0, {"first": 1})
    assert openings(place, "small", named(THERE, most)) == Openings(0, {"first": 1})
    assert openings(place, "small", named(THERE, few)) == Openings()  # another part, some photos of which are there too
    assert openings(place, "small", THERE) == Openings()  # as earlier releases packed it
    assert openings(place, "small", HERE) == Openings(0, {"first": 1})


def test_what_runs_in_mlflow_tell_of_counts_once(place: Workspace) -> None:
    scored(place, "first", "01", HERE)
    told = {"first": {"01", "02"}, "elsewhere": {"03"}}
    assert openings(place, "first", HERE, told) == Openings(2, {"elsewhere": 1})
    assert openings(place, "second", HERE, told) == Openings(0, {"first": 2, "elsewhere": 1})


def test_what_earlier_releases_scored_is_of_the_part_of_its_study(tmp_path: Path) -> None:
    place = reported(tmp_path, trials=1)
    manifest = place.data / "photos" / MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"test": {"content_hash": HERE}}))
    assert part_of(place, "photos") == HERE
    assert part_of(place, "nobody") == ""
    scored(place, "photos", "01", None)
    scored(place, "gone", "02", None)
    oldest = place.reports / "photos" / "promotion-03"
    oldest.mkdir()
    np.save(oldest / "test.npy", np.zeros((2, 3)))
    assert openings(place, "photos", HERE) == Openings(2)
    assert openings(place, "other", HERE) == Openings(0, {"photos": 2})
    assert openings(place, "other", THERE) == Openings()


def test_a_report_counts_what_runs_in_mlflow_tell_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = reported(tmp_path, trials=1)
    manifest = place.data / "photos" / MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"test": {"content_hash": HERE}}))
    scored(place, "photos", "01", HERE)

    def told(registry: object, part: str) -> dict[str, set[str]]:
        return {"elsewhere": {"03"}} if part == HERE else {}

    monkeypatch.setattr("search.registered.Registry.scored", told)
    assert report("photos", place).reading.opened == Openings(1, {"elsewhere": 1})

    def silent(registry: object, part: str) -> dict[str, set[str]]:
        raise OSError("nobody answers")

    monkeypatch.setattr("search.registered.Registry.scored", silent)
    reading = report("photos", place).reading
    assert reading.opened == Openings(1)
    [note] = [note for note in reading.notes if "counted in this workspace alone" in note]
    assert note.endswith("nobody answers")


def test_a_record_that_is_torn_counts_for_every_part(place: Workspace) -> None:
    scored(place, "first", "01", HERE).with_suffix(".json").write_text("[")
    assert openings(place, "first", HERE) == Openings(1)
    assert openings(place, "second", HERE) == openings(place, "second", THERE) == Openings(0, {"first": 1})


@pytest.mark.parametrize(
    ("found", "words", "warning"),
    [
        (Openings(), "not opened", ""),
        (Openings(1), "opened once", ""),
        (
            Openings(0, {"b": 2}),
            "not opened by this study, 2 times by others",
            "0 models of this study and 2 of others (b)",
        ),
        (Openings(2), "opened 2 times", "2 models of this study have seen the test part"),
        (Openings(1, {"b": 1}), "opened once, and once by other studies", "1 model of this study and 1 of others (b)"),
    ],
)
def test_how_often_is_said_in_words(found: Openings, words: str, warning: str) -> None:
    assert found.in_words == words
    assert found.warning.startswith(warning)
    assert bool(found.warning) == bool(warning)
