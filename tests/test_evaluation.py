"""Evaluations: tables, the official file read by the official scorer, figures."""

import json

import numpy as np
import pandas as pd
import pytest
from drawn_predictions import ISIC_2017, ISIC_2018
from drawn_predictions import drawn as drawn_matrix
from isic_challenge_scoring import ClassificationMetric, ClassificationScore
from PIL import Image

from lesion.errors import DataError
from lesion.evaluation import decided_metrics, evaluate
from lesion.figures import epochs_figure
from lesion.metrics import report, summary
from lesion.submission import image_ids, write_submission


def drawn(classes, rows=60):
    return *drawn_matrix(rows, len(classes), kind="learnt"), [f"ISIC_{row:07d}" for row in range(rows)]


def evaluated(classes=ISIC_2017, **settings):
    probabilities, labels, images = drawn(classes)
    return evaluate(probabilities, labels, classes, images=images, samples=30, **settings)


def write_truth(path, labels, images, classes):
    columns = {name: (labels == k).astype(float) for k, name in enumerate(classes)}
    if classes == ISIC_2017:
        del columns["nevus"]
    pd.DataFrame({"image": images, **columns}).to_csv(path, index=False)


@pytest.mark.filterwarnings("ignore:DataFrame.applymap:FutureWarning")  # the scorer's own
@pytest.mark.parametrize(("classes", "metric"), [(ISIC_2017, "auc"), (ISIC_2018, "balanced_accuracy")])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_official_scorer_reads_our_file_and_agrees(tmp_path, classes, metric, weighted):
    weights = np.geomspace(4.0, 0.25, len(classes)) if weighted else None
    evaluation = evaluated(classes, decision_weights=weights)
    path = evaluation.official_csv(tmp_path / "prediction.csv")
    write_truth(tmp_path / "truth.csv", evaluation.labels, evaluation.images, classes)
    score = ClassificationScore.from_file(tmp_path / "truth.csv", path, ClassificationMetric(metric))
    assert evaluation.official.overall == pytest.approx(score.overall, rel=1e-12)


@pytest.mark.filterwarnings("ignore:DataFrame.applymap:FutureWarning")
def test_whole_numbers_keep_their_decimal_point(tmp_path):
    labels = np.array([0, 1, 2])
    path = write_submission(tmp_path / "p.csv", ["a.jpg", "b.jpg", "c.jpg"], np.eye(3, dtype=int), "xyz")
    assert path.read_text() == "image,x,y,z\na,1.0,0.0,0.0\nb,0.0,1.0,0.0\nc,0.0,0.0,1.0\n"
    write_truth(tmp_path / "truth.csv", labels, ["a", "b", "c"], ("x", "y", "z"))
    score = ClassificationScore.from_file(tmp_path / "truth.csv", path, ClassificationMetric.AUC)
    assert score.overall == 1.0


def test_probabilities_survive_the_file(tmp_path):
    evaluation = evaluated(ISIC_2018)
    table = pd.read_csv(evaluation.official_csv(tmp_path / "p.csv"), index_col="image", float_precision="round_trip")
    assert tuple(table.columns) == ISIC_2018
    assert (table.to_numpy() == evaluation.probabilities).all()


def test_a_submission_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"probabilities are \(1, 3\), must be \(2, 3\)"):
        write_submission(tmp_path / "p.csv", ["a", "b"], [[0.1, 0.2, 0.7]], "xyz")
    with pytest.raises(DataError, match=r"image id one/a occurs twice \(one/a.jpg, one/a.png\)"):
        image_ids(["one/a.jpg", "b", "one/a.png"])
    assert not list(tmp_path.iterdir())


def test_the_same_name_in_two_folders_is_two_images():
    assert image_ids(["one/a.jpg", "b", "two/a.png"]) == ["one/a", "b", "two/a"]


def test_metrics_are_the_report():
    evaluation = evaluated()
    assert evaluation.metrics == report(evaluation.probabilities, evaluation.labels, ISIC_2017)
    assert evaluation.confusion.sum() == len(evaluation.images)


def test_an_evaluation_keeps_its_numbers_when_the_caller_reuses_the_array():
    probabilities, labels, images = drawn(ISIC_2017)
    evaluation = evaluate(probabilities, labels, ISIC_2017, images=images, samples=5)
    before = evaluation.probabilities.copy()
    probabilities[:] = 0.0
    assert (evaluation.probabilities == before).all()


def test_lesions_widen_the_interval():
    probabilities, labels, _ = drawn(ISIC_2017, rows=80)
    rows = np.repeat(np.arange(80), 4)
    images = [f"i{k}" for k in range(len(rows))]
    apart = evaluate(probabilities[rows], labels[rows], ISIC_2017, images=images, samples=200)
    groups = [f"L{row}" for row in rows]
    lesions = evaluate(probabilities[rows], labels[rows], ISIC_2017, images=images, groups=groups, samples=200)
    wide, narrow = lesions.intervals["accuracy"], apart.intervals["accuracy"]
    assert wide.high - wide.low > 1.4 * (narrow.high - narrow.low)


def test_to_dict_is_strict_json_with_none_for_the_undefined():
    probabilities, labels, images = drawn(ISIC_2017)
    labels[labels == 2] = 0
    evaluation = evaluate(probabilities, labels, ISIC_2017, images=images, samples=5)
    facts = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert facts["metrics"]["auc_nevus"] is None
    assert facts["intervals"]["macro_auc"] == [None, None]
    assert facts["official"]["ranking"] == "auc"
    assert facts["classes"]["nevus"] == 0
    assert facts["confusion"]["columns"] == [*ISIC_2017, "undecided"]


