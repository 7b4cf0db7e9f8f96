"""Finalists in the ledger: exactly the runs asked for, whatever happened; what starts Ray is marked slow."""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fake_training import FakeTraining, Unhurried, make_data, make_space

from lesion.data import packed
from lesion.data.packed import PackedDataset, open_data
from lesion.errors import DataError, WeightsError
from search import cli, run_finalists, run_study, studies, study_status
from search.cluster import joined
from search.errors import FinalistsError, LedgerError, StudyError
from search.finalists import _require_judges, choose
from search.identity import Identity
from search.ledger import Ending, open_ledger
from search.mirror import mirror_of
from search.rows import TrialRow
from search.series import Entries, Entry, SeriesLedger, series_identity, series_of
from search.study import StudyStatus, identity_of, sync
from search.suspects import LOSSES
from search.tracking import PARENT
from search.workspace import Workspace, open_workspace

HERE = Path(__file__).parent
IDENTITY = Identity("tiny", "d1", "holdout", "s1", "mean_auc", "maximize", {"epochs": 3})


def slow(test: Any) -> Any:
    """A real session: seconds where the machine is free, minutes where others have it."""
    return pytest.mark.slow(pytest.mark.timeout(600)(test))


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    """A workspace with a search of three complete trials and one pruned, done without Ray."""
    make_data(tmp_path)
    place = open_workspace(tmp_path)
    space = make_space(tmp_path)
    ledger = open_ledger(place.ledger_url, "tiny", identity_of(space, open_data(tmp_path, "tiny")), space.seed)
    for state, value in (("complete", 0.7), ("complete", 0.9), ("pruned", 0.95), ("complete", 0.8)):
        row = ledger.ask(space)
        ledger.finish(row.number, Ending(state, 2 if state == "pruned" else 3, value))
    return place


def entries(trials: int = 2, seeds: int = 2, series: str = "tiny.finalists") -> Entries:
    return Entries(
        series, tuple(Entry(trial, index, {"lr": trial / 10}) for index in range(seeds) for trial in range(trials))
    )


def opened(place: Workspace, asked: Entries) -> SeriesLedger:
    return SeriesLedger(open_ledger(place.ledger_url, asked.series, IDENTITY, 7), asked)


def asked_of(rows: list[TrialRow]) -> list[tuple[int | None, int]]:
    return [(row.finalist_of, row.index) for row in rows]


def test_each_run_asked_for_gets_one_row_with_its_settings_and_seed(place: Workspace) -> None:
    ledger = opened(place, entries())
    rows = [ledger.ask(ledger.entries) for _ in range(4)]
    assert asked_of(rows) == [(0, 0), (1, 0), (0, 1), (1, 1)]
    assert [row.settings for row in rows] == [{"lr": 0.0}, {"lr": 0.1}] * 2
    assert [row.label for row in rows] == ["0 seed 1", "1 seed 1", "0 seed 2", "1 seed 2"]
    assert len({row.seed for row in rows}) == 4
    # A seed is a function of trial and index: asked for in another order, it is the same.
    other = opened(place, Entries("tiny.finalists-9-epochs", tuple(reversed(entries().entries))))
    again = [other.ask(other.entries) for _ in range(4)]
    assert {(row.finalist_of, row.index): row.seed for row in again} == {
        (row.finalist_of, row.index): row.seed for row in rows
    }
    assert again[0].label == "1 seed 2 of 9 epochs"


def test_more_seeds_are_missing_and_fewer_hide_the_rest(place: Workspace) -> None:
    first = opened(place, entries(trials=2, seeds=1))
    for _ in range(2):
        first.ask(first.entries)
    first.finish(0, Ending("complete", 3, 0.5))
    more = opened(place, entries(trials=2, seeds=2))
    assert asked_of(more.rows()) == [(0, 0), (1, 0)]
    assert [entry.key for entry in more.entries.missing(more.rows())] == [(0, 1), (1, 1)]
    assert asked_of(more.reconcile()) == [(1, 0)]
    fewer = opened(place, entries(trials=1, seeds=1))
    assert asked_of(fewer.rows()) == [(0, 0)]
    assert fewer.reconcile() == []


def test_others_are_asked_for_and_run_whatever_the_series_has(place: Workspace) -> None:
    """The best two were trials 0 and 1; the search went on, and now they are 0 and 2."""

    def session(*trials: int) -> list[tuple[int | None, int]]:
        asked = Entries("tiny.finalists", tuple(Entry(trial, 0, {"lr": trial / 10}) for trial in trials))
        ledger, ran = opened(place, asked), []
        while row := ledger.ask(asked, len(trials)):
            ledger.finish(row.number, Ending("complete", 3, 0.5))
            ran.append((row.finalist_of, row.index))
        assert sorted(asked_of(ledger.rows())) == [(trial, 0) for trial in trials]
        return ran

    assert session(0, 1) == [(0, 0), (1, 0)]
    assert session(0, 2) == [(2, 0)]
    assert session(3) == [(3, 0)]
    assert session(0, 1, 2, 3) == []


