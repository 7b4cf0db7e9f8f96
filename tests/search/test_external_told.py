"""External photos are said of in notes, card and report of what learnt from them, and are among what it has learnt."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from drawn_study import NO_GATES, searched
from small_data import small_data, with_external
from test_model_card import ISIC_2018, facts_of

sys.path.append(str(Path(__file__).parents[1] / "data"))
from drawn_sources import others

from lesion.data.external import ExternalSource
from lesion.data.packed import EXTERNAL, open_data
from lesion.data.prepare import prepare
from lesion.data.synthesise import synthesise
from lesion.learnt import Learnt, photos_in
from lesion.predictor import Predictor
from search.external import external_data, provenance_of, share_of, told_in
from search.model_card import model_card
from search.promotion import model_folder, promote
from search.registered import Registry
from search.reporting import report
from search.starts import learnt_by
from search.workspace import Workspace, open_workspace


def test_a_model_tells_how_many_of_its_networks_learnt_from_them() -> None:
    data = with_external(small_data())
    settings = [{"external": 0.0}, {"external": 1.0}, {}, {"external": 0}]
    assert [share_of(each) for each in settings] == [0.0, 1.0, 1.0, 0.0]
    told = provenance_of(data, settings)
    words = "16 external photos of elsewhere, in the training part of 2 of 4 networks, in no validation or test part"
    assert told_in(told) == words
    assert external_data(told, settings) == [words]
    assert provenance_of(data, [{"external": 0.0}]) == {}
    assert provenance_of(small_data(), [{}]) == {}
    assert told_in({}) == ""


def test_what_a_model_has_learnt_from_has_those_photos_that_it_took() -> None:
    data = with_external(small_data())
    data = replace(data, table=data.table.assign(digest=[f"{n:016x}" * 4 for n in range(len(data))]))
    (name, more), none = Learnt.of(data).data, Learnt.of(data, external=0.0)
    assert more == "16 external photos of elsewhere"
    assert Learnt.of(data).photos == photos_in(data.table)
    assert none.data == (name,)
    assert none.photos == photos_in(data.table[data.table["part"] != EXTERNAL])
    assert len(none.photos) == 18
    half = Learnt.of(data, external=0.5)
    assert none.photos < half.photos < Learnt.of(data).photos
    assert half.data == (name, f"{len(half.photos) - 18} external photos of elsewhere")


def test_the_card_says_it_in_its_limits_and_beside_the_networks() -> None:
    facts = facts_of(ISIC_2018)
    told = provenance_of(with_external(small_data()), [{}])
    card = model_card(replace(facts, config=replace(facts.config, provenance=told)))
    assert "\n- External data: 16 external photos of elsewhere, in the training part of 1 of 1 networks, in" in card
    assert "\n- It learnt from external data too, by way of external photos; see Model." in card
    assert "xternal" not in model_card(facts)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
class TestPromoted:
    """Two studies of one data set: all of its external photos, and none."""

    @pytest.fixture(scope="class")
    def place(self, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
        folder = tmp_path_factory.mktemp("external")
        place = open_workspace(folder / "workspace")
        synthesise(folder / "ours", images=(18, 12, 12), seed=1, pixels=(48, 48))
        others(folder / "isic2018")
        external = ExternalSource(folder / "isic2018", {"MEL": "melanoma", "NV": "nevus"})
        data = prepare(
            folder / "ours", place.path, name="drawn", size=40, workers=1, look_alikes=False, external=external
        )
        searched(place, data, states=("complete",))
        searched(place, data, "none", more="  external: 0.0\n", states=("complete",))
        return place

    def test_notes_card_and_model_say_so(self, place: Workspace) -> None:
        data = open_data(place.path, "drawn")
        count = int((data.table["part"] == EXTERNAL).sum())
        made = promote("drawn", place, views=1, gates=NO_GATES)
        line = f"{count} external photos of isic2018, in the training part of 1 of 1 networks, in no validation or "
        line += "test part"
        assert f"external data: {line}" in made.notes
        card = Registry(place.tracking_uri, place.artifacts).evidence(made.run_id, "model_card.md").read_text("utf-8")
        assert f"\n- External data: {line}\n" in card
        assert f"external data: {line}" in promote("drawn", place, views=1, gates=NO_GATES).notes
        assert learnt_of(made.uri, place).photos == photos_in(data.table)

    def test_the_report_says_so(self, place: Workspace) -> None:
        page = report("drawn", place).page.read_text()
        assert "<td>external data</td><td>8 external photos of isic2018, trained on by the share that" in page

    def test_a_model_without_them_has_not_learnt_from_them(self, place: Workspace) -> None:
        data = open_data(place.path, "drawn")
        made = promote("none", place, views=1, gates=NO_GATES)
        assert not [note for note in made.notes if "external" in note]
        assert learnt_of(made.uri, place).photos == photos_in(data.table[data.table["part"] != EXTERNAL])


def learnt_of(uri: str, place: Workspace) -> Learnt:
    learnt = learnt_by(Predictor.load(model_folder(uri, place)).provenance)
    assert learnt is not None
    return learnt
