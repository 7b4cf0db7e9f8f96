"""Weights that a model starts from: told in card and notes, and no test part judges what has learnt its photos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from drawn_study import NO_GATES, searched, workspace_with_data
from reported_study import photos
from safetensors.torch import save_file

from lesion.data.packed import open_data, open_test
from lesion.data.sketches import sketch
from lesion.learnt import Learnt, metadata_of, of_weights, photos_in
from lesion.predictor import Predictor
from search import proposal
from search.cli import main
from search.errors import PromotionError
from search.members import Members
from search.openings import Openings
from search.promotion import model_folder, promote, rehearse
from search.registered import Registry
from search.starts import Start, learnt_by, provenance_of, refuse_seen, start_of, starts_in
from search.workspace import Workspace, open_workspace

OTHERS = Learnt(("isic2018 (content 0123456789ab)",), frozenset({"a" * 16}), whole=True)


def test_files_are_told_from_names_and_each_once() -> None:
    settings = [
        {"backbone": "mobilenet_v2", "backbone.mobilenet_v2.weights": "gone.safetensors"},
        {"backbone": "mobilenet_v2", "backbone.mobilenet_v2.weights": "gone.safetensors"},
        {"backbone": "resnet18", "backbone.resnet18.weights": "imagenet", "backbone.mobilenet_v2.weights": "no.pth"},
        {"backbone": "timm/resnet10t", "backbone.timm/resnet10t.weights": "theirs.pth"},
        {"backbone": "squeezenet1_1"},
    ]
    found = starts_in({}, settings)  # as a model of an earlier release tells
    assert found == (Start("gone.safetensors", None), Start("theirs.pth", None))
    assert found[1].in_words == "theirs.pth: what it has learnt from is not known, test photos may be among it"


def test_what_the_training_kept_counts_and_without_it_the_file_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "theirs.safetensors"
    save_file({"a": torch.zeros(1)}, file, metadata_of(OTHERS))
    settings = {"backbone": "squeezenet1_1", "backbone.squeezenet1_1.weights": str(file)}
    before = Learnt(("isic2017",))
    assert start_of(settings, {"learnt": before.to_json()}) == Start(str(file), before)
    assert start_of(settings, {"learnt": None}) == Start(str(file), None)
    assert start_of(settings, {}) == Start(str(file), OTHERS)
    assert start_of({"backbone": "squeezenet1_1"}, {}) is None


def test_what_a_model_of_an_earlier_release_has_learnt_from_is_its_data() -> None:
    told = learnt_by({"identity": {"data": "isic2018", "data_hash": "d" * 64}})
    assert told == Learnt(("isic2018 (content dddddddddddd)",))
    assert learnt_by({}) is None


def test_photos_of_the_test_part_are_refused_and_others_are_not() -> None:
    refuse_seen([Start("other.safetensors", OTHERS), Start("none.pth", None)], frozenset({"b" * 16}))
    with pytest.raises(PromotionError, match=r"other\.safetensors, which it started from, has learnt from isic2018 .*"
                       r" 1 of the 2 test photos that were looked for\. Nothing was scored"):  # fmt: skip
        refuse_seen([Start("none.pth", None), Start("other.safetensors", OTHERS)], frozenset({"a" * 16, "b" * 16}))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
class TestFromOneSearchToTheNext:
    """A backbone is promoted, exported and started from; its file says what it has seen all the way."""

    @pytest.fixture(scope="class")
    def place(self, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
        place = workspace_with_data(tmp_path_factory.mktemp("starts"))
        searched(place, open_data(place.path, "drawn"), states=("complete",))
        return place

    def test_the_card_names_the_file_and_what_it_has_seen(self, place: Workspace, tmp_path: Path) -> None:
        data = open_data(place.path, "drawn")
        first = promote("drawn", place, views=1, gates=NO_GATES)
        file = tmp_path / "first.safetensors"
        words = ["export", first.uri, "--backbone", str(file), "--workspace", str(place.path)]
        assert main(words) == 0
        told = of_weights(file)
        assert told == Learnt((f"drawn (content {data.content_hash[:12]})",), photos_in(data.table), whole=True)

        start = f"  backbone: {{squeezenet1_1: {{weights: {file}}}}}\n"
        searched(place, data, "second", states=("complete",), start=start)
        file.unlink()  # what it said is kept with the trials
        second = promote("second", place, views=1, gates=NO_GATES)
        line = f"{file}: has learnt from drawn (content {data.content_hash[:12]})"
        assert f"external data: {line}" in second.notes
        card = Registry(place.tracking_uri, place.artifacts).evidence(second.run_id, "model_card.md").read_text("utf-8")
        assert f"\n- External data: {line}\n" in card
        assert f"\n- It learnt from external data too, by way of {file}; see Model." in card
        assert f"external data: {line}" in promote("second", place, views=1, gates=NO_GATES).notes
        kept = learnt_by(Predictor.load(model_folder(second.uri, place)).provenance)
        assert kept == told

    @pytest.mark.parametrize("manifest", [True, False])
    def test_a_backbone_that_has_seen_the_test_part_is_refused(
        self, place: Workspace, monkeypatch: pytest.MonkeyPatch, manifest: bool
    ) -> None:
        """By the photos that the manifest names before anything is opened; else by those of the test part itself."""
        seen = photos_in(open_test(place.path, "drawn").table)
        assert len(sketch(open_test(place.path, "drawn").table["digest"])) == 16 * len(seen)
        start = Start("seen.safetensors", Learnt(("isic2018",), seen | OTHERS.photos, whole=True))
        monkeypatch.setattr(Members, "starts_of", lambda self, rows: (start,))
        if manifest:
            monkeypatch.setattr(proposal, "open_test_of", lambda *_: pytest.fail("the test part was opened"))
        else:
            monkeypatch.setattr(proposal, "photos_of", lambda part: "")
            monkeypatch.setattr(proposal.evidence, "tested", lambda *_: pytest.fail("the test part was scored"))
        before = rehearsed_openings(place)
        with pytest.raises(PromotionError, match=rf"isic2018, and with it {len(seen)} of the {len(seen)} test photos"):
            promote("drawn", place, model="seen", views=2, gates=NO_GATES)
        assert rehearsed_openings(place) == before


def rehearsed_openings(place: Workspace) -> Openings:
    """How often the test part was opened, as a rehearsal without such weights says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Members, "starts_of", lambda self, rows: ())
        return rehearse("drawn", place, views=1, gates=NO_GATES).opened


def test_provenance_keeps_photos_once(tmp_path: Path) -> None:
    packed = photos(open_workspace(tmp_path), images=30)
    packed = replace(packed, table=packed.table.assign(digest=[f"{n:016x}" * 4 for n in range(30)]))
    kept = provenance_of(packed, [Start("a.safetensors", OTHERS), Start("b.pth", None)])
    learnt = learnt_by(kept)
    assert learnt is not None
    assert learnt.photos == photos_in(packed.table) | OTHERS.photos
    assert not learnt.whole  # of b.pth nothing is known
    assert kept["started_from"][0]["photos"] == ""
    assert [start.weights for start in starts_in(kept, [])] == ["a.safetensors", "b.pth"]
    assert starts_in(kept, [])[0].in_words == "a.safetensors: has learnt from isic2018 (content 0123456789ab)"
