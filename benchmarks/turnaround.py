"""Seconds from the last report of one trial to the first training step of the next: ours and the stock program.

    python benchmarks/turnaround.py ../shared/data/isic2017 \
        --weights ../shared/weights/mobilenet_v2_imagenet_features.pth

Both train the settings of `fixed_settings.py`, one epoch each, one trial at a time on all cores, at few pixels so that
a round is short: what lies between two trials does not depend on them. A trial notes the time right
before Ray hears of its last epoch (ours when its checkpoint is on the disk, the stock program's before Ray takes it),
and when its model sees the first batch. In between are all that the driver does (ledger, scheduler, proposal, mirror),
and the next model with its weights, data, optimizer and first batch. Medians over `--trials`, without the first report
of a worker of ours; target: 0.3 s.
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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fixed_settings import common, machine

HERE = Path(__file__).parent
NOTES = "LESION_TURNAROUND"
"""Environment variable with the file that trials note their times in."""


def note(what: str) -> None:
    """Add the time to the notes; one line, written at once."""
    with Path(os.environ[NOTES]).open("a", encoding="utf-8") as file:
        file.write(json.dumps([what, time.time()]) + "\n")


def build_timed(settings: Mapping[str, Any], job: Any, seed: int) -> Any:
    """Our training, which notes its first step; from a worker's second trial on their reports are noted too."""
    from search.trial import TrialRun, build_training  # noqa: PLC0415 - in the worker

    if TrialRun.step is not reporting:
        TrialRun.plain_step, TrialRun.step = TrialRun.step, reporting  # type: ignore[attr-defined,method-assign]
    training = build_training(settings, job, seed)
    note_first_forward()
    return training


def reporting(run: Any) -> Any:
    """An epoch of a trial of ours: what comes back is what Ray hears."""
    result = run.plain_step()
    note("reported")
    return result


def train_timed(config: dict[str, Any], **given: Any) -> None:
    """The stock trainable, which notes its first step and its report."""
    import stock  # noqa: PLC0415 - in the worker
    from ray import tune  # noqa: PLC0415

    report = tune.report

    def timed(*result: Any, **more: Any) -> None:
        note("reported")
        report(*result, **more)

    tune.report = timed
    try:
        note_first_forward()
        stock.train(config, **given)  # of the worker, where nothing has replaced it
    finally:
        tune.report = report


def note_first_forward() -> None:
    """Note when a module that trains is next given a batch."""
    from torch.nn.modules.module import register_module_forward_pre_hook  # noqa: PLC0415

    def begun(module: Any, _: Any) -> None:
        if module.training:
            handle.remove()
            note("begun")

    handle = register_module_forward_pre_hook(begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="zips or folders of ISIC 2017")
    parser.add_argument("--weights", default="none", help="file of ImageNet weights")
    parser.add_argument("--size", type=int, default=32, help="pixels a side of what the model sees")
    parser.add_argument("--packed-size", type=int, default=256, help="pixels a side of the packed images")
    parser.add_argument("--trials", type=int, default=12)
    arguments = parser.parse_args()
    weights = arguments.weights if arguments.weights == "none" else str(Path(arguments.weights).absolute())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"{arguments.trials} trials, one at a time; {machine()}\n")
        print("| program | median, s | fastest, s | slowest, s |\n|---|---|---|---|", flush=True)
        for way in ("ours", "stock"):
            words = [way, arguments.source, folder, weights, arguments.size, arguments.packed_size, arguments.trials]
            gaps = between(measured(folder / f"{way}.jsonl", list(map(str, words))))
            print(f"| {way} | {statistics.median(gaps):.2f} | {min(gaps):.2f} | {max(gaps):.2f} |", flush=True)


def measured(notes: Path, words: list[str]) -> list[tuple[str, float]]:
    """What the trials of one program noted, in the order of time."""
    paths = [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    environment = {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)), NOTES: str(notes), "NO_ALBUMENTATIONS_UPDATE": "1",
    }  # fmt: skip
    # A module of its own name in every process: a function of __main__ could not be found by the workers.
    program = "import sys, turnaround; turnaround.search(*sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, env=os.environ | environment,
        check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{words[0]} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    lines = (json.loads(line) for line in notes.read_text("utf-8").splitlines())
    return sorted(((str(what), float(when)) for what, when in lines), key=lambda each: each[1])


def between(notes: list[tuple[str, float]]) -> list[float]:
    """Seconds from each last report to the first step after it."""
    gaps, reported = [], None
    for what, when in notes:
        if what == "reported":
            reported = when
        elif reported is not None:
            gaps.append(when - reported)
            reported = None
    return gaps


def search(way: str, source: str, folder: str, weights: str, size: str, packed_size: str, trials: str) -> None:
    """One program's trials, one at a time, in this process and its workers."""
    asked = [source, "--weights", weights, "--size", size, "--trials", trials, "--epochs", "1"]
    if way == "stock":
        import stock  # noqa: PLC0415

        stock.train = train_timed
        sys.argv = ["stock.py", *asked, "--cpus", str(os.cpu_count()), "--json"]
        stock.main()
        return
    from end_to_end import write_space  # noqa: PLC0415

    from lesion.data.prepare import prepare  # noqa: PLC0415
    from search import run_study  # noqa: PLC0415

    place = Path(folder)
    prepare(Path(source), place / "workspace", name="isic2017", size=int(packed_size))
    write_space(place / "space.yaml", common(weights, int(size)), int(trials), 1)
    run_study(place / "space.yaml", place / "workspace", concurrent=1, build=build_timed)


if __name__ == "__main__":
    main()
