"""What MLflow shows of a study beside numbers: whole, once, and never at the cost of a search."""

import csv
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from drawn_study import run_again, searched, workspace_with_data
from mlflow.tracking import MlflowClient
from reported_study import CLASSES, reported
from sklearn.metrics import precision_score, roc_curve

from lesion.data.packed import open_data
from search.identity import Identity
from search.interrupts import Interrupts
from search.mirror import deliver_all, mirror_of
from search.reporting.artifacts import DRAWN, PICTURED, TABLED, log_series, log_study, policies_of, wide_row
from search.reporting.judged import judge_of
from search.rows import TrialRow
from search.showing import show
from search.study import StudyStatus, study_status, sync
from search.tracking import PARENT, StudyRuns
from search.workspace import Workspace

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
TABLES = {"per_class.csv", "confusion_by_epoch.csv", "wide.csv", "curves.csv", "reliability.csv"}
FIGURES = {"roc.png", "confusion.png", "reliability.png"}
OF_EPOCHS = {"epochs.csv", "epochs.png"}
"""What trials of an earlier release lack, whose epochs were not kept."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A study of seven trials: 0, 3 and 6 are complete, 5 failed, the others pruned; of two single images are told."""
    monkeypatch.setattr("search.reporting.artifacts.TRIALS", 2)
    place = reported(tmp_path, trials=7)
    status = study_status(place, "photos")
    deliver_all(mirror_of(place, "photos", status.identity), status.rows)
    return place


def runs_of(place: Workspace, status: StudyStatus) -> StudyRuns:
    return mirror_of(place, status.name, status.identity).runs


def files_of(runs: StudyRuns, number: int, folder: str = "evaluation") -> set[str]:
    return {file.path.removeprefix(f"{folder}/") for file in runs.client.list_artifacts(runs.runs()[number].id, folder)}


def read(runs: StudyRuns, number: int, name: str) -> list[dict[str, str]]:
    path = runs.client.download_artifacts(runs.runs()[number].id, f"evaluation/{name}")
    return list(csv.DictReader(io.StringIO(Path(path).read_text())))


def statuses(runs: StudyRuns) -> dict[int, tuple[str, str]]:
    return {number: (run.id, run.status) for number, run in runs.runs().items()}


def test_trials_get_tables_complete_ones_figures_and_the_study_pictures(place: Workspace) -> None:
    status = study_status(place, "photos")
    before = statuses(runs_of(place, status))
    said: list[str] = []
    assert log_study(place, status, say=said.append) == ""
    runs = runs_of(place, status)
    assert statuses(runs) == before, "no run is made, begun or ended for it"
    best = sorted((row for row in status.rows if row.state == "complete"), key=lambda row: -float(row.value or 0))
    assert len(said) == 6 + 1 + 3
    assert said[7:] == [f"figures of trial {row.number}" for row in best], "the best first"
    for row in status.rows:
        whole = TABLES | (FIGURES if row in best else set()) | ({"per_image.csv"} if row in best[:2] else set())
        assert files_of(runs, row.number) == (set() if row.state == "failed" else whole)
    assert files_of(runs, PARENT, "data") == {"class_counts.png", "samples.png", "augmentations"}
    sheets = runs.client.list_artifacts(runs.runs()[PARENT].id, "data/augmentations")
    assert [file.path for file in sheets] == ["data/augmentations/dihedral.png"]

    judge = judge_of(place, status)
    assert not isinstance(judge, str)
    row = best[0]
    (wide,) = read(runs, row.number, "wide.csv")
    assert (wide["study"], wide["trial"], wide["loss"]) == ("photos", str(row.number), row.settings["loss"])
    assert float(wide["mean_auc"]) == pytest.approx(row.value)
    per_class = read(runs, row.number, "per_class.csv")
    assert [each["class"] for each in per_class] == list(CLASSES)
    assert float(per_class[0]["f1"]) == pytest.approx(row.metrics["f1_melanoma"])
    counted = read(runs, row.number, "confusion_by_epoch.csv")
    assert {each["epoch"] for each in counted} == {str(row.epoch)}, "of an earlier release only the last is known"
    assert sum(int(each[name]) for each in counted for name in (*CLASSES, "undecided")) == len(judge.labels)
    assert [each["image"] for each in read(runs, row.number, "per_image.csv")] == judge.images

    assert log_study(place, status, say=said.append) == ""
    assert len(said) == 10, "nothing is made twice"