def test_a_row_that_ran_beside_others_is_not_failed_though_it_is_asked_for_alone(place: Workspace) -> None:
    for _ in range(LOSSES):
        ledger = opened(place, entries(trials=2, seeds=1))
        rows = ledger.reconcile() or [ledger.ask(ledger.entries) for _ in range(2)]
        for row in rows:
            ledger.begin(row.number)
    alone = opened(place, entries(trials=1, seeds=1))
    assert [(row.number, row.state, row.losses) for row in alone.reconcile()] == [(0, "running", LOSSES)]


@pytest.mark.parametrize("noted", [{}, {"finalist_of": 1, "index": 0, "series": "tiny.finalists"}])
def test_a_row_that_a_session_died_over_takes_what_is_missing(place: Workspace, noted: dict[str, Any]) -> None:
    ledger = opened(place, entries(trials=2, seeds=1))
    ledger.ask(ledger.entries)
    trial = ledger.study.ask()
    for name, value in noted.items():
        trial.set_user_attr(name, value)
    ledger = opened(place, entries(trials=2, seeds=1))
    blank = next(row for row in ledger.reconcile() if not row.settings)
    row = ledger.adopt(blank, ledger.entries)
    assert (row.number, row.finalist_of, row.index, row.settings) == (1, 1, 0, {"lr": 0.1})
    # Nothing is missing any more, so another such row is nobody's.
    ledger.study.ask()
    assert asked_of(opened(place, entries(trials=2, seeds=1)).rows()) == [(0, 0), (1, 0)]


def test_the_best_are_chosen_complete_ones_first(place: Workspace) -> None:
    status = study_status(place, "tiny")
    chosen, notes = choose(status, 3)
    assert ([row.number for row in chosen], notes) == ([1, 3, 0], ())
    chosen, (few, pruned) = choose(status, 6)
    assert [row.number for row in chosen] == [1, 3, 0, 2]
    assert few == "only 4 different settings have ended, 6 were asked for"
    assert "trial 2 had been pruned" in pruned
    chosen, notes = choose(status, 1, [2, 0, 2])
    assert ([row.number for row in chosen], notes) == ([2, 0], ())
    less = replace(status, identity=replace(status.identity, direction="minimize"))
    assert [row.number for row in choose(less, 2)[0]] == [0, 3]
    same = tuple(replace(row, settings={"lr": 1.0}) for row in status.rows)
    assert [row.number for row in choose(replace(status, rows=same), 2)[0]] == [1]


@pytest.mark.parametrize(
    ("arguments", "problem", "message"),
    [
        ({"trials": [9, 1]}, FinalistsError, "tiny has no settings of trial 9; 'lesion-search status tiny --top 0'"),
        ({"seeds": 2, "folds": 3}, FinalistsError, "either fresh seeds or folds"),
        ({"folds": 3}, FinalistsError, "3 folds: tiny is prepared with 0"),
    ],
)
def test_what_cannot_be_asked(place: Workspace, arguments: dict[str, Any], problem: type, message: str) -> None:
    with pytest.raises(problem, match=message):
        run_finalists("tiny", place, build=FakeTraining, **arguments)
    assert series_of(place, "tiny") == ()


def test_names_of_series_are_kept_for_them(place: Workspace) -> None:
    opened(place, entries())
    assert studies(place) == ["tiny"]
    assert [series.name for series in series_of(place, "tiny")] == ["tiny.finalists"]
    with pytest.raises(LedgerError, match=r"no study 'tiny\.finalists'"):
        study_status(place, "tiny.finalists")
    with pytest.raises(StudyError, match="those of finalists"):
        run_study(make_space(place.path), place, name="mine.finalists-folds", build=FakeTraining)


