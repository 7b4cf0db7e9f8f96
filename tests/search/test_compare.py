"""Comparing judgements: by name, of the same images or not at all, and saying what the tests do not know."""

import json
import os
import re
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from optuna.trial import TrialState, create_trial
from reported_study import CLASSES, reported
from wide_tables import cards

from lesion.data.packed import MANIFEST, PackedDataset
from lesion.metrics import delong
from search import cli, compare
from search.errors import ReportError
from search.ledger import open_ledger
from search.predictions import PREDICTIONS, save_predictions
from search.reporting.judged import judge_of
from search.reporting.judgements import judgement_named
from search.reporting.versions import RegisteredAs
from search.series import series_identity
from search.study import study_status
from search.workspace import Workspace

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("compare")
    reported(folder, trials=12, name="second")
    return reported(folder)


def run_again(place, data, trial, index, value, *, split=None, epochs=4, series="photos.finalists"):
    """One complete finalist with predictions; gives these."""
    identity = study_status(place, "photos").identity
    identity = series_identity(identity, data, epochs, on_folds=split is not None)
    ledger = open_ledger(place.ledger_url, series, identity, 0)
    rows = data.split(split or "holdout").validation
    p = np.random.default_rng([trial, index, len(series)]).dirichlet([1.0] * 3, len(rows))
    noted = {"finalist_of": trial, "index": index, "split": split, "series": series, "settings": {"image_size": 32}}
    made = create_trial(state=TrialState.COMPLETE, value=value, intermediate_values={epochs: value}, user_attrs=noted)
    ledger.study.add_trial(made)
    number = ledger.study.trials[-1].number
    save_predictions(place.trial(series, number) / PREDICTIONS, p, {"epoch": epochs, "value": value})
    return p


@pytest.fixture(scope="module")
def again(place):
    """Finalists of trial 3: two seeds, the second of 20 epochs too, and a fold; trial 6: one seed of 9 and of 20."""
    of_fold = {"split": "fold-1", "series": "photos.finalists-folds"}
    longer = {number: {"epochs": number, "series": f"photos.finalists-{number}-epochs"} for number in (9, 20)}
    with_folds = json.loads((place.data / "photos" / MANIFEST).read_text())
    with_folds["splits"] = ["holdout", *(f"fold-{number}" for number in range(5))]
    (place.data / "photos" / MANIFEST).write_text(json.dumps(with_folds))
    data = PackedDataset.open(place.data / "photos")
    return {
        "3/1": run_again(place, data, 3, 0, 0.61),
        "3/2": run_again(place, data, 3, 1, 0.62),
        "3/2/20": run_again(place, data, 3, 1, 0.63, **longer[20]),
        "3/fold-1": run_again(place, data, 3, 1, 0.64, **of_fold),
        "4/fold-1": run_again(place, data, 4, 1, 0.65, **of_fold),
        "6/1/9": run_again(place, data, 6, 0, 0.66, **longer[9]),
        "6/1/20": run_again(place, data, 6, 0, 0.67, **longer[20]),
    }


def write_table(path, judgement, order=None, truth=None):
    order = np.arange(len(judgement.images)) if order is None else order
    table = pd.DataFrame({"image": np.array(judgement.images)[order]})
    names = np.array(judgement.classes, dtype=object)
    table["truth"] = (names[judgement.labels] if truth is None else truth)[order]
    for k in (2, 0, 1):  # another order of classes
        table[f"p_{names[k]}"] = judgement.probabilities[order, k]
    table.to_csv(path, index=False)
    return path


def test_trials_and_studies_are_compared(place):
    found = compare(["photos:0", "photos:3", "second"], place)
    assert [each.name for each in found.judgements][:2] == ["photos:0", "photos:3"]
    assert found.judgements[2].name == f"second:{study_status(place, 'second').best.number}"
    assert [pair.second.name for pair in found.pairs] == [each.name for each in found.judgements[1:]]
    status = study_status(place, "photos")
    judge = judge_of(place, status)
    first, second = (judge.probabilities(status.rows[number]) for number in (0, 3))
    tests = {each.score: each for each in found.pairs[0].tests}
    exact = delong(first[:, 0], second[:, 0], judge.labels == 0, judge.groups)
    assert tests["auc_melanoma"].result == exact
    assert tests["mean_auc"].result.first == pytest.approx(status.rows[0].value)
    for each in tests.values():
        assert each.holm >= each.result.p
    assert "120 photos of 96 lesions" in found.notes[0]
    assert "chosen by these very images" in found.notes[1]