def test_points_of_roc_and_precision_are_those_of_scikit_learn(place: Workspace) -> None:
    status = study_status(place, "photos")
    assert log_study(place, status) == ""
    judge, runs = judge_of(place, status), runs_of(place, status)
    assert not isinstance(judge, str)
    for row in (row for row in status.rows if row.state in ("complete", "pruned")):
        probabilities, points = judge.probabilities(row), read(runs, row.number, "curves.csv")
        assert probabilities is not None
        for k, name in enumerate(CLASSES):
            own = [each for each in points if each["class"] == name]
            fpr, tpr, thresholds = roc_curve(judge.labels == k, probabilities[:, k], drop_intermediate=False)
            np.testing.assert_allclose([float(each["false_positive_rate"]) for each in own], fpr)
            np.testing.assert_allclose([float(each["sensitivity"]) for each in own], tpr)
            assert (own[0]["threshold"], own[0]["precision"]) == ("", "")
            np.testing.assert_allclose([float(each["threshold"]) for each in own[1:]], thresholds[1:])
            for each in own[1::30]:
                called = probabilities[:, k] >= float(each["threshold"])
                expected = precision_score(judge.labels == k, called)
                assert float(each["precision"]) == pytest.approx(expected)
        bins = read(runs, row.number, "reliability.csv")
        assert sum(int(each["images"]) for each in bins) == len(judge.labels)
        right = sum(int(each["images"]) * float(each["right"]) for each in bins) / len(judge.labels)
        assert right == pytest.approx(row.metrics["accuracy"])


