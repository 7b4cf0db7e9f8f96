"""Do 95 % intervals hold the truth 95 times in 100? A thousand drawn validation parts of each kind.

    python benchmarks/intervals.py --draws 1000                  # scores
    python benchmarks/intervals.py --of judgements --draws 1000  # what gates, reports, finalists and compare judge by

Probabilities are a softmax of normal logits, the true class's raised by `apart`; the truth is the score of 180 000
images. `percentiles` is the plain bootstrap interval of the same samples. The sizes are those of ISIC 2017's official
validation part and of the holdout split.

Recorded on 2026-11-22, 2 cores, AMD EPYC (300 samples each; a share of 0.95 in 1000 draws scatters by 0.007):

| images, apart | by | mean_auc | auc_melanoma | balanced_accuracy | accuracy | sensitivity_… | macro_ap | log_loss |
|---|---|---|---|---|---|---|---|---|
| 30/42/78, 1.5 | interval | 0.959 | 0.952 | 0.959 | 0.950 | 0.945 | 0.952 | 0.952 |
| 30/42/78, 1.5 | percentiles | 0.932 | 0.915 | 0.938 | 0.939 | 0.914 | 0.920 | 0.947 |
| 30/42/78, 2.5 | interval | 0.939 | 0.962 | 0.956 | 0.958 | 0.967 | 0.939 | 0.940 |
| 30/42/78, 2.5 | percentiles | 0.868 | 0.860 | 0.919 | 0.925 | 0.886 | 0.880 | 0.932 |
| 83/81/266, 1.5 | interval | 0.952 | 0.962 | 0.961 | 0.947 | 0.950 | 0.947 | 0.940 |
| 83/81/266, 1.5 | percentiles | 0.942 | 0.949 | 0.946 | 0.939 | 0.935 | 0.937 | 0.932 |

Intervals of accuracy and sensitivity are Wilson's; on the logit scale that of 30 melanomas held it in 0.982.

`--of judgements`: sensitivity to melanoma at specificity 0.80; the gap of a group of three in ten people to all, who
are served alike; the differences of two models, of which 0.7 of the variance of logits is common, by the bootstrap, by
DeLong (AUC of melanoma) and by McNemar (accuracy, sensitivity to melanoma); the mean AUC over all fresh runs of a
setting, of three whose `apart` deviates by 0.15. `normal` is 1.96 standard errors of the samples.

Recorded on 2026-11-22, 2 cores, AMD EPYC (1000 draws of 300 samples; a share of 0.95 scatters by 0.007):

| images, apart | by | at 0.80 | gap | mean_auc | balanced_acc. | DeLong | McNemar, acc. | McNemar, sens. | of runs |
|---|---|---|---|---|---|---|---|---|---|
| 30/42/78, 1.5 | interval | 0.958 | 0.963 | 0.967 | 0.963 | 0.936 | 0.958 | 0.956 | 0.965 |
| 30/42/78, 1.5 | percentiles | 0.945 | 0.943 | 0.946 | 0.948 | 0.930 | 0.942 | 0.915 | 0.937 |
| 30/42/78, 1.5 | normal | 0.921 | 0.950 | 0.957 | 0.951 | 0.936 | 0.950 | 0.932 | 0.931 |
| 30/42/78, 2.5 | interval | 0.977 | 0.986 | 0.932 | 0.963 | 0.865 | 0.965 | 0.990 | 0.953 |
| 30/42/78, 2.5 | percentiles | 0.310 | 0.897 | 0.905 | 0.930 | 0.879 | 0.932 | 0.750 | 0.915 |
| 30/42/78, 2.5 | normal | 0.368 | 0.924 | 0.917 | 0.948 | 0.879 | 0.948 | 0.860 | 0.890 |
| 83/81/266, 1.5 | interval | 0.956 | 0.951 | 0.952 | 0.951 | 0.931 | 0.946 | 0.950 | 0.949 |
| 83/81/266, 1.5 | percentiles | 0.942 | 0.942 | 0.941 | 0.944 | 0.923 | 0.940 | 0.934 | 0.888 |
| 83/81/266, 1.5 | normal | 0.927 | 0.948 | 0.944 | 0.947 | 0.930 | 0.947 | 0.935 | 0.896 |

Outside of 0.93 to 0.97, all where AUCs are 0.99: DeLong's interval (0.865), because two or three hard melanomas of 30
decide, and where a draw has none of them its variance is too small; and three that are too wide because of counts. Of
30 melanomas nearly all are found (0.977) or found by both models alike (0.990), of nine in a group nearly all are right
(0.986), and one more or fewer is several percent of the draws.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np
import pandas as pd

from lesion.metrics import (
    Interval,
    Paired,
    delong,
    difference_interval,
    intervals_of,
    lesions_of,
    limited_by,
    mcnemar,
    resamples,
    sampled_summary,
    share_interval,
    summary,
)
from lesion.subgroups import subgroups
from search.gates.judging import sensitivity_at
from search.identity import Identity
from search.rows import TrialRow
from search.series import Series
from search.standings import Draws, ranked

CLASSES = ("melanoma", "seborrheic_keratosis", "nevus")
SCORES = ("mean_auc", "auc_melanoma", "balanced_accuracy", "accuracy", "sensitivity_melanoma", "macro_ap", "log_loss")
PARTS = (((30, 42, 78), 1.5), ((30, 42, 78), 2.5), ((83, 81, 266), 1.5))
LARGE = 60_000
BOOTSTRAPPED = ("mean_auc", "balanced_accuracy")
TESTED = {"auc_melanoma": "DeLong", "accuracy": "McNemar", "sensitivity_melanoma": "McNemar"}
JUDGED = (
    "sensitivity at 0.80",
    "gap of a group",
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
    truth = summary(probabilities, labels, CLASSES, np.asarray(counts)[labels] / LARGE)
    found: dict[str, Counter[str]] = {"interval": Counter(), "percentiles": Counter()}
    for number in range(draws):
        probabilities, labels = draw(rng, counts, apart)
        values = summary(probabilities, labels, CLASSES)
        weights = resamples(labels, samples=samples, seed=number)
        sampled = sampled_summary(probabilities, labels, CLASSES, weights)
        ours = intervals_of(values, sampled, counts, CLASSES)
        for name in SCORES:
            low, high = np.quantile(sampled[name], [0.025, 0.975])
            found["interval"][name] += ours[name].low <= truth[name] <= ours[name].high
            found["percentiles"][name] += bool(low <= truth[name] <= high)
    return found


def judged(counts: tuple[int, ...], apart: float, draws: int, samples: int, seed: int) -> dict[str, Counter[str]]:
    """How often the intervals of `JUDGED` hold the truth, in three ways."""
    rng = np.random.default_rng(seed)
    truth = true_values(rng, counts, apart)
    found: dict[str, Counter[str]] = {"interval": Counter(), "percentiles": Counter(), "normal": Counter()}
    for number in range(draws):
        for name, (ours, value, drawn) in judgements(rng, counts, apart, samples, number).items():
            sampled = drawn[~np.isnan(drawn)]
            low, high = np.quantile(sampled, [0.025, 0.975])
            found["interval"][name] += ours.low <= truth[name] <= ours.high
            found["percentiles"][name] += bool(low <= truth[name] <= high)
            found["normal"][name] += bool(abs(truth[name] - value) <= 1.96 * sampled.std())
    return found


def true_values(rng: np.random.Generator, counts: tuple[int, ...], apart: float) -> dict[str, float]:
    """What the intervals of `JUDGED` should hold, from large parts."""
    (first, second), labels = draw_models(rng, (LARGE,) * len(counts), [apart, apart + BETTER])
    weights = np.asarray(counts)[labels] / LARGE
    scores = [summary(each, labels, CLASSES, weights) for each in (first, second)]
    runs = []
    for luck in LUCK * np.sqrt(2) * np.polynomial.hermite.hermgauss(9)[0]:
        probabilities, labels_of_run = draw(rng, (LARGE // 4,) * len(counts), apart + luck)
        weights_of_run = np.asarray(counts)[labels_of_run] * 4 / LARGE
        runs.append(summary(probabilities, labels_of_run, CLASSES, weights_of_run)["mean_auc"])
    return {
        "sensitivity at 0.80": float(sensitivity_at(first[:, 0], labels == 0, weights[None], 0.8)[0]),
        "gap of a group": 0.0,
        **{f"{name} apart": scores[1][name] - scores[0][name] for name in BOOTSTRAPPED},
        **{f"{name} apart, {test}": scores[1][name] - scores[0][name] for name, test in TESTED.items()},
        # Gauss and Hermite's rule for the mean over normally distributed skill.
        "mean of runs": float(np.polynomial.hermite.hermgauss(9)[1] @ runs / np.sqrt(np.pi)),
    }


def judgements(
    rng: np.random.Generator, counts: tuple[int, ...], apart: float, samples: int, seed: int
) -> dict[str, tuple[Interval, float, np.ndarray]]:
    """For each of `JUDGED` its interval, value and bootstrap samples, on one drawn part."""
    (first, second), labels = draw_models(rng, counts, [apart, apart + BETTER])
    weights, ones = resamples(labels, samples=samples, seed=seed), np.ones((1, len(labels)))
    lesions = lesions_of(labels, CLASSES)
    value = float(sensitivity_at(first[:, 0], labels == 0, ones, 0.8)[0])
    sampled = sensitivity_at(first[:, 0], labels == 0, weights, 0.8)
    found = {"sensitivity at 0.80": (share_interval(value, sampled, counts[0]), value, sampled)}
    found["gap of a group"] = gap(rng, first, labels, weights)
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


def gap(
    rng: np.random.Generator, probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> tuple[Interval, float, np.ndarray]:
    """The gap of people drawn at random, who are served as all are."""
    right = probabilities.argmax(axis=1) == labels
    table = pd.DataFrame({"sex": np.where(rng.random(len(labels)) < SHARE, "female", "unknown"), "group": ""})
    (told,) = subgroups(table, right, labels, CLASSES, ["sex"], weights, per_class=5)
    inside = (table["sex"] == "female").to_numpy()
    sampled = np.zeros(len(weights))
    for k in [CLASSES.index(name) for name in told.classes]:
        for members, sign in ((inside & (labels == k), 1), (labels == k, -1)):
            share = weights[:, members] @ right[members] / np.maximum(weights[:, members].sum(axis=1), 1)
            sampled += sign * share / len(told.classes)
    return told.gap, told.gap.value, sampled


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
    print(f"| images per class, apart | by | {' | '.join(names)} |\n|---|---|{'---|' * len(names)}")
    for counts, apart in PARTS:
        for way, hits in count(counts, apart, args.draws, args.samples, seed=1).items():
            shares = " | ".join(f"{hits[name] / args.draws:.3f}" for name in names)
            print(f"| {'/'.join(map(str, counts))}, {apart} | {way} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