def test_status_tells_of_them(place: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    status = study_status(place, "tiny")
    chosen, _ = choose(status, 2)
    asked = Entries("tiny.finalists", tuple(Entry(row.number, 0, row.settings) for row in chosen))
    identity = series_identity(status.identity, open_data(place.path, "tiny"), 3, on_folds=False)
    ledger = SeriesLedger(open_ledger(place.ledger_url, asked.series, identity, 7), asked)
    for value in (0.6, 0.7):
        ledger.finish(ledger.ask(asked).number, Ending("complete", 3, value))
    assert cli.main(["status", "tiny", "--workspace", str(place.path)]) == 0
    said = capsys.readouterr().out
    assert said.index("tiny: mean_auc on tiny") < said.index("tiny: finalists on fresh seeds, 3 epochs")
    # 0.9 became 0.6 and 0.8 became 0.7: drops of 0.3 and 0.1.
    assert "expected drop from search score to fresh score: +0.2000" in said
    assert "trial 1, went from 0.9000 to 0.6000 and is number 2 of 2" in said
    assert cli.main(["status", "tiny", "--json", "--workspace", str(place.path)]) == 0
    (listed,) = json.loads(capsys.readouterr().out)["finalists"]
    assert [(each["trial"], each["mean"], each["interval"]) for each in listed["standings"]] == [
        (3, 0.7, None),  # no predictions are stored, so there is no interval
        (1, 0.6, None),
    ]
    assert cli.main(["status", "--workspace", str(place.path)]) == 0
    assert "finalists" not in capsys.readouterr().out


def test_data_torn_elsewhere_are_refused(place: Workspace) -> None:
    make_data(place.path, holdout=(3, 5, 6))
    with pytest.raises(StudyError, match="tiny was searched on something else:\n  split: was 'holdout'"):
        run_finalists("tiny", place, build=FakeTraining)


def test_weights_that_are_gone_are_told_before_every_run_fails(place: Workspace) -> None:
    status = study_status(place, "tiny")
    ledger = open_ledger(place.ledger_url, "weighed", status.identity, 7)
    ledger.finish(ledger.ask(_Given({"backbone.resnet18.weights": "gone.pth"})).number, Ending("complete", 3, 0.5))
    with pytest.raises(WeightsError, match=r"trial 0: no weights file gone\.pth"):
        run_finalists("weighed", place, build=FakeTraining)


class Planned(Exception):  # noqa: N818 - no error
    """Instead of a session: what it was to do."""

    def __init__(self, plan: Any, *others: Any) -> None:
        super().__init__()
        self.plan = plan


def planned(place: Workspace, monkeypatch: pytest.MonkeyPatch, **asked: Any) -> Any:
    """The plan that finalists of `tiny` would be run by."""
    monkeypatch.setattr("search.finalists.Session", Planned)

    def run(self: Any) -> None:
        raise self

    monkeypatch.setattr(Planned, "run", run, raising=False)
    with pytest.raises(Planned) as caught:
        run_finalists("tiny", place, build=FakeTraining, **asked)
    return caught.value.plan


def change_a_label(folder: Path) -> None:
    """By hand: the manifest still says what was there."""
    table = pd.read_parquet(folder / packed.TABLE)
    table.loc[3, "label"] = 2
    table.to_parquet(folder / packed.TABLE)


def test_data_changed_by_hand_are_refused_before_and_during_a_session(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(place, monkeypatch)
    plan.require_unchanged()
    change_a_label(place.data / "tiny")
    with pytest.raises(StudyError, match="changed while the study ran"):
        plan.require_unchanged()
    with pytest.raises(DataError, match=r"content hash is .*the manifest says"):
        run_finalists("tiny", place, build=FakeTraining)


def test_each_node_gets_its_own_copy_of_data_at_an_address(
    place: Workspace, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = tmp_path_factory.mktemp("shelf")
    (place.data / "tiny").rename(shelf / "tiny")
    monkeypatch.setenv("LESION_NODE_DATA", str(shelf / "copies"))
    address = f"file://{shelf / 'tiny'}"
    run_study(make_space(place.path), place, data=address, trials=0, build=FakeTraining)
    assert study_status(place, "tiny").identity.location == address
    job = planned(place, monkeypatch).job
    assert (job.source, job.data_hash) == (address, study_status(place, "tiny").identity.data_hash)
    assert job.data.is_relative_to(shelf / "copies")


def with_folds(place: Workspace) -> PackedDataset:
    """The set torn in two folds as well; of the first the validation part has no nevus, of the second no melanoma."""
    manifest = place.data / "tiny" / packed.MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"splits": ["holdout", "fold-0", "fold-1"]}))
    return open_data(place.path, "tiny")


