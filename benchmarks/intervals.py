"""Do 95 % intervals hold the truth 95 times in 100? A thousand drawn validation parts of each kind.

    python benchmarks/intervals.py --draws 1000                  # scores
    python benchmarks/intervals.py --of judgements --draws 1000  # what gates, reports, finalists and compare judge by

Probabilities are a softmax of normal logits, the true class's raised by `apart`; the truth is the score of 180 000
images. `percentiles` is the plain bootstrap interval of the same samples. The sizes are those of ISIC 2017's official
validation part and of the holdout split.

Recorded on 2026-11-23, 2 cores, Intel Xeon (300 samples each; a share of 0.95 in 1000 draws scatters by 0.007):

| score | 150, 1.5, int. | perc. | 150, 2.5, int. | perc. | 430, 1.5, int. | perc. |
|---|---|---|---|---|---|---|
| mean_auc | 0.959 | 0.932 | 0.939 | 0.868 | 0.952 | 0.942 |
| macro_auc | 0.956 | 0.931 | 0.932 | 0.880 | 0.959 | 0.945 |
| micro_auc | 0.955 | 0.936 | 0.930 | 0.897 | 0.951 | 0.939 |
| weighted_auc | 0.947 | 0.927 | 0.930 | 0.878 | 0.958 | 0.938 |
| macro_ap | 0.952 | 0.920 | 0.939 | 0.880 | 0.947 | 0.937 |
| balanced_accuracy | 0.948 | 0.938 | 0.953 | 0.919 | 0.957 | 0.946 |
| accuracy | 0.949 | 0.939 | 0.956 | 0.925 | 0.946 | 0.939 |
| macro_f1 | 0.960 | 0.941 | 0.970 | 0.924 | 0.953 | 0.944 |
| log_loss | 0.952 | 0.947 | 0.940 | 0.932 | 0.940 | 0.932 |
| brier | 0.952 | 0.951 | 0.944 | 0.927 | 0.950 | 0.940 |
| ece | 0.911 | 0.489 | 0.898 | 0.839 | 0.919 | 0.846 |
| auc_melanoma | 0.952 | 0.915 | 0.962 | 0.860 | 0.962 | 0.949 |
| ap_melanoma | 0.946 | 0.922 | 0.947 | 0.877 | 0.953 | 0.940 |
| sensitivity_melanoma | 0.942 | 0.914 | 0.954 | 0.886 | 0.948 | 0.935 |
| specificity_melanoma | 0.955 | 0.943 | 0.952 | 0.917 | 0.952 | 0.946 |
| precision_melanoma | 0.978 | 0.951 | 0.958 | 0.914 | 0.968 | 0.951 |
| f1_melanoma | 0.972 | 0.942 | 0.978 | 0.930 | 0.962 | 0.949 |
| specificity_at_82_melanoma | 0.965 | 0.951 | 0.937 | 0.883 | 0.961 | 0.960 |
| specificity_at_89_melanoma | 0.968 | 0.927 | 0.962 | 0.947 | 0.955 | 0.951 |
| specificity_at_95_melanoma | 0.926 | 0.873 | 0.938 | 0.913 | 0.951 | 0.933 |

Outside of 0.93 to 0.97: the calibration error of these models, which say too little of themselves (0.898 to 0.919;
benchmarks/calibration_error.py has calibrated ones and those that say too much), specificity at a sensitivity of 0.95,
which hangs on one or two melanomas of 30 (0.926), and precision and F1 of 30 melanomas, a little too wide (0.978).

Intervals of shares and of the balanced accuracy are Wilson's with z; on the logit scale the sensitivity of 30 melanomas
held it in 0.982.

`--of judgements`: sensitivity to melanoma at specificity 0.80; the gap of a group of three in ten people to all, who
are served alike, and its own balanced accuracy (`group`), over the classes of which it has five images; the differences
of two models, of which 0.7 of the variance of logits is common, by the bootstrap, by DeLong (AUC of melanoma) and by
McNemar (accuracy, sensitivity to melanoma); the mean AUC over all fresh runs of a setting, of three whose `apart`
deviates by 0.15. `normal` is 1.96 standard errors of the samples.

Recorded on 2026-11-23, 2 cores, Intel Xeon (1000 draws of 300 samples; a share of 0.95 scatters by 0.007):

| images, apart | by | at 0.80 | gap | group | mean_auc | bal. acc. | DeLong | McNemar, acc. | McNemar, sens. | runs |
|---|---|---|---|---|---|---|---|---|---|---|
| 30/42/78, 1.5 | interval | 0.957 | 0.967 | 0.962 | 0.967 | 0.963 | 0.945 | 0.958 | 0.956 | 0.965 |
| 30/42/78, 1.5 | percentiles | 0.945 | 0.943 | 0.929 | 0.946 | 0.948 | 0.930 | 0.942 | 0.915 | 0.937 |
| 30/42/78, 1.5 | normal | 0.921 | 0.950 | 0.922 | 0.957 | 0.951 | 0.936 | 0.950 | 0.932 | 0.931 |
| 30/42/78, 2.5 | interval | 0.960 | 0.994 | 0.970 | 0.932 | 0.963 | 0.937 | 0.965 | 0.990 | 0.953 |
| 30/42/78, 2.5 | percentiles | 0.310 | 0.897 | 0.846 | 0.905 | 0.930 | 0.879 | 0.932 | 0.750 | 0.915 |
| 30/42/78, 2.5 | normal | 0.368 | 0.924 | 0.831 | 0.917 | 0.948 | 0.879 | 0.948 | 0.860 | 0.890 |
| 83/81/266, 1.5 | interval | 0.955 | 0.951 | 0.954 | 0.952 | 0.951 | 0.934 | 0.946 | 0.950 | 0.949 |
| 83/81/266, 1.5 | percentiles | 0.942 | 0.942 | 0.942 | 0.941 | 0.944 | 0.923 | 0.940 | 0.934 | 0.888 |
| 83/81/266, 1.5 | normal | 0.927 | 0.948 | 0.939 | 0.944 | 0.947 | 0.930 | 0.947 | 0.935 | 0.896 |

Outside of 0.93 to 0.97 where AUCs are 0.99, too wide because of counts: of 30 melanomas nearly all are found by both
models alike (0.990), of nine in a group nearly all are right (its gap, 0.994), and one more or fewer is several percent
of the draws (benchmarks/shares.py has other truths). By Student's t `at 0.80` held it in 0.977 there, a group in 0.988
and 0.991. By the standard error of the difference (`normal`) DeLong's would hold 0.879.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np
import pandas as pd

from lesion.metrics import (
    METRICS,
    Interval,
    Paired,
    delong,
    difference_interval,
    intervals_of,
    lesions_of,
    limited_by,
    mcnemar,
    metrics_of,
    report,
    resamples,
    sampled_share,
    sampled_summary,
    share_interval,
    summary,
)
from lesion.metrics.scores import sampled_report
from lesion.subgroups import subgroups
from search.gates.judging import sensitivity_at
from search.identity import Identity
from search.rows import TrialRow
from search.series import Series
from search.standings import Draws, ranked

CLASSES = ("melanoma", "seborrheic_keratosis", "nevus")
SCORES = tuple(name for name in metrics_of(CLASSES) if name in METRICS or name.endswith("_melanoma"))
"""All of all classes together, and all of the rarest one: what gates, reports and model cards can name."""
PARTS = (((30, 42, 78), 1.5), ((30, 42, 78), 2.5), ((83, 81, 266), 1.5))
LARGE = 60_000
BOOTSTRAPPED = ("mean_auc", "balanced_accuracy")
TESTED = {"auc_melanoma": "DeLong", "accuracy": "McNemar", "sensitivity_melanoma": "McNemar"}
JUDGED = (
    "sensitivity at 0.80",
    "gap of a group",
    "a group by itself",
    *(f"{name} apart" for name in BOOTSTRAPPED),
    *(f"{name} apart, {test}" for name, test in TESTED.items()),
    "mean of runs",
)
BETTER, COMMON, SHARE, RUNS, LUCK = 0.3, 0.7, 0.3, 3, 0.15
"""How much better the second model is, variance that models share, share of the group, runs and their deviation."""


def draw(rng: np.random.Generator, counts: tuple[int, ...], apart: float) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and labels of one part."""
    labels = np.repeat(np.arange(len(counts)), counts)
    return softmax(rng.normal(size=(len(labels), len(counts))), labels, apart), labels


