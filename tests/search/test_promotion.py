"""From a study to a registered model, on a drawn data set and three trials of one epoch."""

import io
import json
import shutil
import sqlite3
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from drawn_study import NO_GATES, searched, workspace_with_data
from only_lesion import environment, judged_there
from PIL import Image

from lesion.data.packed import open_data, open_test
from lesion.data.prepare import prepare
from lesion.predictor import Predictor
from search import proposal
from search.cli import main
from search.errors import LedgerError, PromotionError
from search.openings import Openings
from search.promotion import model_folder, promote, rehearse
from search.registered import Registry
from search.selection import select
from search.study import study_status
from search.workspace import Workspace

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with a study of three trials, the last of them pruned."""
    place = workspace_with_data(tmp_path_factory.mktemp("promotion"))
    searched(place, open_data(place.path, "drawn"))
    return place


def test_the_whole_way(place, monkeypatch):
    said: list[str] = []
    first = promote("drawn", place, views=2, progress=said.append, gates=NO_GATES)
    assert first.uri == "models:/drawn@champion"
    assert not first.repeated
    assert first.test is not None
    assert len(first.test.images) == first.test_images == len(open_test(place.path, "drawn"))
    assert "scoring the test part, 12 images, once" in said
    assert first.metrics["balanced_accuracy"][0] == pytest.approx(first.test.metrics["balanced_accuracy"])

    # The same again: nothing moves, and nobody looks at the test part.
    monkeypatch.setattr(proposal, "open_test_of", lambda *_: pytest.fail("the test part was opened a second time"))
    again = promote("drawn", place, views=2, gates=NO_GATES)
    assert again.repeated
    assert (again.version, again.metrics) == (first.version, first.metrics)

    # What was registered predicts what was scored.
    predictor = Predictor.load(model_folder(first.uri, place))
    monkeypatch.undo()
    np.testing.assert_allclose(
        predictor.predict(open_test(place.path, "drawn").images), first.test.probabilities, atol=1e-12
    )

    # MLflow serves it: bytes in, probabilities and a decision out.
    import mlflow

    client = Registry(place.tracking_uri, place.artifacts).client
    version = client.get_model_version_by_alias("drawn", "champion")
    served = mlflow.pyfunc.load_model(_artifact_folder(place, version.source))
    answer = served.predict(pd.DataFrame({"image": [_jpeg()]}))
    assert list(answer.columns) == [
        "decision", "confidence", "entropy", "disagreement", *(f"p_{c}" for c in predictor.classes)
    ]  # fmt: skip

    # Another promotion moves the alias and remembers the one before.
    second = promote("drawn", place, views=1, ensemble=1, gates=NO_GATES)
    assert second.version != first.version
    assert (first.opened, second.opened) == (Openings(1), Openings(2))
    assert "2 models of this study have seen the test part" in second.message
    aliases = client.get_registered_model("drawn").aliases
    assert {name: int(number) for name, number in aliases.items()} == {
        "champion": second.version,
        "previous": first.version,
    }
    run = client.get_run(second.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["test_balanced_accuracy"] == pytest.approx(second.metrics["balanced_accuracy"][0])
    evidence = {file.path for file in client.list_artifacts(second.run_id, "evidence")}
    assert {"evidence/test", "evidence/validation", "evidence/selection.json", "evidence/metrics.json"} <= evidence


def test_a_promoted_model_says_the_same_where_only_lesion_s_requirements_are(place, tmp_path, capsys):
    promote("drawn", place, model="elsewhere", views=2, gates=NO_GATES)
    words = ["export", "models:/elsewhere@champion", "--folder", str(tmp_path / "model")]
    assert main([*words, "--workspace", str(place.path)]) == 0
    assert "next: lesion-search predict" in capsys.readouterr().out
    photos = [tmp_path / f"{k}.png" for k in range(5)]
    for pixels, photo in zip(open_test(place.path, "drawn").images, photos, strict=False):
        Image.fromarray(np.asarray(pixels)).save(photo)
    here = Predictor.load(model_folder("models:/elsewhere@champion", place)).predict_files(photos).to_frame()
    told = judged_there(tmp_path / "model", photos, environment(tmp_path / "site"), tmp_path)
    assert json.loads(told)["judged"] == here.to_dict("list")  # to the last bit: JSON keeps them all
    assert len(here) == len(photos) == 5
    assert main([*words, "--workspace", str(place.path)]) == 2
    assert "exists; a model is not overwritten" in capsys.readouterr().err


def test_the_same_test_photos_at_another_size_are_opened_a_second_time(tmp_path):
    place = workspace_with_data(tmp_path)
    searched(place, open_data(place.path, "drawn"), states=("complete",))
    small = prepare(tmp_path / "source", place.path, name="small", size=32, workers=1, look_alikes=False)
    searched(place, small, "small", states=("complete",))
    first = promote("drawn", place, views=1, gates=NO_GATES)
    assert (first.opened, first.opened.warning) == (Openings(1), "")
    told = rehearse("small", place, views=1, gates=NO_GATES)
    assert told.opened == Openings(0, {"drawn": 1})
    second = promote("small", place, views=1, gates=NO_GATES)
    assert second.opened == Openings(1, {"drawn": 1})
    assert "1 model of this study and 1 of others (drawn) have seen the test part" in second.message
    # What the runs in MLflow tell is enough.
    shutil.rmtree(place.reports)
    assert rehearse("small", place, views=1, gates=NO_GATES).opened == Openings(1, {"drawn": 1})


def test_a_promotion_that_broke_off_at_mlflow_does_not_score_the_test_part_again(place, monkeypatch):
    monkeypatch.setattr(Registry, "register", lambda *_, **__: (_ for _ in ()).throw(ConnectionError("MLflow is down")))
    with pytest.raises(ConnectionError):
        promote("drawn", place, model="second", views=4, gates=NO_GATES)
    monkeypatch.undo()
    before = {path: path.stat().st_mtime_ns for path in (place.reports / "drawn").glob("tested-*.npy")}
    assert before
    promote("drawn", place, model="second", views=4, gates=NO_GATES)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_only_complete_trials_within_a_standard_error_are_chosen(place):
    status = study_status(place, "drawn")
    data = open_data(place.path, "drawn")
    selection = select(place, status, data, 5)
    assert all(row.state == "complete" for row in selection.rows)
    best = selection.rows[0]
    far = replace(best, number=9, value=best.value - selection.standard_error - 0.01)
    near = replace(best, number=8, value=best.value - 0.5 * selection.standard_error)
    rows = select(place, replace(status, rows=(far, near, best)), data, 5).rows
    assert [row.number for row in rows] == [best.number, 8]


def test_a_study_that_is_being_searched_is_left_alone(place, monkeypatch):
    running = replace(study_status(place, "drawn"), driven=True)
    monkeypatch.setattr(proposal, "study_status", lambda *_: running)
    with pytest.raises(PromotionError, match="is being searched at this moment"):
        promote("drawn", place, gates=NO_GATES)


@pytest.mark.parametrize(
    ("call", "problem", "message"),
    [
        (lambda p: promote("nothing", p), LedgerError, "no study 'nothing'; known: drawn"),
        (lambda p: promote("drawn", p, ensemble=9), PromotionError, "an ensemble of 9 trials: must be 1 to 5"),
        (lambda p: model_folder("models:/nobody@champion", p), PromotionError, "no model models:/nobody@champion"),
        (lambda p: model_folder("nowhere/model", p), PromotionError, "no model 'nowhere/model'"),
    ],
)
def test_what_is_refused(place, call, problem, message):
    with pytest.raises(problem, match=message):
        call(place)


def test_other_data_under_the_same_name_are_refused(place, monkeypatch):
    status = study_status(place, "drawn")
    before = replace(status, identity=replace(status.identity, data_hash="0" * 64))
    monkeypatch.setattr(proposal, "study_status", lambda *_: before)
    with pytest.raises(PromotionError, match="searched on other data"):
        promote("drawn", place, gates=NO_GATES)


def _artifact_folder(place: Workspace, source: str) -> str:
    with sqlite3.connect(place.path / "mlflow.db") as database:
        query = "select artifact_location from logged_models where model_id = ?"
        (location,) = database.execute(query, (source.removeprefix("models:/"),)).fetchone()
    return str(location)


def _jpeg() -> bytes:
    photo = io.BytesIO()
    Image.new("RGB", (50, 40), (200, 150, 130)).save(photo, "JPEG")
    return photo.getvalue()
