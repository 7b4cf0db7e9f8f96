"""SMOTE-Tomek on pixels, ours beside imbalanced-learn's: seconds and memory, each in a process of its own.

    python benchmarks/resampling.py

The images are noise in the class counts of ISIC 2017 (374, 254, 1372). Ours seeks neighbours by the inner products of
the images, so that its memory hardly goes with their size. Recorded with numpy 2.4 and imbalanced-learn 0.14 on
one thread of a two-core machine that was training something else, so the ratios count and not the seconds:

| pixels | ours | imbalanced-learn | seconds | memory |
|---|---|---|---|---|
| 32 | 3.2 s, 0.44 GiB | 9.8 s, 0.16 GiB | ×0.33 | ×2.77 |
| 64 | 5.6 s, 0.44 GiB | 43.6 s, 0.48 GiB | ×0.13 | ×0.92 |
| 128 | 9.2 s, 0.65 GiB | 93.1 s, 1.92 GiB | ×0.10 | ×0.34 |

System B's run G9.3 (every minority ×5, classes capped, SMOTE-Tomek on pixels) of the 8512 images of ISIC 2018 that
are not tested on, at 128 pixels: 13 205 images and copies and 6745 between them took 322 s; the whole process 3.3 GiB.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from imblearn.combine import SMOTETomek

from lesion.balancing import Draws, Part, balancings
from lesion.balancing.vectors import Pixels

COUNTS = (374, 254, 1372)
SIZES = (32, 64, 128)
LABELS = np.repeat(np.arange(3), COUNTS)


def main() -> None:
    """Print the table."""
    print("| pixels | ours | imbalanced-learn | seconds | memory |\n|---|---|---|---|---|")
    for size in SIZES:
        (seconds, peak), (their_seconds, their_peak) = (measured(method, size) for method in (ours, theirs))
        print(
            f"| {size} | {seconds:.1f} s, {peak:.2f} GiB | {their_seconds:.1f} s, {their_peak:.2f} GiB "
            f"| ×{seconds / their_seconds:.2f} | ×{peak / their_peak:.2f} |"
        )


def ours(images: np.ndarray) -> None:
    """Rows told as image, partner and blend."""
    part = Part(LABELS, ("a", "b", "c"), {"pixels": Pixels(images, np.arange(len(images)), images.shape[1])})
    balancings["smote_tomek"].build(part, Draws.everything(len(part)), np.random.default_rng(0), on="pixels")


def theirs(images: np.ndarray) -> None:
    """Rows made."""
    SMOTETomek(random_state=0).fit_resample(images.reshape(len(images), -1).astype(np.float32), LABELS)


def measured(method: Callable[[np.ndarray], None], size: int) -> tuple[float, float]:
    """Seconds and GiB above the images themselves that `method` takes in a fresh process."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_measure, args=(method, size, queue))
    process.start()
    result: tuple[float, float] = queue.get()
    process.join()
    return result


def _measure(method: Callable[[np.ndarray], None], size: int, queue: multiprocessing.Queue) -> None:
    images = np.random.default_rng(0).integers(0, 256, (sum(COUNTS), size, size, 3), dtype=np.uint8)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    method(images)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    queue.put((time.perf_counter() - start, peak / 2**20))


if __name__ == "__main__":
    main()
