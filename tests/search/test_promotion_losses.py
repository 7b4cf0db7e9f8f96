"""Promotion where something is lost, elsewhere, or asked differently: checkpoints, the data set, the classes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_study import NO_GATES, searched, workspace_with_data

from lesion.data.packed import PackedDataset, open_data, open_test
from lesion.errors import DataError
from lesion.predictor import Predictor
from search.doctor import examine
from search.errors import PromotionError
from search.identity import Identity
from search.members import Members
from search.predictions import PREDICTIONS, save_predictions
from search.promotion import model_folder, promote, rehearse
from search.registered import KEY, Registry
from search.reopened import data_of, open_test_of, through_task
from search.selection import select
from search.study import study_status
from search.versions import alone
from search.workspace import Workspace, open_workspace

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return workspace_with_data(tmp_path_factory.mktemp("losses"))


def study(place: Workspace, name: str, more: str = "", states: tuple[str, ...] = ("complete",) * 2) -> Members:
    searched(place, open_data(place.path, "drawn"), name, more, states)
    status = study_status(place, name)
    return Members(place, status, through_task(status.identity, open_data(place.path, "drawn")))


@pytest.mark.parametrize("loss", ["gone", "torn", "of another study"])
def test_a_checkpoint_that_is_lost_is_passed_over_for_the_next_best_trial(place: Workspace, loss: str) -> None:
    name = f"lost-{loss.split(maxsplit=1)[0]}"
    members = study(place, name)
    status, data = study_status(place, name), open_data(place.path, "drawn")
    best, *_ = select(place, status, data, 1).rows
    (checkpoint,) = place.trial(name, best.number).glob("*.ckpt")
    if loss == "gone":
        checkpoint.unlink()
    elif loss == "torn":
        checkpoint.write_bytes(checkpoint.read_bytes()[:-9])
    else:
        status = replace(status, identity=replace(status.identity, id="another"))
        members = Members(place, status, data)
    said: list[str] = []
    if loss == "of another study":  # every checkpoint is
        with pytest.raises(PromotionError, match=r"no complete trial .* can be promoted:\n  .*\n  .* another study"):
            select(place, status, data, 5, why_not=members.why_not, say=said.append)
    else:
        chosen = select(place, status, data, 5, why_not=members.why_not, say=said.append)
        assert [row.number for row in chosen.rows] == [1 - best.number]
    assert said[0].startswith(f"trial {best.number} (")
    reason = {"gone": "it is not there", "torn": "is damaged: its checksum differs"}.get(loss, loss)
    assert "is passed over: the checkpoint of trial" in said[0]
    assert reason in said[0]
    if loss == "gone":
        promoted = promote(name, place, views=1, gates=NO_GATES)
        assert [row.number for row in promoted.members] == [1 - best.number]
        assert promoted.notes == (said[0],)


def test_predictions_of_another_trial_are_passed_over(place: Workspace) -> None:
    study(place, "mixed")
    status, data = study_status(place, "mixed"), open_data(place.path, "drawn")
    best, *_ = select(place, status, data, 1).rows
    path = place.trial("mixed", best.number) / PREDICTIONS
    save_predictions(path, np.full((3, 3), 1 / 3), {"epoch": 1, "value": 0.125})
    said: list[str] = []
    assert select(place, status, data, 1, say=said.append).rows[0].number == 1 - best.number
    assert "holds predictions of value 0.125 after epoch 1, not those of this trial" in said[0]
    path.write_bytes(b"torn")
    select(place, status, data, 1, say=said.append)
    assert f"{path} cannot be read" in said[1]


def test_what_was_promoted_needs_no_checkpoints_to_be_promoted_again(place: Workspace) -> None:
    study(place, "kept")
    first = promote("kept", place, views=1, gates=NO_GATES)
    for checkpoint in place.checkpoints("kept").glob("*/*.ckpt"):
        checkpoint.unlink()
    again = promote("kept", place, views=1, gates=NO_GATES)
    assert (again.repeated, again.version) == (True, first.version)


@pytest.mark.parametrize("after", ["its run was made", "its version was made", "its run was ended"])
def test_a_promotion_that_was_killed_is_completed_and_leaves_no_run_running(
    place: Workspace, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    name = f"killed-{len(after)}"
    study(place, name)
    registry = Registry(place.tracking_uri, place.artifacts)
    with monkeypatch.context() as patch:
        strike(patch, after)
        with pytest.raises(Killed):
            promote(name, place, views=1, gates=NO_GATES)
    runs = registry.client.search_runs([registry.client.get_experiment_by_name(name).experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED" if after == "its run was ended" else "RUNNING"]

    found = [finding.kind for finding in examine(place, name).findings]
    assert ("zombie promotion" in found) == (after != "its run was ended")
    promoted = promote(name, place, views=1, gates=NO_GATES)
    assert (promoted.version, promoted.champion, promoted.opened.own) == (1, True, 1)
    assert promoted.repeated == (after != "its run was made")
    assert promote(name, place, views=1, gates=NO_GATES).version == 1
    assert [version.tags[KEY] != "" for version in registry.versions(name)] == [True]
    runs = registry.client.search_runs([registry.client.get_experiment_by_name(name).experiment_id])
    promotions = sorted(run.info.status for run in runs if KEY in run.data.tags)
    assert promotions == (["FAILED", "FINISHED"] if after == "its run was made" else ["FINISHED"])

    registry.client.update_run(promoted.run_id, status="RUNNING")
    with alone(place, "another model"):  # at work, as far as anybody can tell
        assert "zombie promotion" not in [finding.kind for finding in examine(place, name).findings]
    examine(place, name, fix=True)
    assert registry.client.get_run(promoted.run_id).info.status == "FINISHED"


class Killed(BaseException):
    """What a kill -9 looks like: nothing on its way may answer it, so `strike` silences who would."""


def strike(patch: pytest.MonkeyPatch, after: str) -> None:
    """Have the next promotion die in the middle of its registration."""

    def die(*arguments: object, **options: object) -> None:
        raise Killed

    def do_nothing(*arguments: object, **options: object) -> None:
        pass

    logs = Registry._log_model

    def log_and_die(self: Registry, run_id: str, name: str, folder: Path) -> int:
        logs(self, run_id, name, folder)
        raise Killed

    if after == "its run was ended":
        patch.setattr(Registry, "tag", die)
        return
    patch.setattr(Registry, "_log_model", log_and_die if after == "its version was made" else die)
    from mlflow.tracking import MlflowClient

    patch.setattr(MlflowClient, "set_terminated", do_nothing)


def test_openings_are_known_where_the_reports_are_gone_and_in_another_workspace(
    place: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    study(place, "counted")
    first = promote("counted", place, views=1, gates=NO_GATES)
    before = first.opened.by_others
    moved = place.reports.rename(place.path / "elsewhere")
    try:
        again = promote("counted", place, views=2, gates=NO_GATES)
        assert (first.opened.own, again.opened.own) == (1, 2)
        registry = Registry(place.tracking_uri, place.artifacts)
        registry.client.delete_run(first.run_id)
        assert rehearse("counted", place, views=1, gates=NO_GATES).opened.own == 2
        assert before == again.opened.by_others
    finally:
        shutil.rmtree(place.reports, ignore_errors=True)
        moved.rename(place.reports)
    # Another workspace with the same data, whose promotions go to the same MLflow.
    mine = open_workspace(tmp_path_factory.mktemp("other"))
    searched(mine, PackedDataset.open(place.data / "drawn"), "mine-too", states=("complete",))
    told = rehearse("mine-too", mine, views=1, gates=NO_GATES, tracking_uri=place.tracking_uri)
    assert told.opened.own == 0
    assert told.opened.others["counted"] == 2


def test_a_binary_task_is_promoted_as_one(place: Workspace) -> None:
    study(place, "binary", "task: melanoma\n", ("complete",))
    promoted = promote("binary", place, views=1, gates=NO_GATES)
    assert promoted.test is not None
    assert promoted.test.classes == ("rest", "melanoma")
    assert promoted.metrics["mean_auc"] == promoted.metrics["auc_melanoma"]
    raw = open_test(place.path, "drawn")
    assert np.array_equal(promoted.test.labels, raw.labels == raw.classes.index("melanoma"))
    predictor = Predictor.load(model_folder(promoted.uri, place))
    assert predictor.classes == ("rest", "melanoma")
    assert "location" not in predictor.provenance["identity"] or not predictor.provenance["identity"]["location"]


def test_data_outside_the_workspace_are_found_by_their_path(
    place: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    mine = open_workspace(tmp_path_factory.mktemp("mine"))
    searched(mine, PackedDataset.open(place.data / "drawn"), "mine", states=("complete",))
    assert study_status(mine, "mine").identity.location == str(place.data / "drawn")
    promoted = promote("mine", mine, views=1, gates=NO_GATES)
    assert promoted.test_images == len(open_test(place.path, "drawn"))


def test_the_test_part_of_other_data_is_not_opened(place: Workspace, tmp_path_factory: pytest.TempPathFactory) -> None:
    data = open_data(place.path, "drawn")
    other = replace(data, manifest={**data.manifest, "test": {"content_hash": "0" * 64}})
    with pytest.raises(PromotionError, match="is the test part of other data than"):
        open_test_of(place, other)
    with pytest.raises(DataError, match="has no test part; prepare it again with a test share"):
        open_test_of(place, replace(data, manifest={**data.manifest, "test": None}))
    # A copy of the data alone: the workspace has its test part.
    copy = tmp_path_factory.mktemp("elsewhere") / "sets" / "drawn"
    shutil.copytree(data.path, copy)
    assert len(open_test_of(place, PackedDataset.open(copy))) == len(open_test(place.path, "drawn"))


def test_data_that_are_nowhere_are_named(place: Workspace) -> None:
    identity = Identity("gone", "d1", "holdout", "s1", "mean_auc", "maximize", {}, "/nowhere/gone")
    with pytest.raises(DataError, match="no prepared data set 'gone'; known: drawn"):
        data_of(place, "study", identity)
    with pytest.raises(PromotionError, match=r"study was searched on other data than .*drawn holds now"):
        data_of(place, "study", replace(identity, data="drawn"))
