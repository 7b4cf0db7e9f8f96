"""Trials that change only the head over a frozen backbone: on cached feature maps, against photos every epoch.

    python benchmarks/cached_heads.py isic2017 --workspace workspace --backbone resnet18

Both train the same head on the same frozen backbone with the same balancing. The maps are made before, as the first
trial of a study makes them for all others; that time stands in a column of its own. Medians of `--rounds` epochs that
take turns, validation included. Target: 20 times. Not recorded yet: it needs a machine that nothing else uses.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from lesion.data.packed import PackedDataset, open_data
from lesion.training import Training


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="packed data set: its name in the workspace, or a path")
    parser.add_argument("--workspace", type=Path, default=Path("workspace"))
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    data = open_data(arguments.workspace, arguments.data)
    common = {
        "backbone": arguments.backbone, f"backbone.{arguments.backbone}.trainable_stages": 0,
        "image_size": arguments.image_size, "batch_size": arguments.batch_size, "augmentation": "none",
        "balancing": "smote",
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as cache:
        photos = _training({**common, "balancing.smote.on": "pixels"}, data, Path(cache))
        start = time.perf_counter()
        cached = _training({**common, "balancing.smote.on": "features"}, data, Path(cache))
        cached.step()
        made = time.perf_counter() - start
        photos.step()
        slow, fast = [], []
        for _ in range(arguments.rounds):
            slow.append(_seconds(photos))
            fast.append(_seconds(cached))
    before, after = statistics.median(slow), statistics.median(fast)
    print(
        "| backbone | photos, s an epoch | cached, s an epoch | times faster | maps made in, s |\n|---|---|---|---|---|"
    )
    print(f"| {arguments.backbone} | {before:.2f} | {after:.2f} | {before / after:.1f} | {made:.1f} |")


def _training(settings: dict[str, object], data: PackedDataset, cache: Path) -> Training:
    return Training(settings, data, epochs=100, seed=0, cache=cache)  # type: ignore[arg-type]


def _seconds(training: Training) -> float:
    start = time.perf_counter()
    training.step()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