def test_per_image_table_says_truth_and_decision():
    probabilities = [[0.6, 0.3, 0.1], [0.4, 0.4, 0.2], [0.1, 0.2, 0.7]]
    evaluation = evaluate(probabilities, [0, 0, 1], ISIC_2017, images=["a", "b", "c"], samples=5)
    table = evaluation.per_image()
    assert table["decision"].tolist() == ["melanoma", "undecided", "nevus"]
    assert table["truth"].tolist() == ["melanoma", "melanoma", "seborrheic_keratosis"]
    assert table["correct"].tolist() == [True, False, False]
    assert table["confidence"].tolist() == [0.6, 0.4, 0.7]
    assert table["p_nevus"].tolist() == [0.1, 0.2, 0.7]


@pytest.mark.parametrize(
    ("images", "message"),
    [(["a"], "1 image ids for 3 rows"), (["a", "a", "b"], "image id a occurs twice")],
)
def test_image_ids_that_do_not_fit_are_refused(images, message):
    with pytest.raises(DataError, match=message):
        evaluate(np.full((3, 3), 1 / 3), [0, 1, 2], ISIC_2017, images=images, samples=5)


@pytest.mark.parametrize("case", ["usual", "a class is absent", "all tied"])
def test_figures_are_drawn(tmp_path, case):
    probabilities, labels, images = drawn(ISIC_2017)
    if case == "a class is absent":
        labels[labels == 0] = 1
    if case == "all tied":
        probabilities[:] = 1 / 3
    evaluation = evaluate(probabilities, labels, ISIC_2017, images=images, samples=5)
    drawings = evaluation.figures(tmp_path / "new" / "figures")
    assert [path.name for path in drawings] == ["roc.png", "confusion.png", "reliability.png"]
    for path in drawings:
        with Image.open(path) as picture:
            assert min(picture.size) > 400
            assert np.asarray(picture.convert("L")).std() > 5  # something is drawn
        assert path.stat().st_size < 300_000


def test_decision_weights_change_what_is_decided_and_nothing_else():
    plain, weights = evaluated(), (4.0, 1.0, 0.25)
    weighted = evaluated(decision_weights=weights)
    decided = set(decided_metrics(ISIC_2017))
    scaled = plain.probabilities * weights
    expected = report(scaled / scaled.sum(axis=1, keepdims=True), plain.labels, ISIC_2017)
    for name, interval in weighted.intervals.items():
        if name in decided:
            assert interval.value == pytest.approx(expected[name], nan_ok=True), name
        else:
            assert interval == plain.intervals[name], name
    assert {name for name in decided if weighted.metrics[name] != plain.metrics[name]} >= {"sensitivity_melanoma"}
    np.testing.assert_array_equal(weighted.probabilities, plain.probabilities)
    counts = weighted.confusion.trace() / weighted.confusion.sum()
    assert counts == pytest.approx(weighted.metrics["accuracy"]) == weighted.per_image()["correct"].mean()
    assert weighted.to_dict()["decision_weights"] == list(weights)


def test_decision_weights_move_an_official_score_of_decisions_and_no_auc(tmp_path):
    """ISIC 2017 ranks by AUC, which weights would move; ISIC 2018 decides by the largest number of a row."""
    weights = (4.0, 1.0, 0.25)
    plain, weighted = evaluated(), evaluated(decision_weights=weights)
    assert weighted.official == plain.official
    assert weighted.official.overall == pytest.approx(weighted.metrics["mean_auc"], rel=1e-12)
    assert weighted.official_csv(tmp_path / "w.csv").read_bytes() == plain.official_csv(tmp_path / "p.csv").read_bytes()
    by_row = summary(weighted.decisive, weighted.labels, ISIC_2017)["mean_auc"]
    assert by_row != pytest.approx(weighted.official.overall, abs=1e-3)  # or this test could not fail

    later = evaluated(ISIC_2018, decision_weights=np.geomspace(4.0, 0.25, 7))
    assert later.official.overall == pytest.approx(later.metrics["balanced_accuracy"], rel=1e-12)
    assert later.official.overall != pytest.approx(evaluated(ISIC_2018).official.overall, abs=1e-3)


def test_the_figure_of_epochs_draws_each_epochs_own_scores_and_says_which_is_kept():
    own = [{"accuracy": 0.6, "log_loss": 0.9, "f1_b": 0.5}, {"accuracy": 0.4, "log_loss": 1.2}]
    epochs = {
        number: {"train_loss": 1.0, "accuracy": 0.6, "log_loss": 0.9, **{f"epoch_{n}": v for n, v in told.items()}}
        for number, told in enumerate(own, 1)
    }
    panels = {axes.get_title(): axes for axes in epochs_figure(epochs, ("a", "b")).axes}
    drawn = {line.get_label(): line for axes in panels.values() for line in axes.lines}
    assert drawn["validation"].get_ydata().tolist() == [0.6, 0.4]
    assert drawn["validation (log-loss)"].get_ydata().tolist() == [0.9, 1.2]
    (f1,) = (line for line in panels["F1"].lines if line.get_label() == "b")
    assert np.array_equal(f1.get_ydata(), [0.5, np.nan], equal_nan=True)
    assert {axes.get_xlabel() for axes in panels.values()} == {"epoch, of which 1 is kept"}
    plain = {number: {"accuracy": 0.1 * number} for number in (1, 2)}
    assert {axes.get_xlabel() for axes in epochs_figure(plain, ISIC_2017).axes} == {"epoch"}
