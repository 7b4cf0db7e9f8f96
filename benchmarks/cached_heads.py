r"""Trials that change only head, loss or balancing over a frozen backbone: with and without the cache of feature maps.

    python benchmarks/cached_heads.py isic2017 --workspace workspace --backbone mobilenet_v2 \
        --weights ../shared/weights/mobilenet_v2_imagenet_features.pth

Each row is one trial, trained twice with the same settings and seed: once on maps that the cache holds, once running
the backbone in every step. Medians of `--rounds` epochs that take turns, validation included. `largest difference` is
that of any metric of these epochs. The maps are made before, as the first trial of a study makes them for all others;
that time is told below. Target: 20 times, same results.

Recorded on two cores of a Xeon that nothing else used, ISIC 2017, MobileNetV2 at 128 pixels, 2026-11-24 (maps made in
6.8 s; 180 MiB):

| trial | backbone run, s an epoch | cached, s an epoch | times faster | largest difference |
|---|---|---|---|---|
| linear | 5.39 | 0.176 | 30.7 | 0 |
| dense, focal | 5.02 | 0.192 | 26.1 | 0 |
| channel_attention, weighted_cross_entropy | 5.16 | 0.346 | 14.9 | 0 |
| linear, oversample | 5.04 | 0.169 | 29.8 | 0 |
| linear, class_weights, 2 | 5.22 | 0.174 | 30.0 | 0 |
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from lesion.data.packed import PackedDataset, open_data
from lesion.training import Training

ROWS = (
    {"head": "linear"},
    {"head": "dense", "loss": "focal"},
    {"head": "channel_attention", "loss": "weighted_cross_entropy"},
    {"head": "linear", "balancing": "oversample"},
    {"head": "linear", "balancing": "class_weights", "views": 2},
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="packed data set: its name in the workspace, or a path")
    parser.add_argument("--workspace", type=Path, default=Path("workspace"))
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--weights", default="imagenet", help="file of weights, or torchvision's own")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    data = open_data(arguments.workspace, arguments.data)
    own = f"backbone.{arguments.backbone}"
    common = {
        "backbone": arguments.backbone, f"{own}.weights": arguments.weights, f"{own}.trainable_stages": 0,
        "image_size": arguments.image_size, "batch_size": arguments.batch_size, "augmentation": "none",
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        _training(common, data, Path(folder))
        made = time.perf_counter() - start
        print("| trial | backbone run, s an epoch | cached, s an epoch | times faster | largest difference |")
        print("|---|---|---|---|---|")
        for row in ROWS:
            slow, fast, apart = _compared({**common, **row}, data, Path(folder), arguments.rounds)
            name = ", ".join(map(str, row.values()))
            print(f"| {name} | {slow:.2f} | {fast:.3f} | {slow / fast:.1f} | {apart:.1g} |", flush=True)
        size = sum(file.stat().st_size for file in Path(folder).rglob("*.npy")) / 2**20
    print(f"\n{arguments.backbone} at {arguments.image_size} pixels: maps made in {made:.1f} s, {size:.0f} MiB")


def _compared(settings: dict[str, object], data: PackedDataset, cache: Path, rounds: int) -> tuple[float, float, float]:
    """Median seconds of an epoch without and with the cache, and the largest difference of a metric."""
    without, cached = _training(settings, data, None), _training(settings, data, cache)
    slow, fast, apart = [], [], 0.0
    for _ in range(rounds):
        scores = []
        for training, seconds in ((without, slow), (cached, fast)):
            start = time.perf_counter()
            scores.append(training.step())
            seconds.append(time.perf_counter() - start)
        apart = max(apart, *(abs(scores[0][name] - scores[1][name]) for name in scores[0].keys() - {"seconds"}))
    return statistics.median(slow), statistics.median(fast), apart


def _training(settings: dict[str, object], data: PackedDataset, cache: Path | None) -> Training:
    return Training(settings, data, epochs=100, seed=0, cache=cache)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
