"""A report's files hold what its page shows: every chart, every table, and what data, code and environment it was."""

import csv
import json
import platform
import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import numpy as np
import optuna
import pytest
from reported_study import CLASSES, reported

from lesion.data.packed import MANIFEST, PackedDataset
from lesion.evaluation import evaluate
from search.ledger import open_ledger
from search.mirror import deliver_all, mirror_of, study_event
from search.provenance import PACKAGES, provenance
from search.reporting import Report, report
from search.series import series_identity
from search.study import study_status
from search.workspace import Workspace

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
ROUNDED = 1e-5
"""Charts carry five digits."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A study with finalists, a promotion and runs in MLflow."""
    place = reported(tmp_path_factory.mktemp("files"))
    _with_test_part(place)
    status = study_status(place, "photos")
    mirror = mirror_of(place, "photos", status.identity)
    mirror.put(study_event("running", provenance(status.identity)))  # as a session begins
    deliver_all(mirror, status.rows)
    identity = series_identity(status.identity, PackedDataset.open(place.data / "photos"), 4, on_folds=False)
    ledger = open_ledger(place.ledger_url, "photos.finalists", identity, 0)
    complete = [row for row in status.rows if row.state == "complete"][:2]
    for row in complete:
        for index in range(2):
            value = float(row.value or 0) - 0.01 * (1 + index)
            told = {"settings": dict(row.settings), "finalist_of": row.number, "index": index, "seed": index}
            again = optuna.trial.create_trial(value=value, intermediate_values={4: value}, user_attrs=told)
            ledger.study.add_trial(again)
    return place


def _with_test_part(place: Workspace) -> None:
    """A test part, of the photos themselves, and the evidence of a promotion that opened it."""
    shutil.copytree(place.data / "photos", place.path / "test" / "photos")
    test = PackedDataset.open(place.path / "test" / "photos")
    told = test.manifest | {"test": {"images": len(test), "content_hash": test.content_hash}}
    (place.data / "photos" / MANIFEST).write_text(json.dumps(told))
    images, labels = test.table["image"].tolist()[:40], test.labels[:40]
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), 40)
    judged = evaluate(probabilities, labels, CLASSES, images=images, samples=50, decision_weights=[3.0, 1.0, 1.0])
    folder = place.reports / "photos" / "promotion-abc"
    (folder / "test").mkdir(parents=True)
    judged.per_image().to_csv(folder / "test" / "per_image.csv", index=False)
    scores = {name: [each.value, each.low, each.high] for name, each in judged.intervals.items()}
    (folder / "metrics.json").write_text(json.dumps(scores))
    (folder / "selection.json").write_text(json.dumps({"trials": {"0": {}}}))


@pytest.fixture(scope="module")
def made(place: Workspace) -> Report:
    return report("photos", place)


@pytest.fixture(scope="module")
def folder(made: Report) -> Path:
    return made.page.parent


