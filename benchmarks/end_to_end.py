r"""Trials an hour of whole searches: ours, the stock program and plain Optuna, on the same settings of one machine.

    python benchmarks/end_to_end.py ../shared/data/isic2017 \
        --weights ../shared/weights/mobilenet_v2_imagenet_features.pth
    python benchmarks/end_to_end.py ../shared/data/isic2017 --backbone resnet18 --against stock

Sixteen fixed settings (`fixed_settings.py`) of three epochs each, ISIC 2017 at 128 pixels; no trial is cut. The three
programs take turns, a process each, timed as a user waits for them: from the command to its end. `ours` is
``lesion-search run`` with ledger, checkpoints and MLflow; the others are `stock.py` and `plain_optuna.py`. What is done
once for a data set, packing it and unpacking photos, is not timed. Medians of `--rounds`; the last column is the median
score of the trials after their last epoch, which equal settings should make alike.

Target: 4 times the stock program's trials. Recorded in benchmarks/speed.md (`--trials 4 --rounds 3 --against stock`).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fixed_settings import BACKBONES, CHOICES, SEED, common, machine, points
from ruamel.yaml import YAML
from stock import unpack

from lesion.data.prepare import prepare

HERE = Path(__file__).parent
OTHERS = ("stock", "plain Optuna")


@dataclass
class Times:
    """Seconds of each round, and the scores of all its trials."""

    seconds: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="zips or folders of ISIC 2017")
    parser.add_argument("--backbone", default="mobilenet_v2", choices=BACKBONES)
    parser.add_argument("--weights", default="none", help="file of ImageNet weights")
    parser.add_argument("--size", type=int, default=128, help="pixels a side of what the model sees")
    parser.add_argument("--packed-size", type=int, default=256, help="pixels a side of the packed images")
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", nargs="+", default=OTHERS, choices=OTHERS, help="what ours takes turns with")
    arguments = parser.parse_args()
    weights = arguments.weights if arguments.weights == "none" else str(Path(arguments.weights).absolute())
    asked = ["--backbone", arguments.backbone, "--weights", weights, "--size", arguments.size]
    asked += ["--trials", arguments.trials, "--epochs", arguments.epochs]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(arguments.source, folder / "workspace", name="isic2017", size=arguments.packed_size)
        unpack(arguments.source, folder / "images")
        space = folder / "space.yaml"
        write_space(space, common(weights, arguments.size, arguments.backbone), arguments.trials, arguments.epochs)
        ways: dict[str, Callable[[int], tuple[float, list[float]]]] = {
            "ours": lambda number: ours(space, folder / "workspace", f"round-{number}"),
            OTHERS[0]: lambda number: script("stock.py", folder / "images", *asked),
            OTHERS[1]: lambda number: script(
                "plain_optuna.py", "isic2017", "--workspace", folder / "workspace", *asked
            ),
        }
        ways = {way: each for way, each in ways.items() if way not in OTHERS or way in arguments.against}
        times = {way: Times() for way in ways}
        for number in range(arguments.rounds):
            for way, timed in ways.items():
                seconds, scores = timed(number)
                times[way].seconds.append(seconds)
                times[way].scores += scores
                print(f"round {number + 1}, {way}: {seconds:.1f} s", file=sys.stderr, flush=True)
    show(times, arguments)


def write_space(file: Path, settings: Mapping[str, object], trials: int, epochs: int) -> None:
    """The fixed settings as a space whose points are all tried first; `settings` are the same in all."""
    space: dict[str, object] = {}
    for path, value in [*settings.items(), *((p, {"choice": v}) for p, v in CHOICES.items())]:
        _put(space, path, value)
    budget = {"trials": trials, "epochs": epochs}
    document = {
        "data": "isic2017", "split": "official", "objective": "mean_auc", "budget": budget, "seed": SEED,
        "space": space, "start_with": points(trials),
    }  # fmt: skip
    YAML(typ="safe", pure=True).dump(document, file)


def _put(space: dict[str, object], path: str, value: object) -> None:
    """A component's settings stand under its name: head.linear.dropout is {head: {linear: {dropout: …}}}."""
    kind, *rest = path.split(".")
    if not rest:
        space[kind] = value
        return
    component, setting = rest
    known = space.get(kind)
    space[kind] = {component: {**(known[component] if isinstance(known, dict) else {}), setting: value}}


def ours(space: Path, workspace: Path, name: str) -> tuple[float, list[float]]:
    """Seconds of one search, and the scores of its trials."""
    words = ["run", str(space), "--workspace", str(workspace), "--name", name]
    seconds, _ = waited([sys.executable, "-m", "search.cli", *words])
    _, told = waited([sys.executable, "-m", "search.cli", "status", name, "--json", "--workspace", str(workspace)])
    return seconds, [trial["value"] for trial in json.loads(told)["trials"]]


def script(file: str, *words: object) -> tuple[float, list[float]]:
    """Seconds of a script of this folder, and the scores that it prints."""
    seconds, told = waited([sys.executable, str(HERE / file), *map(str, words), "--json"])
    return seconds, json.loads(told.splitlines()[-1])["scores"]


def waited(command: list[str]) -> tuple[float, str]:
    """Seconds until a command has ended, and what it printed."""
    paths = [str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "NO_ALBUMENTATIONS_UPDATE": "1",  # it asks the package index for news, which is nobody's fault here
    }
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return seconds, done.stdout


def show(times: dict[str, Times], arguments: argparse.Namespace) -> None:
    """The table, in Markdown."""
    medians = {way: statistics.median(each.seconds) for way, each in times.items()}
    print(f"{arguments.trials} trials of {arguments.epochs} epochs at {arguments.size} pixels, medians of "
          f"{arguments.rounds}; {machine()}\n")  # fmt: skip
    print("| way | trials an hour | seconds, median | ours is faster by | mean_auc, median |\n|---|---|---|---|---|")
    for way, seconds in medians.items():
        score = statistics.median(times[way].scores)
        print(f"| {way} | {3600 * arguments.trials / seconds:.1f} | {seconds:.1f} | {seconds / medians['ours']:.2f} | "
              f"{score:.3f} |")  # fmt: skip


if __name__ == "__main__":
    main()
