"""Do intervals hold the truth of lesions with several photos, and of seven classes? A thousand drawn parts.

    python benchmarks/lesions.py --draws 1000                 # three classes
    python benchmarks/lesions.py --classes seven --draws 500  # 1.5 s a draw

Two models judge the same photos of drawn lesions (30/42/78 of three classes; of seven 10 to 670, as in a tenth of
HAM10000), which have one to four photos as HAM10000's have, or one each. Logits of a lesion's photos have a correlation
of 0.5, and those of the models one of 0.7; `apart` as in `benchmarks/intervals.py`. Intervals are those of
`lesion.metrics.intervals_of` for the first model, and of `paired_bootstrap` and DeLong (`auc_` of the rarest class) for
how much better the second is, on the same samples of lesions. `blind` takes photos for lesions.

Recorded on 2026-11-23, 2 cores, Intel Xeon (1000 draws of 300 samples; a share of 0.95 scatters by 0.007):

| three classes | one, score | one, difference | several, score | several, difference | several, score, blind |
|---|---|---|---|---|---|
| mean_auc | 0.949 | 0.958 | 0.957 | 0.944 | 0.925 |
| macro_ap | 0.946 | 0.952 | 0.948 | 0.941 | 0.915 |
| balanced_accuracy | 0.940 | 0.945 | 0.940 | 0.946 | 0.919 |
| accuracy | 0.941 | 0.944 | 0.946 | 0.937 | 0.925 |
| macro_f1 | 0.955 | 0.950 | 0.963 | 0.949 | 0.938 |
| log_loss | 0.943 | 0.948 | 0.950 | 0.949 | 0.919 |
| brier | 0.944 | 0.943 | 0.953 | 0.949 | 0.928 |
| ece | 0.914 | – | 0.906 | – | 0.909 |
| auc_melanoma | 0.955 | 0.957 | 0.945 | 0.951 | 0.923 |
| sensitivity_melanoma | 0.941 | 0.934 | 0.948 | 0.937 | 0.925 |
| specificity_melanoma | 0.949 | 0.942 | 0.942 | 0.955 | 0.930 |

Outside of 0.93 to 0.97 is the calibration error alone: these models say too little (benchmarks/calibration_error.py).

Seven classes, 500 draws (a share of 0.95 scatters by 0.010; 14 minutes beside tests):

| seven classes | one, score | one, difference | several, score | several, difference | several, score, blind |
|---|---|---|---|---|---|
| mean_auc | 0.948 | 0.960 | 0.950 | 0.970 | 0.926 |
| macro_ap | 0.974 | 0.968 | 0.968 | 0.978 | 0.926 |
| balanced_accuracy | 0.944 | 0.966 | 0.954 | 0.978 | 0.920 |
| accuracy | 0.942 | 0.948 | 0.932 | 0.932 | 0.904 |
| macro_f1 | 0.986 | 0.980 | 0.984 | 0.984 | 0.946 |
| log_loss | 0.938 | 0.932 | 0.944 | 0.944 | 0.900 |
| brier | 0.948 | 0.938 | 0.938 | 0.942 | 0.908 |
| ece | 0.924 | – | 0.930 | – | 0.912 |
| auc_DF | 0.916 | 0.906 | 0.914 | 0.908 | 0.880 |
| sensitivity_DF | 0.952 | 0.912 | 0.946 | 0.936 | 0.910 |
| specificity_DF | 0.956 | 0.936 | 0.948 | 0.938 | 0.936 |

Of ten lesions of the rarest class (DF), the AUC's interval holds the truth in 0.91, and those of F1 and average
precision, whose mean goes over seven classes, in 0.97 to 0.99: too wide. Balanced accuracy, AUC and accuracy of all
classes together are within.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np

from lesion.metrics import (
    delong,
    difference_interval,
    intervals_of,
    lesions_of,
    limited_by,
    resamples,
    sampled_summary,
    summary,
)

CLASSES = {
    "three": (("melanoma", "seborrheic_keratosis", "nevus"), (30, 42, 78)),
    "seven": (("DF", "VASC", "AKIEC", "BCC", "BKL", "MEL", "NV"), (10, 14, 33, 51, 110, 111, 670)),
}
PHOTOS = {"one": (1.0,), "several": (0.73, 0.19, 0.06, 0.02)}
APART, BETTER, ALIKE, COMMON = 1.5, 0.3, 0.5, 0.7
LARGE = 60_000


def draw(
    rng: np.random.Generator, lesions: tuple[int, ...], photos: tuple[float, ...]
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Probabilities of two models, labels, and lesion ids of photos."""
    count = rng.choice(len(photos), sum(lesions), p=photos) + 1
    members = np.repeat(np.arange(len(count)), count)
    labels = np.repeat(np.arange(len(lesions)), lesions)[members]

    def noise() -> np.ndarray:
        of_lesion, of_photo = rng.normal(size=(len(count), len(lesions))), rng.normal(size=(len(labels), len(lesions)))
        return np.asarray(ALIKE**0.5 * of_lesion[members] + (1 - ALIKE) ** 0.5 * of_photo)

    common, found = noise(), []
    for apart in (APART, APART + BETTER):
        logits = COMMON**0.5 * common + (1 - COMMON) ** 0.5 * noise() + apart * np.eye(len(lesions))[labels]
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        found.append(powers / powers.sum(axis=1, keepdims=True))
    return found, labels, members.astype(str)