def test_finalists_are_named_by_trial_and_run(place, again):
    for name in ("3/1", "3/2", "3/2/20", "6/1/9", "6/1/20"):
        found = judgement_named(place, f"photos:{name}")
        assert found.name == f"photos:{name}"
        np.testing.assert_allclose(found.probabilities, again[name], atol=1e-6)
        assert (found.part, found.chosen) == ("validation, split holdout of photos", True)
    found = compare(["photos:3", "photos:3/1"], place)
    assert "photos:3, photos:3/1: chosen by these very images" in found.notes[1]
    # Of a fold its own validation part, on which nothing was chosen.
    data = PackedDataset.open(place.data / "photos")
    found = compare(["photos:3/fold-1", "photos:4/fold-1"], place)
    rows = data.split("fold-1").validation
    assert found.judgements[0].images == tuple(data.table["image"].iloc[rows])
    np.testing.assert_array_equal(found.judgements[0].labels, data.labels[rows])
    np.testing.assert_allclose(found.judgements[1].probabilities, again["4/fold-1"], atol=1e-6)
    assert not [note for note in found.notes if "chosen" in note]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("photos:3/7", "is no run of its finalists; known: photos:3/1, photos:3/2, photos:3/2/20, photos:3/fold-1$"),
        ("photos:3/0", "is no run of its finalists; known: photos:3/1, "),
        ("photos:3/1/20", "is no run of its finalists; known"),
        ("photos:6/1", "is of several numbers of epochs; known: photos:6/1/20, photos:6/1/9$"),
        ("photos:8/1", "known: none: 'lesion-search finalists photos --trials 8' runs it again"),
        ("photos:3/fold-1", r"photos:0 is of 120 images \(validation, split holdout .*split fold-1 of photos"),
    ],
)
def test_a_finalist_that_is_not_there_or_of_other_images_is_said(place, again, name, message):
    with pytest.raises(ReportError, match=message):
        compare(["photos:0", name], place)


def test_a_table_in_another_order_is_the_same(place, tmp_path):
    one = judgement_named(place, "photos:0")
    path = write_table(tmp_path / "per_image.csv", one, np.random.default_rng(0).permutation(len(one.images)))
    found = compare(["photos:0", str(path)], place)
    np.testing.assert_allclose(found.judgements[1].probabilities, one.probabilities)
    assert [each.result.difference for each in found.pairs[0].tests] == pytest.approx([0.0] * 14)
    assert {each.result.p for each in found.pairs[0].tests} == {1.0}
    assert {each.verdict for each in found.pairs[0].tests} == {"not distinguishable"}


def test_a_table_without_lesions_is_tested_alike_in_either_order(place, tmp_path):
    other = judgement_named(place, "photos:3")
    path = str(write_table(tmp_path / "per_image.csv", other))
    there = compare(["photos:0", path], place)
    back = compare([path, "photos:0"], place)
    both = compare(["photos:0", "photos:3"], place)
    assert there.notes[0] == back.notes[0] == both.notes[0]
    for found in (there, back):
        told = {each.score: each.result for each in found.pairs[0].tests}
        for each in both.pairs[0].tests:
            assert told[each.score].p == pytest.approx(each.result.p, abs=0.05), each.score
            assert told[each.score].test == each.result.test
    exact = {each.score: each.result for each in both.pairs[0].tests}["auc_melanoma"]
    (other_way,) = [each.result for each in back.pairs[0].tests if each.score == "auc_melanoma"]
    assert (other_way.p, other_way.low, other_way.high) == pytest.approx((exact.p, -exact.high, -exact.low))


def test_photos_of_one_lesion_are_not_mcnemar_s(place, tmp_path):
    found = compare(["photos:0", "photos:3"], place)
    assert {each.result.test for each in found.pairs[0].tests} == {"DeLong", "bootstrap"}
    assert "not by McNemar's test" in found.notes[0]
    # Of two tables nobody knows the lesions.
    tables = [
        str(write_table(tmp_path / f"{number}.csv", judgement_named(place, f"photos:{number}"))) for number in (0, 3)
    ]
    found = compare(tables, place)
    tests = {each.score: each.result.test for each in found.pairs[0].tests}
    assert (tests["accuracy"], tests["sensitivity_melanoma"]) == ("McNemar", "McNemar")
    assert found.notes[0].startswith("which photos show the same lesion is not known")


def test_decisions_are_those_of_the_table_not_the_largest_probabilities(place, tmp_path):
    one = judgement_named(place, "photos:0")
    path = write_table(tmp_path / "per_image.csv", one)
    table = pd.read_csv(path)
    table["decision"] = table["truth"]  # a model whose rules are never wrong
    table.to_csv(path, index=False)
    found = compare(["photos:0", str(path)], place)
    first, second = found.scores
    assert (second["accuracy"], second["balanced_accuracy"]) == (1.0, 1.0)
    assert second["mean_auc"] == first["mean_auc"]
    assert second["log_loss"] == first["log_loss"]
    tests = {each.score: each.result for each in found.pairs[0].tests}
    assert tests["accuracy"].second == tests["balanced_accuracy"].second == 1.0
    assert tests["accuracy"].first == pytest.approx(first["accuracy"])


