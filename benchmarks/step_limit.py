"""Training with real data against its limit: the same step on one batch that is in memory already.

    python benchmarks/step_limit.py isic2017 --workspace workspace
    python benchmarks/step_limit.py isic2017 --set backbone=resnet50 --set image_size=224 --workers 8

`real` reads packed photos, augments them and trains; `limit` trains on the first of those batches again and again, so
that model, batch, precision and optimizer are the same. Rounds of `--steps` steps take turns; medians of `--rounds`.
Targets: 97 % on a CPU, 95 % on a GPU with ResNet-50 at 224. Recorded in benchmarks/speed.md.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import torch
from ruamel.yaml import YAML

from lesion.data.packed import open_data
from lesion.stepping import Batch
from lesion.training import Training


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="packed data set: its name in the workspace, or a path")
    parser.add_argument("--workspace", type=Path, default=Path("workspace"))
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="settings")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=0, help="processes that load and augment, beside a GPU")
    arguments = parser.parse_args()
    read = YAML(typ="safe", pure=True)
    settings = {name: read.load(value) for name, _, value in (text.partition("=") for text in arguments.settings)}
    training = Training(
        settings, open_data(arguments.workspace, arguments.data), epochs=10, seed=0, workers=arguments.workers
    )
    pinned = training.device.type == "cuda"
    stream = _endless(training, arguments.workers, pinned)
    first = next(stream)
    _seconds(training, [first] * 3)  # what is made once
    real, limit = [], []
    for _ in range(arguments.rounds):
        real.append(_seconds(training, islice(stream, arguments.steps)))
        limit.append(_seconds(training, [first] * arguments.steps))
    images = arguments.steps * len(first)
    slow, fast = statistics.median(real), statistics.median(limit)
    print(f"| settings | real, images/s | limit, images/s | share |\n|---|---|---|---|\n| {settings or 'defaults'} | "
          f"{images / slow:.1f} | {images / fast:.1f} | {fast / slow:.1%} |")  # fmt: skip


def _endless(training: Training, workers: int, pinned: bool) -> Iterator[Batch]:
    epoch = 0
    while True:
        yield from training._phase.material.epoch(epoch, workers=workers, pinned=pinned)
        epoch += 1


def _seconds(training: Training, batches: Iterable[Batch]) -> float:
    training.model.train()
    start = time.perf_counter()
    for batch in batches:
        training._update(batch, 0)
    if training.device.type == "cuda":
        torch.cuda.synchronize(training.device)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
