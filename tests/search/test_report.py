"""The report: its page is whole and asks nobody for anything, its files say the same, MLflow is never in the way."""

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
from reported_study import CLASSES, reported
from wide_tables import cards

from lesion.data.packed import PackedDataset
from lesion.evaluation import evaluate
from search import cli
from search.ledger import open_ledger
from search.mirror import deliver_all, mirror_of
from search.reporting import Report, report
from search.reporting.importance import importances
from search.reporting.judged import judge_of, ranked
from search.reporting.page import page as html
from search.reporting.promoted import Promoted
from search.reporting.versions import RegisteredAs
from search.series import series_identity
from search.study import study_status
from search.tracking import PARENT
from search.workspace import Workspace

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return reported(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def made(place: Workspace) -> Report:
    """A report while MLflow holds nothing of the study."""
    return report("photos", place)


def figures(page: str) -> dict:
    return json.loads(re.search(r'<script id="figures" type="application/json">(.*?)</script>', page)[1])


def test_the_page_is_whole_and_asks_nobody(made):
    page = made.page.read_text()
    # plotly.js itself names addresses; of the rest, nothing is fetched from anywhere.
    own = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert not re.findall(r'(?:src|href)="(?!data:|#)', own)
    assert "http" not in own.partition("<main>")[0]
    assert "Settings that only some trials have, inside a branch, are left out." in " ".join(own.split())
    drawn = figures(page)
    always = {"progress-time", "progress-cost", "effects-0", "importance", "parallel", "curves", "validation-0"}
    assert set(drawn) >= always
    assert set(re.findall(r'data-figure="([^"]+)"', own)) == set(drawn)
    for section in ("best", "progress", "effects", "importance", "parallel", "curves", "validation", "cost", "origin"):
        assert f'id="{section}"' in own
    assert own.count("data:image/jpeg;base64,") == 24
    assert "prefers-color-scheme: dark" in own
    assert "non-finite" in own
    wide = cards(own)
    assert ["trial", "mean_auc", "behind", "epochs", "time", "settings"] in wide
    assert {columns[-1] for columns in wide} == {"settings", "verdict", "specificity"}
    assert ".cards td::before { content: attr(data-label)" in own
    assert "not opened" in own


def test_the_files_say_the_same(made, place):
    folder = place.reports / "photos" / "report"
    told = json.loads((folder / "report.json").read_text())
    assert told["counts"] == {"complete": 8, "pruned": 17, "failed": 2}
    assert told["failures"] == {"non-finite": 1, "out-of-memory": 1}
    first, second = told["ranking"][:2]
    assert (first["trial"], first["behind"]) == (told["best"], None)
    assert second["behind"]["value"] >= 0
    assert first["score"]["low"] < first["score"]["value"] < first["score"]["high"]
    assert told["identity"]["location"] == ""
    with (folder / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 27
    best = next(row for row in rows if row["trial"] == str(told["best"]))
    assert float(best["value"]) == first["score"]["value"] == float(best["metric mean_auc"])
    assert best["setting loss"] in {"focal", "cross_entropy"}
    with (folder / "effects.csv").open() as file:
        effects = {(row["stage"], row["option"]): row["verdict"] for row in csv.DictReader(file)}
    assert effects["after epoch 1", "focal"] == "better"
    with (folder / "per_class.csv").open() as file:
        assert [row["class"] for row in csv.DictReader(file)] == list(CLASSES)
    with (folder / "per_image.csv").open() as file:
        images = list(csv.DictReader(file))
    assert len(images) == told["validation"]["images"] == 120


def test_the_hardest_are_those_with_the_least_probability(made, place):
    judge = judge_of(place, study_status(place, "photos"))
    five = [row for row in made.reading.trials if row.state == "complete"][:5]
    mean = np.mean([judge.probabilities(row) for row in five], axis=0)
    given = mean[np.arange(len(mean)), judge.labels]
    assert [each.probability for each in made.reading.hard] == pytest.approx(np.sort(given)[:24])
    assert made.reading.hard[0].image == judge.images[int(given.argmin())]


@pytest.mark.parametrize(("objective", "direction"), [("mean_auc", "maximize"), ("log_loss", "minimize")])
def test_behind_is_by_how_much_the_first_is_better(place, objective, direction):
    """As of finalists, whichever way is better."""
    status = study_status(place, "photos")
    status = replace(status, identity=replace(status.identity, objective=objective, direction=direction))
    judge = judge_of(place, status)
    sign = 1.0 if direction == "maximize" else -1.0
    complete = [replace(row, value=row.metrics[objective]) for row in status.rows if row.state == "complete"]
    first, *others = ranked(judge, sorted(complete, key=lambda row: -sign * row.value))
    assert first.behind is None
    for each in others:
        assert each.behind.value == pytest.approx(abs(each.row.value - first.row.value))
        assert each.behind.low < each.behind.value < each.behind.high
    assert others[-1].behind.low > 0, "the last is worse beyond doubt"


def test_importances_find_what_was_planted(place):
    said: list[str] = []
    found = importances(study_status(place, "photos"), say=said.append)
    assert said[0] == f"importances, {found[0].trials} trials"
    assert any(text.startswith("importances where loss is focal, ") for text in said)
    assert [(each.branch, each.method) for each in found][:2] == [("", "PED-ANOVA"), ("", "fANOVA")]
    assert "loss is focal" in {each.branch for each in found}
    for each in found:
        assert sum(each.shares.values()) == pytest.approx(1.0)
        assert bool(each.chance) == (each.method == "PED-ANOVA")
    forest = found[1].shares
    assert forest["loss"] + forest["balancing"] > 0.5


def test_each_branch_is_asked_by_both_methods(place):
    """Where the loss is focal its gamma decides, elsewhere the learning rate does: only the branch can tell."""
    status = study_status(place, "photos")
    like = next(row for row in status.rows if row.state == "complete")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(120):
        focal, lr, gamma = number % 2 == 0, 10 ** rng.uniform(-4, -2), rng.uniform(0.5, 3.0)
        settings = {"image_size": int(rng.choice([32, 64])), "loss": "focal" if focal else "cross_entropy"}
        settings |= {"head": "dense", "balancing": "none", "optimizer": "adamw", "optimizer.adamw.lr": lr}
        settings |= {"loss.focal.gamma": gamma} if focal else {}
        value = 0.5 + (gamma / 10 if focal else -np.log10(lr) / 10)
        rows.append(replace(like, number=number, settings=settings, history={1: value}, epoch=1, value=value))
    found = importances(replace(status, rows=tuple(rows)))
    assert [(each.branch, each.method, each.trials) for each in found] == [
        ("", "PED-ANOVA", 120),
        ("", "fANOVA", 120),
        ("loss is focal", "PED-ANOVA", 60),
        ("loss is focal", "fANOVA", 60),
    ]
    for each in found[2:]:
        assert next(iter(each.shares)) == "loss.focal.gamma"
        assert each.shares["loss.focal.gamma"] > 0.8
    assert found[0].shares["loss.focal.gamma"] < 0.6


def test_settings_of_few_trials_are_left_out_and_noise_is_told_from_what_matters(place):
    """The learning rate decides. Half of forty trials have gamma, which says nothing; nor does the dropout of all."""
    status = study_status(place, "photos")
    like = next(row for row in status.rows if row.state == "complete")
    rng = np.random.default_rng(1)
    rows = []
    for number in range(40):
        lr, dropout = float(10 ** rng.uniform(-4, -2)), float(rng.uniform(0, 0.5))
        settings = {"image_size": int(rng.choice([32, 64])), "head": "linear", "head.linear.dropout": dropout}
        settings |= {"loss": "cross_entropy", "balancing": "none", "optimizer": "adamw", "optimizer.adamw.lr": lr}
        if number % 2:
            settings |= {"loss": "focal", "loss.focal.gamma": float(rng.uniform(0.5, 3.0))}
        value = 0.5 - 0.1 * np.log10(lr)
        rows.append(replace(like, number=number, settings=settings, history={1: value}, epoch=1, value=value))
    whole, forest = importances(replace(status, rows=tuple(rows)))[:2]
    assert "loss.focal.gamma" not in whole.shares
    assert set(whole.chance) == set(whole.shares) >= {"head.linear.dropout", "optimizer.adamw.lr"}
    above = {name for name, share in whole.shares.items() if share > whole.chance[name]}
    assert above == {"optimizer.adamw.lr"}
    assert not forest.chance


def test_charts_of_importance_are_grouped_by_branch(made):
    page = made.page.read_text()
    drawn = figures(page)
    branches = dict.fromkeys(each.branch for each in made.reading.importances)
    assert len(branches) > 1
    for place, branch in enumerate(branches):
        told = [each for each in made.reading.importances if each.branch == branch]
        assert [each.method for each in told] == ["PED-ANOVA", "fANOVA"]
        bars = drawn["importance" if not branch else f"branch-{place - 1}"]["data"]
        assert [bar["name"] for bar in bars] == ["PED-ANOVA of shuffled values, 95 %", "PED-ANOVA", "fANOVA"]
        assert {name: x for name, x in zip(bars[0]["y"], bars[0]["x"], strict=True) if x is not None} == told[0].chance
        for bar, each in zip(bars[1:], told, strict=True):
            assert {name: x for name, x in zip(bar["y"], bar["x"], strict=True) if x is not None} == each.shares
        if branch:
            assert f"where {branch} ({told[0].trials} trials)" in page


def test_mlflow_has_nothing_of_the_study(made):
    assert "holds no run of photos" in made.unlogged
    assert any("holds no run of this study" in note for note in made.reading.notes)


def test_the_report_goes_to_mlflow_once(place):
    status = study_status(place, "photos")
    deliver_all(mirror_of(place, "photos", status.identity), status.rows)
    made = report("photos", place)
    assert made.unlogged == ""
    assert any("does not say what the search ran with" in note for note in made.reading.notes), "no session began"
    runs = mirror_of(place, "photos", status.identity).runs
    client, known = runs.client, runs.runs()
    files = {file.path for file in client.list_artifacts(known[PARENT].id, "report")}
    assert {"report/report.html", "report/report.json", "report/effects.csv", "report/hardest.png"} <= files
    best = made.reading.trials[0]
    drawn = {
        file.path.removeprefix("evaluation/") for file in client.list_artifacts(known[best.number].id, "evaluation")
    }
    pictures = {"roc.png", "confusion.png", "reliability.png"}
    tables = {"per_class.csv", "confusion_by_epoch.csv", "wide.csv", "curves.csv", "reliability.csv"}
    assert drawn == pictures | tables | {"per_image.csv"}
    complete = [row for row in made.reading.trials if row.state == "complete"]
    assert len(complete) > 5
    others = {file.path for file in client.list_artifacts(known[complete[-1].number].id, "evaluation")}
    assert others == {f"evaluation/{name}" for name in pictures | tables}, "single images are of the best five"
    said: list[str] = []
    report("photos", place, progress=said.append)
    assert not [text for text in said if " of trial " in text], "made already"


def test_a_server_that_is_down_is_said(place, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    page = tmp_path / "elsewhere" / "page.html"
    assert cli.main(["report", "photos", "--workspace", str(place.path), "--out", str(page)]) == 0
    output = capsys.readouterr()
    assert "MLflow did not take the report: " in output.err
    assert "MLflow does not say what the search ran with" in output.out
    assert page.stat().st_size > 1_000_000


def test_data_that_are_gone_leave_the_rest(place, tmp_path):
    copy = Workspace(tmp_path / "workspace")
    shutil.copytree(place.path, copy.path)
    (copy.path / "data" / "photos").rename(tmp_path / "photos")
    (place.data / "photos").rename(place.data / "elsewhere")
    try:
        made = report("photos", copy)
    finally:
        (place.data / "elsewhere").rename(place.data / "photos")
    assert any(note.startswith("nothing is told of single images: ") for note in made.reading.notes)
    assert 'id="validation"' not in made.page.read_text()
    assert "What each component is worth" in made.page.read_text()


def test_an_opened_test_part_is_shown_from_the_evidence(place, tmp_path):
    copy = Workspace(tmp_path / "workspace")
    shutil.copytree(place.path, copy.path)
    data = PackedDataset.open(copy.data / "photos")
    labels, images = data.labels[:30], data.table["image"].tolist()[:30]
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), 30)
    told = evaluate(probabilities, labels, CLASSES, images=images, samples=50)
    folder = copy.reports / "photos" / "promotion-abc"
    (folder / "test").mkdir(parents=True)
    told.per_image().to_csv(folder / "test" / "per_image.csv", index=False)
    scores = {name: [each.value, each.low, each.high] for name, each in told.intervals.items()}
    (folder / "metrics.json").write_text(json.dumps(scores))
    (folder / "selection.json").write_text(json.dumps({"trials": {"0": {}, "3/1": {}}}))
    made = report("photos", copy)
    (promoted,) = made.reading.promotions
    np.testing.assert_allclose(promoted.probabilities, probabilities)
    np.testing.assert_array_equal(promoted.labels, labels)
    page = made.page.read_text()
    assert "opened once" in page
    assert "Test part, 30 images" in page
    assert "Promotion abc of trials 0, 3/1." in page
    assert any(note.startswith("no pictures of the test part: ") for note in made.reading.notes)


def test_a_second_promotion_of_one_look_is_no_second_opening(place, tmp_path):
    copy = Workspace(tmp_path / "workspace")
    shutil.copytree(place.path, copy.path)
    told = evaluate([[0.6, 0.4, 0.0], [0.1, 0.2, 0.7]], [0, 2], CLASSES, images=["a", "b"], samples=5)
    for key in ("one-rule", "another-rule"):
        folder = copy.reports / "photos" / f"promotion-{key}"
        (folder / "test").mkdir(parents=True)
        told.per_image().to_csv(folder / "test" / "per_image.csv", index=False)
        (folder / "metrics.json").write_text("{}")
        (folder / "selection.json").write_text('{"trials": {"7": {}}}')
    np.save(copy.reports / "photos" / "tested-0a0a.npy", told.probabilities)
    made = report("photos", copy)
    assert len(made.reading.promotions) == 2
    page = made.page.read_text()
    assert "opened once" in page
    assert "have seen the test part" not in page
    # No version is known here: the promotions are told by their keys.
    for key in ("one-rule", "another-rule"):
        assert f">Test part, {key[:8]}</a>" in page
        assert f"<h2>Test part, 2 images, promotion {key[:8]}</h2>" in page
    assert "Promotion one-rule of trial 7." in page
    written = json.loads((copy.reports / "photos" / "report" / "report.json").read_text())
    assert written["test_part_opened"] == {"own": 1, "others": {}}


def test_promotions_are_told_by_their_versions_and_what_the_gates_said(made):
    p = np.eye(3)
    one = Promoted(Path("promotion-0a"), CLASSES, ("a", "b", "c"), np.arange(3), p, p, {}, ("4",))
    other = replace(one, folder=Path("promotion-0b"), trials=("4", "7"))
    versions = {
        "0a": (RegisteredAs("lesions", 1, True, "passed"),),
        "0b": (RegisteredAs("lesions", 2, False, "stopped by ece"),),
    }
    page = html(replace(made.reading, promotions=(one, other), versions=versions))
    for told in (
        ">Test part, version 1 (champion)</a>",
        ">Test part, version 2 (stopped)</a>",
        "<h2>Test part, 3 images, lesions version 1, champion</h2>",
        "Promotion 0a of trial 4; gates of version 1: passed. ",
        "Promotion 0b of trials 4, 7; gates of version 2: stopped by ece. ",
    ):
        assert told in page, told


def test_a_study_that_has_just_begun(tmp_path):
    made = report("photos", reported(tmp_path, trials=1))
    page = made.page.read_text()
    assert "Not enough trials to compare options." in page
    assert "importances need more trials" in made.reading.notes


def test_damaged_evidence_is_said(place, tmp_path):
    copy = Workspace(tmp_path / "workspace")
    shutil.copytree(place.path, copy.path)
    folder = copy.reports / "photos" / "promotion-torn" / "test"
    folder.mkdir(parents=True)
    (folder / "per_image.csv").write_text("image,truth\n")
    made = report("photos", copy)
    assert any(note.startswith("the evidence of promotion-torn cannot be read: ") for note in made.reading.notes)


def test_finalists_are_shown(tmp_path):
    place = reported(tmp_path)
    data = PackedDataset.open(place.data / "photos")
    status = study_status(place, "photos")
    identity = series_identity(status.identity, data, 4, on_folds=False)
    ledger = open_ledger(place.ledger_url, "photos.finalists", identity, 0)
    best = status.best
    for index in range(2):
        told = {"settings": dict(best.settings), "finalist_of": best.number, "index": index, "seed": index}
        ledger.study.add_trial(
            optuna.trial.create_trial(
                value=best.value - 0.02, intermediate_values={4: best.value - 0.02}, user_attrs=told
            )
        )
    made = report("photos", place)
    page = made.page.read_text()
    assert "On fresh seeds, 4 epochs" in page
    assert f"went from {best.value:.4f} to {best.value - 0.02:.4f}" in page
    told = json.loads((place.reports / "photos" / "report" / "report.json").read_text())
    assert told["finalists"][0]["standings"][0]["drop"] == pytest.approx(0.02)