def test_a_clear_difference_is_told_whichever_way_is_better(place, tmp_path):
    one = judgement_named(place, "photos:0")
    truth = np.eye(3)[one.labels]
    surer = 0.2 * one.probabilities + 0.8 * truth
    better = replace(one, probabilities=surer, decisive=surer)
    path = write_table(tmp_path / "better.csv", better)
    verdicts = {each.score: each.verdict for each in compare(["photos:0", str(path)], place).pairs[0].tests}
    assert verdicts["mean_auc"] == verdicts["log_loss"] == verdicts["accuracy"] == "second is better"


@pytest.mark.parametrize(
    ("champion", "taken", "words"),
    [
        ("older-promo", "older-pr", "the champion among 2; name another as photos:test-newer-pr"),
        ("", "newer-pr", "the newest of 2; name another as photos:test-older-pr"),
    ],
)
def test_of_several_promotions_the_champion_s_is_taken_and_said(place, tmp_path, monkeypatch, champion, taken, words):
    one = judgement_named(place, "photos:0")
    copy = Workspace(tmp_path / "workspace")
    shutil.copytree(place.path, copy.path)
    for age, key in enumerate(("newer-promo", "older-promo")):
        folder = copy.reports / "photos" / f"promotion-{key}"
        (folder / "test").mkdir(parents=True)
        path = write_table(folder / "test" / "per_image.csv", one)
        os.utime(path, (2e9 - age, 2e9 - age))
        (folder / "metrics.json").write_text("{}")
        (folder / "selection.json").write_text("{}")
    known = {champion: (RegisteredAs("lesions", 1, True, "passed"),)}
    monkeypatch.setattr("search.reporting.judgements.versions_by_promotion", lambda *asked: (known, ""))
    table = str(write_table(tmp_path / "table.csv", one))
    found = compare(["photos:test", table], copy)
    assert found.judgements[0].name == f"photos:test-{taken}"
    assert f"photos:test is promotion {taken}, {words}" in found.notes
    # Whoever names one is told of none.
    named = compare(["photos:test-older", table], copy)
    assert not [note for note in named.notes if "promotion" in note]


def test_other_images_labels_and_classes_are_refused(place, tmp_path):
    one = judgement_named(place, "photos:0")
    part = write_table(tmp_path / "part.csv", one, np.arange(100))
    with pytest.raises(ReportError, match=r"is of 120 images \(validation, .*of 100 \(a table\), and 100 are in both"):
        compare(["photos:0", str(part)], place)
    names = np.array(CLASSES, dtype=object)[(one.labels + (np.arange(120) == 7)) % 3]
    other = write_table(tmp_path / "other.csv", one, truth=names)
    with pytest.raises(ReportError, match=f"1 labels differ, {one.images[7]} among them"):
        compare(["photos:0", str(other)], place)
    renamed = tmp_path / "renamed.csv"
    renamed.write_text(part.read_text().replace("nevus", "mole"))
    with pytest.raises(ReportError, match="their classes are"):
        compare(["photos:0", str(renamed)], place)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("photos:99", "photos has no trial 99; it has 27, from 0"),
        ("photos:5", r"trial 5 of photos \(failed\) has no validation predictions"),
        ("photos:best", "after the study's name comes a trial's number or 'test', as in photos:12"),
        ("photos:test", "no promotion 'photos:test'; known: none: its test part was never opened"),
        ("nowhere.csv", "nowhere.csv: there is no such file"),
    ],
)
def test_what_is_not_there_is_said(place, name, message):
    with pytest.raises(ReportError, match=message):
        compare(["photos:0", name], place)
    with pytest.raises(ReportError, match="at least two are compared"):
        compare(["photos:0"], place)


def test_the_command(place, tmp_path, capsys):
    page = tmp_path / "new" / "page.html"
    arguments = ["compare", "photos:0", "photos:3", "--workspace", str(place.path)]
    assert cli.main([*arguments, "--html", str(page)]) == 0
    text = capsys.readouterr().out
    assert "photos:0 (first) against photos:3 (second)" in text
    assert "auc_seborrheic_keratosis" in text
    tests = "p by bootstrap: mean_auc, balanced_accuracy, "
    assert tests in text
    assert "; by DeLong: auc_melanoma, auc_seborrheic_keratosis, auc_nevus" in text
    own = re.sub(r"<script.*?</script>", "", page.read_text(), flags=re.S)
    assert own.count("data-figure=") == 4
    assert [columns[-1] for columns in cards(own)] == ["verdict"]
    assert not re.findall(r'(?:src|href)="', own)
    assert cli.main([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["pairs"][0]["tests"][0]["score"] == "mean_auc"
    assert cli.main(["compare", "photos:0", "photos:test", "--workspace", str(place.path)]) == 2
    assert "never opened" in capsys.readouterr().err
