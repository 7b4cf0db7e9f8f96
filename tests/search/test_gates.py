"""Gates: files read strictly, failures that were planted found, noise let through."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t
from sklearn.metrics import roc_curve

from lesion.evaluation import Evaluation, evaluate
from lesion.metrics import paired_bootstrap, resamples, sampled_summary
from lesion.subgroups import subgroups
from search.errors import PromotionError, SpaceError
from search.gates import DEFAULT, Candidate, Champion, Verdict, judge, passed, read_gates, summed_up
from search.gates.judging import sensitivity_at
from search.gates.naming import require_known
from search.gates.reading import SubgroupGate

CLASSES = ("melanoma", "seborrheic_keratosis", "nevus")
ALL = read_gates()


def drawn(images: int = 300, skill: float = 3.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that hold for what they say, of labels that are drawn from them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(images, 3)) * skill
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return p, np.array([rng.choice(3, p=row) for row in p])


def evaluated(p: np.ndarray, labels: np.ndarray) -> Evaluation:
    return evaluate(p, labels, CLASSES, images=[f"i{k}" for k in range(len(labels))], samples=200)


def people(images: int, seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "age": rng.choice([25.0, 45.0, 60.0, 80.0, np.nan], images),
            "sex": rng.choice(["female", "male", "unknown"], images, p=[0.45, 0.45, 0.1]),
            "site": rng.choice(["back", "face", "unknown"], images),
            "group": [f"lesion {k}" for k in range(images)],
        }
    )


def candidate(p: np.ndarray, labels: np.ndarray) -> Candidate:
    return Candidate(evaluated(p, labels), people(len(labels)))


def failed(verdicts: tuple[Verdict, ...]) -> list[str]:
    return [verdict.gate for verdict in verdicts if verdict.outcome == "failed"]


def gates(tmp_path: Path, text: str):
    (tmp_path / "gates.yaml").write_text(text)
    return read_gates(tmp_path / "gates.yaml")


def test_a_good_honest_model_passes_the_gates_that_come_with_the_package():
    verdicts = judge(ALL, candidate(*drawn()), None)
    assert failed(verdicts) == []
    assert passed(verdicts)
    assert {verdict.gate for verdict in verdicts} >= {
        "balanced_accuracy", "ece", "sensitivity at specificity 0.80, melanoma", "age 70 and over", "sex female",
        "site back", "champion",
    }  # fmt: skip
    assert ALL.file == "default"


def test_a_guessing_model_is_stopped_for_guessing_and_a_boastful_one_for_its_probabilities():
    p, labels = drawn()
    guesses = np.random.default_rng(5).permutation(p)
    assert "balanced_accuracy" in failed(judge(ALL, candidate(guesses, labels), None))
    soft, weak = drawn(skill=1.0)
    boastful = soft**6 / (soft**6).sum(axis=1, keepdims=True)
    stopped = judge(ALL, candidate(boastful, weak), None)
    assert "ece" in failed(stopped)
    (why,) = (verdict.why for verdict in stopped if verdict.gate == "ece")
    assert "the low end of its interval, is above 0.150" in why


def test_a_planted_failure_for_one_group_is_found_and_no_other():
    p, labels = drawn(900)
    given = candidate(p, labels)
    women = (given.table["sex"] == "female").to_numpy()
    p[women] = p[women][:, [1, 2, 0]]
    verdicts = judge(replace(ALL, metrics=()), replace(given, evaluation=evaluated(p, labels)), None)
    assert failed(verdicts) == ["sex female"]
    (why,) = (verdict.why for verdict in verdicts if verdict.gate == "sex female")
    assert f"on {women.sum()} images" in why
    assert "below all images (of melanoma, seborrheic_keratosis, nevus)" in why


@pytest.mark.parametrize("seed", range(8))
def test_small_groups_and_noise_stop_nobody(seed):
    p, labels = drawn(150, seed=seed)
    verdicts = judge(ALL, Candidate(evaluated(p, labels), people(150, seed)), None)
    assert not [verdict for verdict in verdicts if verdict.gate.startswith(("age", "sex", "site")) and verdict.why
                and verdict.outcome == "failed"]  # fmt: skip


def test_groups_that_are_too_small_are_shown_and_not_judged():
    p, labels = drawn(60)
    strict = SubgroupGate(("sex",), 51, 5, 0.0, "value")
    gate = replace(ALL, metrics=(), sensitivity=None, champion=None, subgroups=strict)
    verdicts = judge(gate, candidate(p, labels), None)
    assert {verdict.outcome for verdict in verdicts} == {"not judged"}
    assert all("images, at least 51 are judged" in verdict.why for verdict in verdicts)
    nobody = people(60).assign(sex="unknown")
    (verdict,) = judge(gate, Candidate(evaluated(p, labels), nobody), None)
    assert verdict.why == "nothing is known of sex of these people"


def test_a_column_of_which_nothing_is_known_is_named_beside_those_that_are_judged():
    p, labels = drawn(300)
    only = replace(ALL, metrics=(), sensitivity=None, champion=None)
    ageless = people(300).assign(age=np.nan)
    verdicts = judge(only, Candidate(evaluated(p, labels), ageless), None)
    assert {verdict.gate.split()[0] for verdict in verdicts} == {"sex", "site", "subgroups"}
    last = verdicts[-1]
    assert (last.gate, last.outcome, last.why) == (
        "subgroups by age", "not judged", "nothing is known of age of these people"
    )  # fmt: skip
    assert summed_up(verdicts) == "passed, 1 not judged: subgroups by age"


def test_gates_together_say_what_they_could_not_judge():
    p, labels = drawn(300)
    nobody = people(300).assign(age=np.nan, sex="unknown", site="unknown")
    verdicts = judge(ALL, Candidate(evaluated(p, labels), nobody), None)
    assert passed(verdicts)
    assert summed_up(verdicts) == "passed, 2 not judged: subgroups, champion"
    guesses = np.random.default_rng(5).permutation(p)
    stopped = judge(replace(ALL, sensitivity=None), Candidate(evaluated(guesses, labels), nobody), None)
    assert summed_up(stopped) == "stopped by balanced_accuracy, ece, 2 not judged: subgroups, champion"
    assert summed_up(stopped, 1) == "stopped by balanced_accuracy and 1 other, 2 not judged: subgroups and 1 other"


REQUIRED = [
    ("sensitivity: {of: auto, specificity: 0.8, at_least: 0.1%s}", "sensitivity at specificity 0.80"),
    ("subgroups: {columns: [age, sex], below_all: 0.5, by: high%s}", "subgroups by age"),
    ("subgroups: {columns: sex, images: 200, below_all: 0.5, by: high%s}", "sex male"),
    ("champion: {metrics: accuracy%s}", "champion"),
]


@pytest.mark.parametrize(("text", "gate"), REQUIRED, ids=[gate for _, gate in REQUIRED])
def test_what_is_required_fails_where_it_cannot_be_judged(tmp_path, text, gate):
    p, labels = drawn(300)
    names = ("benign", "seborrheic_keratosis", "nevus")  # nothing called melanoma
    table = people(300).assign(age=np.nan, sex=np.resize(["female"] * 3 + ["male"], 300))
    given = Candidate(evaluate(p, labels, names, images=[f"i{k}" for k in range(300)], samples=50), table)
    other = Champion(1, None, learnt="version 1 learnt from them")
    silent = judge(gates(tmp_path, text % ""), given, other)
    assert passed(silent)
    (why,) = (verdict.why for verdict in silent if verdict.gate == gate and verdict.outcome == "not judged")
    assert judge(gates(tmp_path, text % ", required: false"), given, other) == silent
    stopped = judge(gates(tmp_path, text % ", required: true"), given, other)
    assert failed(stopped) == [gate]
    (verdict,) = (verdict for verdict in stopped if verdict.gate == gate)
    assert verdict.why == f"required, and not judged: {why}"
    assert {v.gate: v.outcome for v in stopped if v.gate != gate} == {
        v.gate: v.outcome for v in silent if v.gate != gate
    }


def test_a_required_champion_does_not_stop_the_first_model(tmp_path):
    only = gates(tmp_path, "champion: {metrics: accuracy, required: true}\n")
    given = candidate(*drawn(60))
    assert summed_up(judge(only, given, None)) == "passed, 1 not judged: champion"
    assert passed(judge(only, given, Champion(1, given.evaluation)))


def test_a_group_that_passes_says_which_classes_were_not_judged(tmp_path):
    """Nine women with melanoma, all of them missed, are too few to be judged by: nobody may think that they were."""
    labels = np.repeat([0, 1, 2], [59, 60, 120])
    women = np.arange(239) % 2 == 0
    women[:59] = np.arange(59) < 9
    p = np.where(np.eye(3)[labels] > 0, 0.9, 0.05)
    p[:9] = [0.05, 0.05, 0.9]
    table = people(239).assign(sex=np.where(women, "female", "male"), group=[f"lesion {k}" for k in range(239)])
    text = "subgroups: {columns: sex, below_all: 0.15, at_least: 0.5}\n"
    verdicts = judge(gates(tmp_path, text), Candidate(evaluated(p, labels), table), None)
    over = "of seborrheic_keratosis, nevus (not judged, fewer than 10 images: melanoma)"
    assert {verdict.gate: (verdict.outcome, verdict.rule) for verdict in verdicts} == {
        "sex female": ("passed", f"≥ -0.150 against all, {over}"),
        "sex female by itself": ("passed", f"≥ 0.500, {over}"),
        "sex male": ("passed", "≥ -0.150 against all, of melanoma, seborrheic_keratosis, nevus"),
        "sex male by itself": ("passed", "≥ 0.500, of melanoma, seborrheic_keratosis, nevus"),
    }


def test_the_gap_of_a_group_is_over_the_classes_it_has_on_both_sides():
    labels = np.repeat([0, 1, 2], 20)
    table = pd.DataFrame({"sex": ["female"] * 10 + ["male"] * 10 + ["female"] * 10 + ["male"] * 30})
    table["group"] = ""
    right = np.arange(60) % 2 == 0
    right[:10] = False  # women's melanomas
    women, men = subgroups(table, right, labels, CLASSES, ["sex"], np.ones((4, 60)), per_class=10)
    assert (women.images, women.classes) == (20, ("melanoma", "seborrheic_keratosis"))
    assert women.balanced_accuracy.value == pytest.approx((0.0 + 0.5) / 2)
    assert women.gap.value == pytest.approx((0.0 + 0.5) / 2 - (0.25 + 0.5) / 2)
    assert men.classes == CLASSES
    assert men.gap.value == pytest.approx((0.25 + 0 + 0) / 3)


def test_the_gap_of_a_group_is_as_uncertain_as_its_classes_leave_it():
    labels = np.repeat([0, 1, 2], [60, 60, 180])
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"sex": np.where(np.arange(300) % 3, "male", "female"), "group": ""})
    right = rng.random(300) < 0.7
    samples = resamples(labels, samples=4000, seed=0)

    def half(*lesions):
        # Each class: women are a third, so their share less that of all is 2/3 of women's less men's share of right
        # ones. Where they have several photos it is an estimate: Korn & Graubard's squared ratio of Student's t, and
        # n / (n - 1) is that of lesions.
        variance = 0.0
        for k, count in enumerate(lesions):
            each = [right[(labels == k) & (table["sex"] == name).to_numpy()] for name in ("female", "male")]
            for part in each:
                known = len(part) * count // (20, 20, 60)[k]
                doubt = t.ppf(0.975, known - 1) / t.ppf(0.975, len(part) - 1)
                lacking = known / (known - 1) * (len(part) - 1) / len(part)
                variance += (2 / 3) ** 2 * part.var() / len(part) / 9 * doubt**2 * lacking
        return 1.96 * variance**0.5

    women, _ = subgroups(table, right, labels, CLASSES, ["sex"], samples)
    assert women.gap.high - women.gap.value == pytest.approx(half(20, 20, 60), rel=0.04)
    assert women.gap.value - women.gap.low == pytest.approx(half(20, 20, 60), rel=0.04)
    # Photos of one lesion are no more people: half as many lesions of two photos each.
    twice = table.assign(group=[f"lesion {k // 6} {k % 3}" for k in range(300)])
    fewer, _ = subgroups(twice, right, labels, CLASSES, ["sex"], samples)
    wider = (fewer.gap.high - fewer.gap.value) / (women.gap.high - women.gap.value)
    assert wider == pytest.approx(half(10, 10, 30) / half(20, 20, 60), rel=0.01)


def test_a_group_of_everybody_has_the_balanced_accuracy_of_all():
    p, labels = drawn(300)
    evaluation = evaluated(p, labels)
    table = people(300).assign(sex="female")
    right = evaluation.decisive.argmax(axis=1) == labels
    (everyone,) = subgroups(table, right, labels, CLASSES, ["sex"], resamples(labels, samples=200, seed=0))
    of_all = evaluation.intervals["balanced_accuracy"]
    own = everyone.balanced_accuracy
    assert own.value == pytest.approx(of_all.value)
    assert (own.low, own.high) == pytest.approx((of_all.low, of_all.high), abs=0.01)


def test_a_floor_stops_a_model_that_is_bad_for_everybody_alike(tmp_path):
    p, labels = drawn(600, skill=1.0)
    text = "subgroups: {columns: sex, below_all: 0.15, by: high%s}\n"
    given = candidate(p, labels)
    assert failed(judge(gates(tmp_path, text % ""), given, None)) == []
    verdicts = judge(gates(tmp_path, text % ", at_least: 0.95"), given, None)
    assert failed(verdicts) == ["sex female by itself", "sex male by itself"]
    (why,) = (verdict.why for verdict in verdicts if verdict.gate == "sex female by itself")
    assert why.startswith("balanced accuracy 0.")
    assert why.endswith("(of melanoma, seborrheic_keratosis, nevus)")
    small = judge(gates(tmp_path, text % ", at_least: 0.95, images: 500"), given, None)
    assert [(verdict.gate, verdict.outcome) for verdict in small] == [
        ("sex female", "not judged"), ("sex male", "not judged")
    ]  # fmt: skip
    assert {verdict.why[3:] for verdict in small} == {" images, at least 500 are judged"}


def test_a_group_that_is_all_right_is_not_certain_to_be():
    """No bootstrap sample shows an error where there is none: the interval was 0.000 to 0.000."""
    labels = np.repeat([0, 1], [20, 20])
    table = pd.DataFrame({"sex": ["female", "male"] * 20, "group": ""})
    women, _ = subgroups(table, np.ones(40, bool), labels, CLASSES, ["sex"], resamples(labels, samples=100, seed=0))
    # Ten of ten of two classes each, women and men: an error of twelve, and half of each class are men.
    half = 1.95996 * (2 * 2 * (1 / 12) * (11 / 12) / 10 / 4 / 4) ** 0.5
    assert (women.gap.value, women.gap.high) == (0.0, pytest.approx(half, rel=1e-4))
    assert women.gap.low == pytest.approx(-half, rel=1e-4)


def test_a_sensitivity_that_all_but_reaches_its_bound_is_not_certain():
    """Percentiles of the samples end where the score is: they said that 15 of 15 could be no less."""
    labels = np.repeat([0, 2], [15, 60])
    p = np.where(labels[:, None] == 0, [[0.8, 0.1, 0.1]], [[0.1, 0.1, 0.8]])
    only = replace(ALL, metrics=(), subgroups=None, champion=None)
    (verdict,) = judge(only, Candidate(evaluated(p, labels), people(75)), None)
    # What would still show fifteen of fifteen once in forty times.
    assert (verdict.interval.value, verdict.interval.low) == (1.0, pytest.approx(0.025 ** (1 / 15)))


def test_a_difference_to_the_champion_is_as_uncertain_as_the_rarest_class_leaves_it():
    p, labels = drawn(120)
    soft = p**0.5 / (p**0.5).sum(axis=1, keepdims=True)
    other = 0.7 * soft + 0.3 * np.random.default_rng(1).dirichlet([1.0] * 3, size=120)
    own, champion = candidate(p, labels), evaluated(other, labels)
    only = replace(ALL, metrics=(), sensitivity=None, subgroups=None)
    found = {verdict.gate: verdict.interval for verdict in judge(only, own, Champion(1, champion))}
    paired = paired_bootstrap(p, other, labels, CLASSES, groups=list(own.table["group"]), seed=0)
    samples = [sampled_summary(each, labels, CLASSES, own.samples) for each in (p, other)]
    rarest = int(np.bincount(labels).min())
    errors = float(t.ppf(0.975, rarest - 1)) * (rarest / (rarest - 1)) ** 0.5
    for name in ("mean_auc", "balanced_accuracy"):
        interval, compared = found[f"{name} against version 1"], paired[name]
        assert interval.high - interval.value == pytest.approx(errors * (samples[0][name] - samples[1][name]).std())
        # `compare` says the same of the same two.
        assert (interval.low, interval.value, interval.high) == pytest.approx(
            (compared.low, compared.difference, compared.high)
        )


def test_sensitivity_at_a_specificity_is_read_off_the_curve_of_scikit_learn():
    rng = np.random.default_rng(2)
    score, positive = rng.normal(size=200).round(1), rng.random(200) < 0.3
    score[positive] += 1
    fpr, tpr, _ = roc_curve(positive, score, drop_intermediate=False)
    for specificity in (0.5, 0.8, 0.95, 1.0):
        expected = tpr[fpr <= 1 - specificity + 1e-12].max()
        assert sensitivity_at(score, positive, np.ones((1, 200)), specificity)[0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("by", "outcomes"), [("high", ["passed"] * 4), ("value", ["passed", *["failed"] * 3]), ("low", ["failed"] * 4)]
)
def test_champions_do_not_drift_down_by_a_noise_width_each(tmp_path, by, outcomes):
    """Five models, each worse than the one before by less than 120 images can tell; together they are far apart."""
    labels = np.arange(120) % 3
    sizes = (24, 24, 28, 32, 36)  # wrong ones: the first two are equally good, on other images
    only = gates(tmp_path, f"champion: {{metrics: accuracy, by: {by}}}\n")
    models = []
    for n, wrong in enumerate(sizes):
        said = labels.copy()
        said[(np.arange(wrong) + 30 * n) % 120] += 1
        models.append(candidate(np.where(np.eye(3)[said % 3] > 0, 0.8, 0.1), labels))
    told = [judge(only, new, Champion(n, old.evaluation)) for n, (old, new) in enumerate(pairwise(models), 1)]
    assert [verdict.outcome for (verdict,) in told] == outcomes
    (verdict,) = told[0]
    assert verdict.interval.value == 0
    if by == "low":
        assert verdict.why.startswith("not worse than the champion, but that is not shown: 0.000 (")
    (far,) = judge(
        replace(only, champion=replace(only.champion, by="high")), models[-1], Champion(1, models[0].evaluation)
    )
    assert far.interval.value == pytest.approx(-0.1)


def test_a_champion_gate_goes_by_the_value_unless_it_says_otherwise(tmp_path):
    assert gates(tmp_path, "champion: {metrics: accuracy}\n").champion.by == "value"
    assert ALL.champion.by == "value"
    with pytest.raises(SpaceError, match=r"gates\.yaml:1: by is 'middle', must be value or"):
        gates(tmp_path, "champion: {metrics: accuracy, by: middle}\n")
    # The same model again, and as good to the last bits, is not worse.
    given = candidate(*drawn(60))
    hair = replace(given.evaluation, intervals={name: replace(each, value=each.value + 1e-16)
                                                for name, each in given.evaluation.intervals.items()})  # fmt: skip
    assert passed(judge(replace(ALL, metrics=(), sensitivity=None, subgroups=None), given, Champion(1, hair)))


def test_calibration_errors_of_two_models_are_not_compared(tmp_path):
    p, labels = drawn(300)
    own = candidate(p, labels)
    champion = Champion(3, evaluated(p, labels))
    both = gates(tmp_path, "champion: {metrics: [ece, brier]}")
    ece, brier = judge(both, own, champion)
    assert (ece.gate, ece.outcome, brier.outcome) == ("ece against version 3", "not judged", "passed")
    assert "compare log_loss or brier" in ece.why
    required = gates(tmp_path, "champion: {metrics: [ece], required: true}")
    assert failed(judge(required, own, champion)) == ["ece against version 3"]


def test_a_champion_that_is_better_beyond_doubt_stops_and_an_equal_one_does_not():
    p, labels = drawn(400)
    good = candidate(p, labels)
    worse = p**0.2 * np.random.default_rng(3).dirichlet([1.0] * 3, size=400)
    worse /= worse.sum(axis=1, keepdims=True)
    only = replace(ALL, metrics=(), sensitivity=None, subgroups=None)
    assert failed(judge(only, candidate(worse, labels), Champion(4, good.evaluation))) == [
        "mean_auc against version 4", "balanced_accuracy against version 4"
    ]  # fmt: skip
    assert failed(judge(only, good, Champion(4, candidate(worse, labels).evaluation))) == []
    same = judge(only, good, Champion(4, good.evaluation))
    assert [verdict.interval.value for verdict in same] == [0.0, 0.0]
    assert passed(same)
    (verdict,) = judge(only, good, Champion(4, None, "it tells other classes apart"))
    assert (verdict.outcome, verdict.why) == ("failed", "it tells other classes apart")


def test_a_score_where_less_is_better_is_compared_the_other_way(tmp_path):
    p, labels = drawn(400)
    boastful = p**4 / (p**4).sum(axis=1, keepdims=True)
    only = gates(tmp_path, "champion: {metrics: log_loss}\n")
    honest, other = candidate(p, labels), candidate(boastful, labels)
    assert failed(judge(only, other, Champion(1, honest.evaluation))) == ["log_loss against version 1"]
    assert failed(judge(only, honest, Champion(1, other.evaluation))) == []


def test_what_is_looked_for_can_be_named_and_a_class_that_is_not_there_is_refused(tmp_path):
    given = candidate(*drawn())
    text = "sensitivity: {{of: {of}, specificity: 1.0, at_least: 0.99}}\n"
    assert failed(judge(gates(tmp_path, text.format(of="[melanoma, nevus]")), given, None)) == [
        "sensitivity at specificity 1.00, melanoma or nevus"
    ]
    with pytest.raises(PromotionError, match="no class 'MEL'; known: melanoma, nevus, seborrheic_keratosis"):
        judge(gates(tmp_path, text.format(of="MEL")), given, None)


def test_every_name_of_other_classes_is_told_with_the_one_that_is_meant(tmp_path):
    wrong = gates(
        tmp_path,
        "operating_point: {of: MEL, sensitivity: 0.9}\n"
        "metrics:\n"
        "  auc_MEL: {at_least: 0.5}\n"
        "  specificity_at_82_nevi: {at_least: 0.5}\n"
        "  accuracy: {above_chance: 0.9}\n"
        "sensitivity: {of: [nevus, warts], specificity: 0.8, at_least: 0.4}\n"
        "champion:\n"
        "  metrics: [mean_auc, f1_melanom]\n",
    )
    with pytest.raises(PromotionError) as error:
        require_known(wrong, CLASSES)
    head, *lines = str(error.value).splitlines()
    assert head.endswith("judged for the classes melanoma, seborrheic_keratosis, nevus; nothing was opened")
    assert str(tmp_path / "gates.yaml") in head
    known = "known: melanoma, nevus, seborrheic_keratosis"
    file = tmp_path / "gates.yaml"
    most = "guessing reaches 0.333 of 3 classes: no model is more than 0.667 above"
    assert lines == [
        f"{file}:1: operating_point, of: no class 'MEL'; {known} (did you mean 'melanoma'?)",
        f"{file}:6: sensitivity, of: no class 'warts'; {known}",
        f"{file}:3: metrics, auc_MEL: no class 'MEL'; {known} (did you mean 'melanoma'?)",
        f"{file}:4: metrics, specificity_at_82_nevi: no class 'nevi'; {known} (did you mean 'nevus'?)",
        f"{file}:5: metrics, accuracy: above_chance is 0.9, and {most}",
        f"{file}:8: champion, metrics, f1_melanom: no class 'melanom'; {known} (did you mean 'melanoma'?)",
    ]
    require_known(ALL, CLASSES)


@pytest.mark.parametrize(("metric", "kind", "proof"), [("accuracy", "at_least", "low"), ("ece", "at_most", "high")])
def test_the_end_of_the_interval_that_asks_for_proof_is_the_one_nearer_to_the_bound(tmp_path, metric, kind, proof):
    given = candidate(*drawn())
    score = given.evaluation.intervals[metric]

    def stopped(bound: float, by: str) -> bool:
        only = gates(tmp_path, f"metrics: {{{metric}: {{{kind}: {bound}, by: {by}}}}}\n")
        return not passed(judge(only, given, None))

    assert stopped(score.value, proof)  # as good as asked for, and not beyond doubt
    assert not stopped(score.value, "low" if proof == "high" else "high")
    assert not stopped(score.value, "value")
    text = DEFAULT.read_text()
    assert "With `at_most` it is the other way round: there `by: high` asks for proof." in text


def test_a_score_that_is_not_defined_cannot_be_shown(tmp_path):
    p, labels = drawn()
    (verdict,) = judge(
        gates(tmp_path, "metrics: {auc_melanoma: {at_least: 0.5}}\n"), candidate(p, np.maximum(labels, 1)), None
    )
    assert (verdict.outcome, verdict.why) == (
        "failed", "it is not defined on these images, so it cannot be shown"
    )  # fmt: skip


@pytest.mark.parametrize(("metric", "guessed"), [("balanced_accuracy", 1 / 3), ("mean_auc", 0.5), ("auc_nevus", 0.5)])
def test_chance_is_what_guessing_reaches(tmp_path, metric, guessed):
    """A model that ranks at random reaches an AUC of one half: above one third it always was."""
    only = gates(tmp_path, f"metrics: {{{metric}: {{above_chance: 0.1}}}}\n")
    (verdict,) = judge(only, candidate(*drawn()), None)
    assert verdict.rule == f"≥ {guessed + 0.1:.3f}"


def test_more_above_chance_than_there_is_of_these_classes_is_refused(tmp_path):
    only = gates(tmp_path, "metrics: {accuracy: {above_chance: 0.8}}\n")
    with pytest.raises(PromotionError, match=r"guessing reaches 0.333 of 3 classes: no model is more than 0.667 above"):
        require_known(only, CLASSES)


def test_a_file_without_a_part_does_not_judge_it(tmp_path):
    found = gates(tmp_path, "metrics:\n  accuracy: {at_least: 0.1}\n")
    assert (found.calibrate, found.balance, found.operating_point, found.champion) == (False, False, None, None)
    assert [verdict.gate for verdict in judge(found, candidate(*drawn()), None)] == ["accuracy"]
    assert found.digest != ALL.digest


MISTAKES = [
    ("metrics: {acuracy: {at_least: 0.5}}", "gates.yaml:1: no metric 'acuracy'; known: .* (did you mean 'accuracy'?)"),
    ("metrics: {accuracy: {at_last: 0.5}}", "gates.yaml:1: accuracy needs one of at_least, at_most, above_chance"),
    (
        "metrics: {accuracy: {at_last: 0.5}}",
        "gates.yaml:1: no key 'at_last'; known: above_chance, at_least, at_most",
    ),
    ("metrics:\n  ece: {at_most: much}", "gates.yaml:2: at_most is 'much', must be a number"),
    ("calibration: platt", "gates.yaml:1: calibration is 'platt', must be temperature or none"),
    ("champions: {}", "gates.yaml:1: no key 'champions'; known: .* (did you mean 'champion'?)"),
    ("a: 1\nsubgroups: {columns: [race], below_all: 0.1}", "gates.yaml:2: no column 'race'; known: age, sex, site"),
    ("subgroups: {columns: [age]}", "gates.yaml:1: below_all is missing, must be a number from 0 to 1"),
    ("operating_point: 0.9", "gates.yaml:1: operating_point must be a mapping, is 0.9"),
    ("operating_point: {sensitivity: 90}", "gates.yaml:1: sensitivity is 90, must be a number from 0.01 to 1"),
    ("sensitivity: {of: 3, specificity: 0.8, at_least: 0.1}", "gates.yaml:1: of holds 3, must be a word"),
    ("metrics: {ece: {at_most: 0.1, by: middle}}", "gates.yaml:1: by is 'middle', must be value or low or high"),
    (
        "subgroups:\n  columns: [sex]\n  below_all: 0.1\n  required: yes",
        "gates.yaml:4: required is 'yes', must be true or false",
    ),
    ("champion: {metrics: accuracy, required: 1}", "gates.yaml:1: required is 1, must be true or false"),
    (
        "metrics:\n  ece:\n    at_most: 0.1\n    required: true",
        "gates.yaml:4: required is for sensitivity, subgroups, champion: a score that is not defined fails without it",
    ),
    ("a: 1\nsubgroups: {below_all: 0.1}", "gates.yaml:2: columns is missing, must be some of age, sex, site"),
    ("metrics:\n  ece: {at_most: 15}", "gates.yaml:2: at_most is 15, must be a number from 0 to 1, where ece lies"),
    ("metrics: {brier: {at_most: -1}}", "gates.yaml:1: at_most is -1, must be a number from 0 to 2"),
    ("metrics: {auc_melanoma: {at_least: 80}}", "gates.yaml:1: at_least is 80, must be a number from 0 to 1"),
    (
        "metrics:\n  log_loss:\n    at_least: 0.1",
        "gates.yaml:3: log_loss is better the smaller it is, and at_least asks for a large one: say at_most",
    ),
    (
        "metrics: {f1_nevus: {at_most: 0.5}}",
        "gates.yaml:1: f1_nevus is better the larger it is, and at_most asks for a small one: say at_least",
    ),
    (
        "metrics: {sensitivity_melanoma: {above_chance: 0.1}}",
        "gates.yaml:1: above_chance is for balanced_accuracy, accuracy and AUCs, .* : say at_least",
    ),
    ("metrics: {ece: {above_chance: 0.1}}", "gates.yaml:1: above_chance is for balanced_accuracy .* : say at_most"),
    (
        "metrics: {mean_auc: {above_chance: 0.6}}",
        "gates.yaml:1: above_chance is 0.6, must be a number from 0 to 0.5, how far mean_auc may lie above guessing",
    ),
    ("metrics: {accuracy: {above_chance: -0.1}}", "gates.yaml:1: above_chance is -0.1, must be a number from 0 to 1"),
    ("champion: {metrics: []}", "gates.yaml:1: metrics is empty, must be a score or a list of scores"),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES, ids=[text[:30] for text, _ in MISTAKES])
def test_mistakes_of_a_file_are_told_with_their_line(tmp_path, text, message):
    with pytest.raises(SpaceError) as error:
        gates(tmp_path, text + "\n")
    lines = [line for line in str(error.value).splitlines() if all(part in line for part in message.split(" .* "))]
    assert lines, str(error.value)


@pytest.mark.parametrize("text", ["- metrics\n", "accuracy\n"])
def test_a_file_that_is_no_mapping_is_told_to_be_no_gates_file(tmp_path, text):
    with pytest.raises(SpaceError, match=r"gates.yaml:1: a gates file is a mapping: metrics: …, sensitivity: …, "):
        gates(tmp_path, text)
    with pytest.raises(SpaceError, match="this is a folder; give a gates file in it"):
        read_gates(tmp_path)


@pytest.mark.parametrize("bound", ["much", ".nan", ".inf", "true", "1e12"])
def test_a_bound_that_is_none_is_told_once(tmp_path, bound):
    with pytest.raises(SpaceError) as error:
        gates(tmp_path, f"metrics: {{ece: {{at_most: {bound}}}}}\n")
    (line,) = str(error.value).splitlines()
    assert line.split(": ", 1)[1].startswith("at_most is ")


def test_the_file_of_the_package_says_what_each_part_is():
    text = DEFAULT.read_text()
    assert all(f"\n{part}:" in text for part in ("operating_point", "metrics", "sensitivity", "subgroups", "champion"))