def test_a_fold_on_which_every_run_would_fail_is_refused(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    data = with_folds(place)
    with pytest.raises(
        DataError, match=r"mean_auc is undefined on the validation part of fold-1 \(.*image of melanoma.*--seeds"
    ):
        run_finalists("tiny", place, folds=2, build=FakeTraining)
    assert series_of(place, "tiny") == ()
    assert planned(place, monkeypatch, seeds=1).target == 4
    # What is not judged by it may lack a class, and that is said.
    status = study_status(place, "tiny")
    lenient = replace(status, identity=replace(status.identity, objective="balanced_accuracy"))
    notes = list(_require_judges(lenient, status.rows, data, data.splits))
    assert [note.split(":")[0] for note in notes] == [f"split fold-{n} of tiny" for n in range(2)]
    follows = [replace(status.rows[0], settings={"keep": "best", "monitor": "macro_auc"})]
    with pytest.raises(DataError, match="macro_auc is undefined on the validation part of fold-0"):
        list(_require_judges(lenient, follows, data, data.splits))


class _Given:
    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings

    def sample(self, trial: Any) -> dict[str, Any]:
        return self.settings


def test_a_series_is_of_its_study_and_of_its_epochs(place: Workspace) -> None:
    identity, data = study_status(place, "tiny").identity, open_data(place.path, "tiny")
    same, longer = (series_identity(identity, data, epochs, on_folds=False) for epochs in (3, 9))
    assert len({identity.hash, same.hash, longer.hash}) == 3
    assert (same.split, same.id) == (identity.split, "")
    assert series_identity(identity, data, 3, on_folds=True).split == "folds"


@pytest.fixture
def shared_ray() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"PYTHONPATH": str(HERE), "RAY_worker_niceness": "0"}.items():
            patch.setenv(name, value)
        with joined(None):
            yield


@slow
def test_an_interrupted_session_is_continued_and_nothing_is_run_twice(shared_ray: None, place: Workspace) -> None:
    pressed: list[Any] = []

    def ctrl_c(state: Any) -> None:
        if state.counts.get("complete") and not pressed:
            pressed.append(state)
            os.kill(os.getpid(), signal.SIGINT)

    asked = {"top": 2, "seeds": 2, "concurrent": 1, "build": Unhurried}  # progress is told once in a while
    first = run_finalists("tiny", place, progress=ctrl_c, **asked)
    assert (first.ended, first.complete) == ("SIGINT", False)
    assert "the same command continues" in first.message
    before = [row for row in first.rows if row.finished]
    result = run_finalists("tiny", place, **asked)
    assert result.complete
    assert sorted(asked_of(list(result.rows))) == [(1, 0), (1, 1), (3, 0), (3, 1)]
    assert all(row in result.rows for row in before)
    assert [list(row.history) for row in result.rows] == [[1, 2, 3]] * 4
    searched = {row.number: row for row in study_status(place, "tiny").rows}
    assert all(row.settings == searched[row.finalist_of or 0].settings for row in result.rows)
    assert [each.planned for each in result.standings] == [2, 2]
    # What is promoted must be there: of finalists every checkpoint stays.
    assert len(list(place.checkpoints("tiny.finalists").glob("*/epoch-0003.ckpt"))) == 4

    again = run_finalists("tiny", place, **asked)
    assert again.rows == result.rows
    more = run_finalists("tiny", place, **{**asked, "seeds": 3})
    assert more.rows[:4] == result.rows
    assert sorted(asked_of(list(more.rows[4:]))) == [(1, 2), (3, 2)]

    # The search itself knows nothing of it.
    assert study_status(place, "tiny").counts == {"complete": 3, "pruned": 1}
    runs = _runs(place, more)
    assert {number: status for number, (status, _) in runs.items()} == {PARENT: "FINISHED"} | dict.fromkeys(
        range(6), "FINISHED"
    )
    tags = runs[more.rows[0].number][1]
    assert (tags["lesion.role"], tags["lesion.finalist_of"]) == ("finalist", str(more.rows[0].finalist_of))
    assert tags["mlflow.runName"] == f"trial {more.rows[0].label}"
    assert more.unshown == ""
    client, shown = _client_and_ids(place, more)
    for number in range(6):
        files = {Path(file.path).name for file in client.list_artifacts(shown[number], "evaluation")}
        assert {"roc.png", "confusion.png", "per_class.csv", "per_image.csv", "confusion_by_epoch.csv"} <= files
    sync(place, "tiny")
    assert _runs(place, more).keys() == runs.keys()


def _client_and_ids(place: Workspace, result: StudyStatus) -> tuple[Any, dict[int, str]]:
    runs = mirror_of(place, result.name, result.identity, experiment="tiny").runs
    return runs.client, {number: run.id for number, run in runs.runs().items()}


def _runs(place: Workspace, result: StudyStatus) -> dict[int, tuple[str, Any]]:
    runs = mirror_of(place, result.name, result.identity, experiment="tiny").runs.runs()
    return {number: (run.status, run.tags) for number, run in runs.items()}