@pytest.fixture(scope="module")
def told(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


@pytest.fixture(scope="module")
def drawn(made: Report) -> dict:
    text = plain(made)
    return json.loads(re.search(r'<script id="figures" type="application/json">(.*?)</script>', text)[1])


def rows(folder: Path, name: str, **only: str) -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open() as file:
        return [row for row in csv.DictReader(file) if all(row[key] == value for key, value in only.items())]


def numbers(found: list[dict[str, str]], *columns: str) -> np.ndarray:
    return np.array([[float(row[column] or "nan") for column in columns] for row in found])


@pytest.mark.parametrize("part", ["validation", "test abc"])
def test_curves_are_drawn_of_the_points_in_the_file(folder, drawn, part):
    prefix = part.replace(" ", "-")
    roc, precision = drawn[f"{prefix}-0"]["data"], drawn[f"{prefix}-1"]["data"]
    assert [trace["name"].split()[0] for trace in roc[:3]] == list(CLASSES)
    for name, first, second in zip(CLASSES, roc, precision, strict=False):
        points = rows(folder, "curves", part=part, **{"class": name})
        found = numbers(points, "false_positive_rate", "sensitivity")
        np.testing.assert_allclose(np.stack([first["x"], first["y"]], axis=1), found, atol=ROUNDED)
        found = numbers(points[1:], "sensitivity", "precision")
        np.testing.assert_allclose(np.stack([second["x"], second["y"]], axis=1), found, atol=ROUNDED)


@pytest.mark.parametrize("part", ["validation", "test abc"])
def test_reliability_and_confusion_are_in_both_files(folder, told, drawn, part):
    prefix = part.replace(" ", "-")
    judged = told["validation"] if part == "validation" else told["test"][0]
    (_, bins) = drawn[f"{prefix}-2"]["data"]
    found = numbers(rows(folder, "reliability", part=part), "confidence", "right")
    np.testing.assert_allclose(np.stack([bins["x"], bins["y"]], axis=1), found, atol=ROUNDED)
    np.testing.assert_allclose([[each["confidence"], each["right"]] for each in judged["reliability"]], found)
    assert bins["text"] == [f"{each['images']} images" for each in judged["reliability"]]

    (heat,) = drawn[f"{prefix}-3"]["data"]
    cells = [[int(cell.partition("<br>")[0]) for cell in line] for line in heat["text"]]
    assert [int(each["images"]) for each in rows(folder, "confusion", part=part)] == np.ravel(cells).tolist()
    assert [line[: len(cells[0])] for line in judged["confusion"]["rows"]] == cells
    assert sum(map(sum, cells)) == judged["images"]


def plain(made):
    """The page, its cells without the names of their columns, which stand in them for phones."""
    return re.sub(r' data-label="[^"]*"', "", made.page.read_text())


def test_the_test_part_is_told_as_on_the_page(made, folder, told):
    page, (tested,) = plain(made), told["test"]
    section = page.partition('<section id="test-abc">')[2].partition("</section>")[0]
    assert "Test part, 40 images" in section
    for name in CLASSES:
        cells = [tested["per_class"][name][score] for score in ("auc", "ap", "sensitivity", "specificity")]
        shown = [f"<td>{value:.3f} ({low:.3f}–{high:.3f})</td>" for value, low, high in cells]
        assert f"<tr><td>{name}</td>{''.join(shown)}</tr>" in section
        (row,) = rows(folder, "per_class", part="test abc", **{"class": name})
        assert [float(row["auc"]), float(row["auc_low"]), float(row["auc_high"])] == cells[0]
    # Decisions go by the promoted model's rules, which the probabilities alone do not give.
    decided = {row["image"]: row["decision"] for row in csv.DictReader(_evidence(made).open())}
    assert len(tested["hardest"]) == 24
    for each in tested["hardest"]:
        assert each["decision"] == decided[each["image"]]
        assert f'alt="{each["image"]}"' in section
        assert f"{each['truth']} → {each['decision']} <b>{each['probability']:.2f}</b>" in section
    assert [each["image"] for each in rows(folder, "hardest", part="test abc")] == [
        each["image"] for each in tested["hardest"]
    ]
    assert told["hardest"] == told["validation"]["hardest"]
    assert [each["image"] for each in rows(folder, "hardest", part="validation")] == [
        each["image"] for each in told["hardest"]
    ]


def _evidence(made: Report) -> Path:
    return made.page.parents[1] / "promotion-abc" / "test" / "per_image.csv"


def test_the_ranking_is_that_of_the_page(made, folder):
    page, ranking = plain(made), rows(folder, "ranking")
    assert len(ranking) == len(made.reading.ranked) == 8
    first, second = numbers(ranking[:2], "score", "score_low", "score_high", "behind", "behind_low", "behind_high")
    assert f"<td>{made.reading.ranked[0].score}</td>" in page
    assert first[:3].tolist() == list(vars(made.reading.ranked[0].score).values())[:3]
    assert np.isnan(first[3:]).all()
    assert second[3] >= 0
    assert f"{second[3]:.4f} ({second[4]:.4f} to {second[5]:.4f})" in page
    assert [int(row["trial"]) for row in ranking] == [each.row.number for each in made.reading.ranked]


def test_finalists_are_those_of_the_page(made, folder, told):
    page, found = plain(made), rows(folder, "finalists")
    assert len(found) == 2
    for row in found:
        cells = [row["trial"], f"{float(row['mean']):.4f}", f"{float(row['drop']):+.4f}"]
        assert f"<tr><td>{cells[0]}</td><td>{cells[1]}" in page
        assert f"<td>{row['runs']} of {row['planned']}</td>" in page
        assert f"<td>{cells[2]}</td>" in page
        assert float(row["drop"]) == pytest.approx(0.015)
    assert [float(row["mean"]) for row in found] == [each["mean"] for each in told["finalists"][0]["standings"]]
    assert found[0]["behind"] == ""


def test_charts_of_the_search_are_in_the_files(folder, drawn):
    points = rows(folder, "learning_curves")
    for trace in drawn["curves"]["data"]:
        own = [row for row in points if f"trial {row['trial']}" == trace["name"]]
        np.testing.assert_allclose(trace["y"], numbers(own, "mean_auc")[:, 0])
    effects = rows(folder, "effects")
    values = [float(row["effect"]) for row in effects if row["stage"] == "after epoch 1" and row["effect"]]
    assert sorted(drawn["effects-0"]["data"][0]["x"]) == pytest.approx(sorted(values))
    shares = rows(folder, "importance")
    for place, branch in enumerate(dict.fromkeys(row["branch"] for row in shares)):
        for bar in drawn[f"branch-{place - 1}" if branch else "importance"]["data"]:
            method, _, shuffled = bar["name"].partition(" of shuffled")
            inside = [row for row in shares if (row["branch"], row["method"]) == (branch, method)]
            own = {row["setting"]: float(row["chance" if shuffled else "share"]) for row in inside}
            assert {key: x for key, x in zip(bar["y"], bar["x"], strict=True) if x is not None} == own
    trials = {row["trial"]: row for row in rows(folder, "trials")}
    marks = [trace for trace in drawn["progress-cost"]["data"] if trace["mode"] == "markers"]
    for trace in marks:
        for text, value in zip(trace["text"], trace["y"], strict=True):
            row = trials[re.search(r"trial (\d+),", text)[1]]
            assert (float(row["value"]), row["state"]) == (value, trace["name"])
            assert row["started"] <= row["ended"]
    axes = {axis["label"]: axis for axis in drawn["parallel"]["data"][0]["dimensions"]}
    rates = [
        float(row["setting optimizer.adamw.lr"]) for row in trials.values() if row["state"] in ("complete", "pruned")
    ]
    assert sorted(axes["lr"]["values"]) == pytest.approx(sorted(rates))


def test_data_code_and_environment_are_on_the_page(made, place, told):
    page = plain(made)
    section = page.partition('<section id="origin">')[2].partition("</section>")[0]
    facts = dict(re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td></tr>", section))
    data = PackedDataset.open(place.data / "photos")
    identity = study_status(place, "photos").identity
    assert facts["data"] == f"photos, content hash {data.content_hash[:16]}"
    assert facts["split"] == f"holdout, hash {data.split('holdout').hash[:16]}"
    assert facts["space"] == f"hash {identity.space_hash[:16]}, at most 4 epochs"
    counts = np.bincount(data.labels[data.split("holdout").validation], minlength=3)
    shown = ", ".join(f"{count} {name}" for count, name in zip(counts, CLASSES, strict=True))
    assert facts["validation"] == f"120 of 240 images: {shown}"
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    assert facts.get("git.commit", "") == commit, "not there where the tests are of no checkout"
    assert (facts["python"], facts["host"]) == (platform.python_version(), platform.node())
    for package in PACKAGES:
        assert facts[package] == version(package)
    assert told["identity"]["data_hash"] == data.content_hash
    assert told["environment"] == {name: facts[name] for name in told["environment"]}
    assert "image_size" not in section.partition("what all trials had in common")[2], "it was searched"