def softmax(logits: np.ndarray, labels: np.ndarray, apart: float) -> np.ndarray:
    raised = logits + apart * np.eye(logits.shape[1])[labels]
    powers = np.exp(raised - raised.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def draw_models(
    rng: np.random.Generator, counts: tuple[int, ...], aparts: list[float]
) -> tuple[list[np.ndarray], np.ndarray]:
    """Probabilities of several models on the same images, and labels."""
    labels = np.repeat(np.arange(len(counts)), counts)
    shape = (len(labels), len(counts))
    common = COMMON**0.5 * rng.normal(size=shape)
    return [softmax(common + (1 - COMMON) ** 0.5 * rng.normal(size=shape), labels, each) for each in aparts], labels


def covered(counts: tuple[int, ...], apart: float, draws: int, samples: int, seed: int) -> dict[str, Counter[str]]:
    """How often each interval holds the truth."""
    rng = np.random.default_rng(seed)
    probabilities, labels = draw(rng, (LARGE,) * len(counts), apart)
    truth = report(probabilities, labels, CLASSES, np.asarray(counts)[labels] / LARGE)
    found: dict[str, Counter[str]] = {"interval": Counter(), "percentiles": Counter()}
    for number in range(draws):
        probabilities, labels = draw(rng, counts, apart)
        values = report(probabilities, labels, CLASSES)
        weights = resamples(labels, samples=samples, seed=number)
        sampled = sampled_report(probabilities, labels, CLASSES, weights)
        ours = intervals_of(values, sampled, counts, CLASSES)
        for name in SCORES:
            low, high = np.nanquantile(sampled[name], [0.025, 0.975])
            found["interval"][name] += ours[name].low <= truth[name] <= ours[name].high
            found["percentiles"][name] += bool(low <= truth[name] <= high)
    return found


def judged(counts: tuple[int, ...], apart: float, draws: int, samples: int, seed: int) -> dict[str, Counter[str]]:
    """How often the intervals of `JUDGED` hold the truth, in three ways."""
    rng = np.random.default_rng(seed)
    truth, recalls = true_values(rng, counts, apart)
    found: dict[str, Counter[str]] = {"interval": Counter(), "percentiles": Counter(), "normal": Counter()}
    for number in range(draws):
        for name, (ours, value, drawn) in judgements(rng, counts, apart, recalls, samples, number).items():
            sampled = drawn[~np.isnan(drawn)]
            low, high = np.quantile(sampled, [0.025, 0.975])
            found["interval"][name] += ours.low <= truth[name] <= ours.high
            found["percentiles"][name] += bool(low <= truth[name] <= high)
            found["normal"][name] += bool(abs(truth[name] - value) <= 1.96 * sampled.std())
    return found


def true_values(rng: np.random.Generator, counts: tuple[int, ...], apart: float) -> tuple[dict[str, float], np.ndarray]:
    """What the intervals of `JUDGED` should hold, and the recalls (classes,) of the first model, from large parts."""
    (first, second), labels = draw_models(rng, (LARGE,) * len(counts), [apart, apart + BETTER])
    weights = np.asarray(counts)[labels] / LARGE
    scores = [summary(each, labels, CLASSES, weights) for each in (first, second)]
    runs = []
    for luck in LUCK * np.sqrt(2) * np.polynomial.hermite.hermgauss(9)[0]:
        probabilities, labels_of_run = draw(rng, (LARGE // 4,) * len(counts), apart + luck)
        weights_of_run = np.asarray(counts)[labels_of_run] * 4 / LARGE
        runs.append(summary(probabilities, labels_of_run, CLASSES, weights_of_run)["mean_auc"])
    recalls = np.array([scores[0][f"sensitivity_{name}"] for name in CLASSES])
    return {
        "sensitivity at 0.80": float(sensitivity_at(first[:, 0], labels == 0, weights[None], 0.8)[0]),
        "gap of a group": 0.0,
        "a group by itself": 0.0,
        **{f"{name} apart": scores[1][name] - scores[0][name] for name in BOOTSTRAPPED},
        **{f"{name} apart, {test}": scores[1][name] - scores[0][name] for name, test in TESTED.items()},
        # Gauss and Hermite's rule for the mean over normally distributed skill.
        "mean of runs": float(np.polynomial.hermite.hermgauss(9)[1] @ runs / np.sqrt(np.pi)),
    }, recalls


def judgements(
    rng: np.random.Generator, counts: tuple[int, ...], apart: float, recalls: np.ndarray, samples: int, seed: int
) -> dict[str, tuple[Interval, float, np.ndarray]]:
    """For each of `JUDGED` its interval, value and bootstrap samples, on one drawn part."""
    (first, second), labels = draw_models(rng, counts, [apart, apart + BETTER])
    weights, ones = resamples(labels, samples=samples, seed=seed), np.ones((1, len(labels)))
    lesions = lesions_of(labels, CLASSES)
    value = float(sensitivity_at(first[:, 0], labels == 0, ones, 0.8)[0])
    sampled = sensitivity_at(first[:, 0], labels == 0, weights, 0.8)
    found = {"sensitivity at 0.80": (share_interval(sampled_share(value, sampled, counts[0])), value, sampled)}
    found["gap of a group"], found["a group by itself"] = group(rng, first, labels, weights, recalls)
    values = [summary(each, labels, CLASSES) for each in (first, second)]
    drawn = [sampled_summary(each, labels, CLASSES, weights) for each in (first, second)]
    for name in BOOTSTRAPPED:
        value, sampled = values[1][name] - values[0][name], drawn[1][name] - drawn[0][name]
        ours = difference_interval(value, sampled, limited_by(name, CLASSES, lesions))
        found[f"{name} apart"] = ours, value, sampled
    for name, test in tested(first, second, labels).items():
        ours = Interval(test.difference, test.low, test.high)
        found[f"{name} apart, {test.test}"] = ours, test.difference, drawn[1][name] - drawn[0][name]
    found["mean of runs"] = three_runs(rng, counts, apart, weights)
    return found


def tested(first: np.ndarray, second: np.ndarray, labels: np.ndarray) -> dict[str, Paired]:
    """`TESTED` of second and first model, as `search.reporting.comparison` tests them."""
    melanoma = labels == 0
    right = [each.argmax(axis=1) == labels for each in (second, first)]
    return {
        "auc_melanoma": delong(second[:, 0], first[:, 0], melanoma),
        "accuracy": mcnemar(*right),
        "sensitivity_melanoma": mcnemar(*(each[melanoma] for each in right)),
    }


def group(
    rng: np.random.Generator, probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray, recalls: np.ndarray
) -> list[tuple[Interval, float, np.ndarray]]:
    """Of people drawn at random, who are served as all are: their gap to all, and how far they are off the truth.

    The truth is of the classes that the group has enough images of, which differ from draw to draw.
    """
    right = probabilities.argmax(axis=1) == labels
    table = pd.DataFrame({"sex": np.where(rng.random(len(labels)) < SHARE, "female", "unknown"), "group": ""})
    (told,) = subgroups(table, right, labels, CLASSES, ["sex"], weights, per_class=5)
    inside = (table["sex"] == "female").to_numpy()
    judged = [CLASSES.index(name) for name in told.classes]
    within, everyone = (
        np.mean([
            weights[:, members] @ right[members] / np.maximum(weights[:, members].sum(axis=1), 1)
            for members in (people & (labels == k) for k in judged)
        ], axis=0)
        for people in (inside, np.ones_like(inside))
    )  # fmt: skip
    own, truth = told.balanced_accuracy, recalls[judged].mean()
    off = Interval(own.value - truth, own.low - truth, own.high - truth)
    return [(told.gap, told.gap.value, within - everyone), (off, off.value, within - truth)]


def three_runs(
    rng: np.random.Generator, counts: tuple[int, ...], apart: float, weights: np.ndarray
) -> tuple[Interval, float, np.ndarray]:
    """The mean of fresh runs of one setting, and samples in which runs are drawn as well."""
    runs, labels = draw_models(rng, counts, list(rng.normal(apart, LUCK, RUNS)))
    values = [summary(each, labels, CLASSES)["mean_auc"] for each in runs]
    table = np.stack([sampled_summary(each, labels, CLASSES, weights)["mean_auc"] for each in runs])
    identity = Identity("drawn", "d", "holdout", "s", "mean_auc", "maximize", {"epochs": 1})
    noted = [{"finalist_of": 0, "index": k, "series": "drawn.finalists"} for k in range(RUNS)]
    rows = tuple(TrialRow(k, "complete", values[k], 1, {}, {}, noted[k]) for k in range(RUNS))
    searched = (TrialRow(0, "complete", values[0], 1, {}, {}, {}),)
    draws = Draws(dict(enumerate(table)), limited_by("mean_auc", CLASSES, counts))
    (standing,) = ranked(Series("drawn.finalists", "drawn", identity, rows), searched, draws)
    assert standing.interval is not None
    picks = np.random.default_rng(0).integers(RUNS, size=table.shape)
    return standing.interval, standing.mean, np.take_along_axis(table, picks, axis=0).mean(axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--of", choices=("scores", "judgements"), default="scores")
    args = parser.parse_args()
    names, count = (SCORES, covered) if args.of == "scores" else (JUDGED, judged)
    told = {
        f"{'/'.join(map(str, counts))}, {apart}, {way}": [hits[name] / args.draws for name in names]
        for counts, apart in PARTS
        for way, hits in count(counts, apart, args.draws, args.samples, seed=1).items()
    }
    print(f"| score | {' | '.join(told)} |\n|---|{'---|' * len(told)}")
    for name, *shares in zip(names, *told.values(), strict=True):
        print(f"| {name} | {' | '.join(f'{share:.3f}' for share in shares)} |")


if __name__ == "__main__":
    main()