def held(classes: str, photos: str, draws: int, samples: int) -> dict[str, Counter[str]]:
    """How often each interval holds the truth: of a score, of its difference, and with photos taken for lesions."""
    names, lesions = CLASSES[classes]
    rare, rng = names[0], np.random.default_rng(1)
    scores = ("mean_auc", "macro_ap", "balanced_accuracy", "accuracy", "macro_f1", "log_loss", "brier", "ece")
    scores = (*scores, f"auc_{rare}", f"sensitivity_{rare}", f"specificity_{rare}")
    truths = true_scores(rng, classes)
    found: dict[str, Counter[str]] = {"score": Counter(), "difference": Counter(), "score, blind": Counter()}
    for seed in range(draws):
        models, labels, ids = draw(rng, lesions, PHOTOS[photos])
        values = [summary(each, labels, names) for each in models]
        for blind in (False, True)[: len(PHOTOS[photos])]:
            groups = None if blind else ids
            weights = resamples(labels, groups=groups, samples=samples, seed=seed)
            known = lesions_of(labels, names, groups)
            sampled = sampled_summary(models[0], labels, names, weights)
            ours = intervals_of(values[0], sampled, known, names, images=lesions_of(labels, names))
            for name in scores:
                found["score, blind" if blind else "score"][name] += (
                    ours[name].low <= truths[0][name] <= ours[name].high
                )
            if blind:
                continue
            better = sampled_summary(models[1], labels, names, weights)
            for name in scores:
                apart, true = values[1][name] - values[0][name], truths[1][name] - truths[0][name]
                interval = difference_interval(apart, better[name] - sampled[name], limited_by(name, names, known))
                low, high = interval.low, interval.high
                if name == f"auc_{rare}":
                    test = delong(models[1][:, 0], models[0][:, 0], labels == 0, ids.tolist())
                    low, high = test.low, test.high
                found["difference"][name] += low <= true <= high
            del found["difference"]["ece"]  # which has no test of its own
    return found


def true_scores(rng: np.random.Generator, classes: str) -> list[dict[str, float]]:
    """Of both models, from as many lesions of each class, weighted as they are in a part."""
    names, lesions = CLASSES[classes]
    models, labels, _ = draw(rng, (LARGE,) * len(names), PHOTOS["one"])
    return [summary(each, labels, names, np.asarray(lesions)[labels] / LARGE) for each in models]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--classes", choices=tuple(CLASSES), default="three")
    args = parser.parse_args()
    told = {
        f"{photos}, {what}": hits
        for photos in PHOTOS
        for what, hits in held(args.classes, photos, args.draws, args.samples).items()
        if hits
    }
    print(f"| {args.classes} classes | {' | '.join(told)} |\n|---|{'---|' * len(told)}")
    for name in next(iter(told.values())):
        row = (f"{hits[name] / args.draws:.3f}" if name in hits else "–" for hits in told.values())
        print(f"| {name} | {' | '.join(row)} |")


if __name__ == "__main__":
    main()