def test_whatever_goes_wrong_is_told_and_the_next_time_makes_what_is_missing(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, whole = study_status(place, "photos"), MlflowClient.log_artifacts
    before = statuses(runs_of(place, status))
    assert log_study(place, status, "http://127.0.0.1:9").startswith("MlflowException: ")
    (place.data / "photos").rename(place.data / "elsewhere")
    assert log_study(place, status).startswith("DataError: ")
    (place.data / "elsewhere").rename(place.data / "photos")
    with monkeypatch.context() as patch:
        patch.setattr("search.reporting.artifacts.as_csv", raising(OSError(28, "full")))
        assert log_study(place, status) == "OSError: [Errno 28] full"
    looks = iter([False, True])
    assert log_study(place, status, enough=lambda: next(looks)).startswith("no time was left for tables of trial ")

    calls: list[str] = []

    def lose_the_third_answer(self: MlflowClient, run_id: str, *arguments: Any) -> None:
        calls.append(run_id)
        whole(self, run_id, *arguments)
        if len(calls) == 3:
            raise ConnectionError("the answer was lost\nand more of it")

    monkeypatch.setattr(MlflowClient, "log_artifacts", lose_the_third_answer)
    assert log_study(place, status) == "ConnectionError: the answer was lost"
    assert tagged(place, status) == {TABLED: 3, DRAWN: 0, PICTURED: 0}
    assert sync(place, "photos") == ""
    assert tagged(place, status) == {TABLED: 6, DRAWN: 3, PICTURED: 1}
    assert len(calls) == 3 + 3 + 1 + 3
    assert statuses(runs_of(place, status)) == before


def tagged(place: Workspace, status: StudyStatus) -> dict[str, int]:
    """How many runs have each tag that says what is there."""
    runs = runs_of(place, status).runs().values()
    return {tag: sum(tag in run.tags for run in runs) for tag in (TABLED, DRAWN, PICTURED)}


def raising(error: Exception) -> Any:
    def fail(*_: Any) -> Any:
        raise error

    return fail


def test_figures_are_left_off_when_time_is_up_or_a_signal_came() -> None:
    interrupts = Interrupts()
    assert not interrupts.within(60)()
    assert interrupts.within(-1)()
    interrupts._count = 1
    assert interrupts.within(60)()


@pytest.mark.parametrize(("pending", "problem", "signals"), [(3, None, 0), (0, "refused", 0), (0, None, 1)])
def test_the_end_of_a_session_is_not_held_up(
    monkeypatch: pytest.MonkeyPatch, pending: int, problem: str | None, signals: int
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("search.reporting.artifacts.log_study", lambda *given, **more: asked.append(given) or "")
    interrupts = Interrupts()
    nowhere: Any = SimpleNamespace()
    assert show(nowhere, nowhere, _mirror(0, None), interrupts) == ""
    assert len(asked) == 1
    interrupts._count = signals
    assert show(nowhere, nowhere, _mirror(pending, problem), interrupts) == ""
    assert len(asked) == 1


def _mirror(pending: int, problem: str | None) -> Any:
    return SimpleNamespace(pending=pending, problem=problem)


def test_finalists_get_all_of_it_each_on_its_own_fold(tmp_path: Path) -> None:
    place = workspace_with_data(tmp_path)
    data = open_data(place.path, "drawn")
    searched(place, data)
    series = run_again(place, data, "drawn", folds=2)
    mirror = mirror_of(place, series.name, series.identity, experiment="drawn")
    deliver_all(mirror, series.rows)
    assert log_series(place, series) == ""
    runs = mirror_of(place, series.name, series.identity, experiment="drawn").runs
    assert PICTURED not in runs.runs()[PARENT].tags
    for row in series.rows:
        assert files_of(runs, row.number) == TABLES | FIGURES | OF_EPOCHS | {"per_image.csv"}
        held_out = data.table["image"].iloc[data.split(row.split).validation]
        assert [each["image"] for each in read(runs, row.number, "per_image.csv")] == list(held_out)
        (wide,) = read(runs, row.number, "wide.csv")
        assert (wide["finalist_of"], wide["split"]) == (str(row.finalist_of), row.split)
        epochs = read(runs, row.number, "epochs.csv")
        assert [int(each["epoch"]) for each in epochs] == list(range(1, row.epoch + 1))
        assert {name: float(epochs[-1][name]) for name in row.metrics} == pytest.approx(row.metrics)
    first = series.rows[0]
    counts = np.array([[int(each[name]) for name in (*data.classes, "undecided")]
                       for each in read(runs, first.number, "confusion_by_epoch.csv")])  # fmt: skip
    labels = data.labels[data.split(first.split).validation]
    np.testing.assert_array_equal(counts.sum(axis=1), np.bincount(labels, minlength=3))


def test_the_policies_of_a_study_are_those_of_its_space() -> None:
    def identity(**components: Any) -> Identity:
        return Identity("d", "", "s", "", "auc", "maximize", {"components": components})

    assert policies_of(identity()) == ["dihedral"]
    told = identity(augmentation={"strong": {}, "colour": {}}, balancing={"none": {}, "copies+cap": {}})
    assert policies_of(told) == ["colour", "strong", "copies"]


def test_a_setting_that_is_called_like_a_fact_hides_none() -> None:
    settings = {"loss": "focal", "seed": 11, "mean_auc": "rank"}
    row = TrialRow(3, "complete", 0.8, 4, settings, {4: 0.8}, {"seed": 5})
    wide = wide_row("photos", row, {"mean_auc": 0.8})
    assert (wide["seed"], wide["setting seed"]) == (5, 11)
    assert (wide["mean_auc"], wide["setting mean_auc"]) == (0.8, "rank")
    assert wide["loss"] == "focal"
    assert "setting loss" not in wide
