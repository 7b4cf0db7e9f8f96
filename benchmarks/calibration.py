"""What a temperature did to the log-loss on the test part, with a paired interval; from what promotions have kept.

    python benchmarks/calibration.py workspace/reports/isic2017

The test part is not opened: a promotion keeps the members' plain probabilities (`tested-*.npy`) and what it made of
them (`promotion-*/test`). The temperature lies between the two, and by it the one is known to be of the other.
Differences are of the same images, intervals by the same draws of lesions (`lesion.metrics.resamples`); below 0 is
better than plain. The best temperature is the one that fits validation best, the promoted one the cautious one of
`lesion.calibration`. Recorded in docs/promotion.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lesion.calibration import FLOOR, fitted_temperature, tempered
from lesion.metrics import Interval, difference_interval, lesions_of, resamples
from search.reporting.promoted import PerImage, read_per_image

SAMPLES = 5000
CLOSE = 1e-6
"""Largest difference of probabilities that are the same but for the rounding of a CSV file."""


@dataclass(frozen=True)
class Change:
    """Log-loss in nats at one `temperature` on both parts; `change` is that on the test part less the plain one's."""

    promotion: str
    what: str
    temperature: float
    validation: float
    test: float
    change: Interval


def changes(reports: Path, *, samples: int = SAMPLES, seed: int = 0) -> Iterator[Change]:
    """Plain, best and promoted temperature of every promotion whose plain probabilities are still in `reports`."""
    for folder in sorted(reports.glob("promotion-*")):
        test, validation = (read_per_image(folder / part / "per_image.csv") for part in ("test", "validation"))
        found = plain_of(test, reports)
        if found is None:
            continue
        plain, temperature = found
        before = tempered(validation.probabilities, 1 / temperature)  # undone
        groups = pd.read_csv(folder / "test" / "table.csv", dtype=str, keep_default_na=False)["group"].tolist()
        weights = resamples(test.labels, groups=groups, samples=samples, seed=seed)
        lesions = int(lesions_of(test.labels, test.classes, groups).sum())
        plain_loss = surprise(plain, test.labels)
        best = fitted_temperature(before, validation.labels)
        for what, each in (("plain", 1.0), ("best on validation", best), ("promoted", temperature)):
            loss = surprise(tempered(plain, each), test.labels)
            moved = loss - plain_loss
            yield Change(
                folder.name.removeprefix("promotion-"),
                what,
                each,
                float(surprise(tempered(before, each), validation.labels).mean()),
                float(loss.mean()),
                difference_interval(float(moved.mean()), weights @ moved / weights.sum(axis=1), lesions),
            )


def plain_of(told: PerImage, reports: Path) -> tuple[np.ndarray, float] | None:
    """The kept plain probabilities (N, classes) of which these are made, and the temperature; None where none are."""
    calibrated = _logs(told.probabilities)
    for path in sorted(reports.glob("tested-*[0-9a-f].npy")):
        kept = np.load(path, allow_pickle=False)
        if kept.shape != told.probabilities.shape:
            continue
        logs = _logs(kept)
        temperature = float((logs * logs).sum() / max(float((logs * calibrated).sum()), FLOOR))
        if np.abs(tempered(kept, temperature) - told.probabilities).max() < CLOSE:
            return kept, temperature
    return None


def surprise(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Negative log-probability of the truth, (N,)."""
    return -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], FLOOR))


def _logs(probabilities: np.ndarray) -> np.ndarray:
    """Logarithms, the mean of each row 0, (N, classes): at a temperature T they are divided by T."""
    logs = np.log(np.maximum(probabilities, FLOOR))
    return logs - logs.mean(axis=1, keepdims=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", type=Path, help="folder of a study's reports in its workspace")
    parser.add_argument("--samples", type=int, default=SAMPLES)
    args = parser.parse_args()
    print("| promotion | probabilities | temperature | validation | test | change on test |\n|---|---|---|---|---|---|")
    for each in changes(args.reports, samples=args.samples):
        moved = each.change
        print(
            f"| {each.promotion} | {each.what} | {each.temperature:.3f} | {each.validation:.4f} | {each.test:.4f} "
            f"| {moved.value:+.4f} ({moved.low:+.4f} to {moved.high:+.4f}) |"
        )


if __name__ == "__main__":
    main()
