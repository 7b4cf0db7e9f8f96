"""Do intervals of shares hold the truth 95 times in 100, where they are of few images? At fixed truths and over many.

    python benchmarks/shares.py --draws 1000

Of nine images a share can be one of ten numbers, so how often an interval holds the truth jumps with the truth,
whatever its rule (Brown, Cai & DasGupta 2001): what a rule can be asked for is 95 % over the truths that there may be.
`over truths` is the mean over true shares from 0.5 to 0.98, `least` and `most` are those of single true shares; those
of one share are exact. Means have a truth of their own for each class; differences are McNemar's interval of two models
that are right of the same images more often than by chance; both are drawn ten times as often. Lesions have one to four
photos as HAM10000's have, or one, three or six (`many`), of which `alike` is the correlation.

Recorded on 2026-11-23, 2 cores, Intel Xeon (a share of 0.95 in 1000 draws scatters by 0.007):

| of | over truths | least | most |
|---|---|---|---|
| one share of 9 | 0.958 | 0.894 | 0.987 |
| one share of 10 | 0.958 | 0.895 | 0.985 |
| one share of 20 | 0.954 | 0.899 | 0.982 |
| one share of 30 | 0.953 | 0.919 | 0.980 |
| one share of 80 | 0.951 | 0.929 | 0.979 |

| of | over truths | 0.65 | 0.9 | 0.97 |
|---|---|---|---|---|
| mean over classes of 9/13/23 | 0.949 | 0.942 | 0.955 | 0.956 |
| mean over classes of 30/42/78 | 0.948 | 0.948 | 0.947 | 0.967 |
| mean over classes of 83/81/266 | 0.949 | 0.951 | 0.947 | 0.957 |
| mean over classes of 10/14/33/51/110/111/670 | 0.950 | 0.942 | 0.962 | 0.978 |
| difference of two shares of 30 | 0.967 | 0.953 | 0.983 | 0.997 |
| difference of two shares of 150 | 0.950 | 0.949 | 0.950 | 0.951 |

| lesions | photos | alike 0.1 | 0.3 | 0.6 |
|---|---|---|---|---|
| 10 | HAM10000 | 0.957 | 0.963 | 0.957 |
| 20 | HAM10000 | 0.968 | 0.946 | 0.951 |
| 30 | HAM10000 | 0.944 | 0.964 | 0.951 |
| 100 | HAM10000 | 0.954 | 0.936 | 0.943 |
| 10 | many | 0.959 | 0.948 | 0.946 |
| 20 | many | 0.951 | 0.944 | 0.926 |
| 30 | many | 0.952 | 0.929 | 0.935 |
| 100 | many | 0.952 | 0.943 | 0.938 |
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable

import numpy as np
from scipy.stats import binom

from lesion.metrics import Share, mcnemar, mean_share, resamples, sampled_share, share_interval

TRUTHS = np.linspace(0.5, 0.98, 481)
FIXED = (0.65, 0.9, 0.97)
CLASSES = ((9, 13, 23), (30, 42, 78), (83, 81, 266), (10, 14, 33, 51, 110, 111, 670))
PHOTOS = {"HAM10000": ((1, 2, 3, 4), (0.73, 0.19, 0.06, 0.02)), "many": ((1, 3, 6), (0.4, 0.3, 0.3))}
SAMPLES = 300


def of_one(images: int) -> np.ndarray:
    """How often the interval of a share of so many images holds each of `TRUTHS`."""
    right = np.arange(images + 1)
    ends = np.array([[each.low, each.high] for each in (share_interval(Share(k / images, images)) for k in right)])
    held = (ends[:, :1] <= TRUTHS) & (ends[:, 1:] >= TRUTHS)
    return np.asarray((binom.pmf(right[:, None], images, TRUTHS) * held).sum(axis=0))


def of_mean(rng: np.random.Generator, counts: tuple[int, ...], fixed: float | None, draws: int) -> float:
    """How often the interval of a mean over classes holds the truth: `fixed` in each class, or another in each draw."""
    held = 0
    for _ in range(draws):
        truth = rng.choice(TRUTHS, len(counts)) if fixed is None else np.full(len(counts), fixed)
        right = rng.binomial(counts, truth)
        found = share_interval(mean_share([Share(k / n, n) for k, n in zip(right.tolist(), counts, strict=True)]))
        held += found.low <= truth.mean() <= found.high
    return held / draws


def of_lesions(rng: np.random.Generator, lesions: int, photos: str, alike: float, draws: int) -> float:
    """How often the interval of a share of photos holds the truth, another in each draw, by a bootstrap of lesions."""
    held = 0
    for seed in range(draws):
        truth, counts = rng.choice(TRUTHS), rng.choice(PHOTOS[photos][0], lesions, p=PHOTOS[photos][1])
        of_lesion = rng.beta(truth * (1 / alike - 1), (1 - truth) * (1 / alike - 1), lesions)
        right = rng.random(counts.sum()) < np.repeat(of_lesion, counts)
        ids = np.repeat(np.arange(lesions), counts).astype(str)
        weights = resamples(np.zeros(len(right), np.int64), groups=ids, samples=SAMPLES, seed=seed)
        sampled = weights @ right / weights.sum(axis=1)
        found = share_interval(sampled_share(float(right.mean()), sampled, lesions, len(right)))
        held += found.low <= truth <= found.high
    return held / draws


def of_difference(rng: np.random.Generator, images: int, fixed: float | None, draws: int) -> float:
    """How often McNemar's interval holds the difference of two models, one of which is 0.04 worse."""
    held = 0
    for _ in range(draws):
        truth = rng.choice(TRUTHS) if fixed is None else fixed
        easy = rng.random(images) < 0.5  # the same of both
        common, own = rng.random(images), rng.random((2, images))
        first, second = (
            np.where(easy, common, each) < share for each, share in zip(own, (truth, truth - 0.04), strict=True)
        )
        found = mcnemar(first, second)
        held += found.low <= 0.04 <= found.high
    return held / draws


def told(draws: int) -> Iterable[str]:
    """Lines of the table."""
    rng = np.random.default_rng(1)
    yield "| of | over truths | least | most |\n|---|---|---|---|"
    for images in (9, 10, 20, 30, 80):
        held = of_one(images)
        yield f"| one share of {images} | {held.mean():.3f} | {held.min():.3f} | {held.max():.3f} |"
    yield f"\n| of | over truths | {' | '.join(map(str, FIXED))} |\n|---|---|{'---|' * len(FIXED)}"
    for counts in CLASSES:
        shares = " | ".join(f"{of_mean(rng, counts, fixed, 10 * draws):.3f}" for fixed in (None, *FIXED))
        yield f"| mean over classes of {'/'.join(map(str, counts))} | {shares} |"
    for images in (30, 150):
        shares = " | ".join(f"{of_difference(rng, images, fixed, 10 * draws):.3f}" for fixed in (None, *FIXED))
        yield f"| difference of two shares of {images} | {shares} |"
    yield "\n| lesions | photos | alike 0.1 | 0.3 | 0.6 |\n|---|---|---|---|---|"
    for photos in PHOTOS:
        for lesions in (10, 20, 30, 100):
            shares = " | ".join(f"{of_lesions(rng, lesions, photos, alike, draws):.3f}" for alike in (0.1, 0.3, 0.6))
            yield f"| {lesions} | {photos} | {shares} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000)
    args = parser.parse_args()
    for line in told(args.draws):
        print(line, flush=True)


if __name__ == "__main__":
    main()
