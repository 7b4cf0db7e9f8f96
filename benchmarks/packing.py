r"""Trials that share one GPU: how many an hour, what each holds of its memory, and whether their caps hold.

    python benchmarks/packing.py                                   # on drawn photos, 2000 of 256 pixels a side
    python benchmarks/packing.py isic2017 --workspace workspace --set backbone=resnet50 --set image_size=224

It needs `lesion` and what that needs, neither Ray nor Optuna nor MLflow. In each row so many trials run at a time, each
a process with its share of the GPU, capped as a search caps it (`lesion.sharing`), and of the cores. After an epoch
that makes what is made once they begin together; a trial is `--epochs` epochs, and the last to end counts. `peak` is
the most that torch reserved in any of them, `estimate` what the probe of ``resources: auto`` says of the same backbone,
image size and batch (`lesion.footprint`); its room for error is a factor of 1.15. `pieces` are those that a batch was
cut into because it did not fit under the cap. `CUDA's own` is what the GPU has spent besides, a process; 600 MiB are
reckoned.

Then, as many at a time as in the last row, one asks for memory until it is refused, and ends; the others have to train
on. With `--device cpu` sizes are those of whole processes, which have no cap; a limit of the system plays it.

Not recorded yet: it needs a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from memory import MIB, pack
from ruamel.yaml import YAML

from lesion.data.packed import PackedDataset, open_data
from lesion.footprint import Footprint, peak_bytes
from lesion.settings import DEFAULTS, GENERAL
from lesion.sharing import SPARE, bytes_of, cap_memory, cap_of

SETTINGS = {"backbone": "mobilenet_v2", "image_size": 224, "batch_size": 32, "augmentation": "colour"}
DECIDING = ("backbone", "image_size", "batch_size")
"""What the probe looks at."""
BLOCK = 64 * MIB
HEAD = ("at a time", "trials/h", "against one", "images/s", "peak, MiB", "estimate, MiB", "cap, MiB", "pieces",
        "CUDA's own, MiB")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", help="packed data set: its name in the workspace, or a path")
    parser.add_argument("--workspace", type=Path, default=Path("workspace"))
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="settings")
    parser.add_argument("--at-a-time", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--images", type=int, default=2000, help="drawn photos, where no data are named")
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)), help="of all trials together")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--trial", help=argparse.SUPPRESS)  # what a trial is started with
    arguments = parser.parse_args()
    if arguments.trial is not None:
        trial(json.loads(arguments.trial))
        return
    read = YAML(typ="safe", pure=True)
    given = {name: read.load(value) for name, _, value in (text.partition("=") for text in arguments.settings)}
    with packed(arguments) as data:
        settings = SETTINGS | given
        order = {
            "data": str(data.path), "settings": settings, "device": arguments.device, "epochs": arguments.epochs,
            "cores": arguments.cores,
        }  # fmt: skip
        print(f"{settings}, {len(data.split().train)} training images, {arguments.cores} cores\n")
        needed = estimate(order, len(data.classes))
        print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
        first: float | None = None
        for count in arguments.at_a_time:
            seconds, told = together(order, count)
            each = count * 3600 / seconds
            first = first or each
            print(row(count, each, first, told, needed), flush=True)
        print(f"\nThe probe alone: {needed.images_per_second:.0f} images/s, the device busy {needed.busy:.0%}")
        if whole := told[0].get("whole"):
            given = bytes_of(needed)
            print(f"A trial is given {given / MIB:.0f} MiB: {whole // given} fit on this {told[0]['name']}")
        sys.exit(0 if caps_hold(order, max(2, arguments.at_a_time[-1])) else 1)


@contextmanager
def packed(arguments: argparse.Namespace) -> Iterator[PackedDataset]:
    """The data that are named, or drawn ones for as long as the context lasts."""
    if arguments.data is not None:
        yield open_data(arguments.workspace, arguments.data)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield PackedDataset.open(pack(Path(folder), arguments.images, 256).parent)


def estimate(order: dict[str, Any], classes: int) -> Footprint:
    """What a search's probe says, asked as a search asks it."""
    known = {"backbone": DEFAULTS["backbone"], **{name: GENERAL.settings[name].default for name in DECIDING[1:]}}
    settings = {name: order["settings"].get(name, known[name]) for name in DECIDING}
    asked = {"settings": settings, "classes": classes, "device": order["device"], "threads": order["cores"]}
    done = subprocess.run(
        [sys.executable, "-m", "lesion.footprint"], input=json.dumps(asked), stdout=subprocess.PIPE, text=True,
        check=True,
    )  # fmt: skip
    return Footprint(**json.loads(done.stdout.splitlines()[-1]))


def together(order: dict[str, Any], count: int, greedy: bool = False) -> tuple[float, list[dict[str, Any]]]:
    """Seconds in which `count` trials at a time have ended, and what each tells; the first may be `greedy`."""
    own = {"share": 1 / count, "threads": max(1, order["cores"] // count)}
    orders = [{**order, **own, "seed": number, "greedy": greedy and number == 0} for number in range(count)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    trials = [subprocess.Popen([sys.executable, __file__, "--trial", json.dumps(each)], **pipes) for each in orders]
    try:
        for each in trials:
            if each.stdout.readline().strip() != "ready":
                sys.exit(f"a trial ended with {each.wait()} before it began")
        start = time.perf_counter()
        for each in trials:
            each.stdin.write("go\n")
            each.stdin.flush()
        told = [json.loads(each.stdout.readline() or '{"failed": "it died"}') for each in trials]
        return max(one.get("seconds", 0.0) for one in told) or time.perf_counter() - start, told
    finally:
        for each in trials:
            each.communicate("\n")


def row(count: int, each: float, first: float, told: list[dict[str, Any]], needed: Footprint) -> str:
    """A line of the table."""
    if failed := [one["failed"] for one in told if "failed" in one]:
        return f"| {count} | {len(failed)} failed: {failed[0]} |" + " |" * (len(HEAD) - 2)
    on_gpu = "whole" in told[0]
    peak, estimated = max(one["peak"] for one in told), needed.device_bytes if on_gpu else needed.host_bytes
    over = " (over)" if on_gpu and peak > SPARE * estimated else ""
    images = sum(one["images"] / one["seconds"] for one in told)
    cap, cuda = "–", "–"
    if on_gpu:
        cap = f"{cap_of(1 / count, told[0]['whole']) / MIB:.0f}" if count > 1 else "–"
        # Whoever tells last sees what all of them hold.
        held = max(one["used"] for one in told) - sum(one["reserved"] for one in told)
        cuda = f"{held / count / MIB:.0f}"
    cells = (count, f"{each:.1f}", f"×{each / first:.2f}", f"{images:.0f}", f"{peak / MIB:.0f}{over}",
             f"{estimated / MIB:.0f}", cap, max(one["pieces"] for one in told), cuda)  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def caps_hold(order: dict[str, Any], count: int) -> bool:
    """Whether a trial that wants everything is refused at its cap, and harms nobody."""
    _, (greedy, *others) = together(order, count, greedy=True)
    held, allowed = greedy.get("held", 0), greedy.get("allowed", 0)
    trained = sum("failed" not in one for one in others)
    print(f"Of {count}, one asked for all: {greedy.get('failed', 'never refused')}, with {held / MIB:.0f} MiB of "
          f"{allowed / MIB:.0f}; {trained} of {len(others)} others trained on")  # fmt: skip
    return 0 < held <= allowed and "failed" in greedy and trained == len(others)


def trial(order: dict[str, Any]) -> None:
    """One trial: get ready, begin when all are, tell, and hold what it holds until all have told."""
    import torch  # noqa: PLC0415

    from lesion.training import Training  # noqa: PLC0415

    on, threads = torch.device(order["device"]), order["threads"]
    torch.set_num_threads(threads)
    if on.type == "cuda":
        cap_memory(order["share"])
    training = Training(
        order["settings"], PackedDataset.open(Path(order["data"])), epochs=1 + order["epochs"], seed=order["seed"],
        device=on, workers=threads - 1 if on.type == "cuda" else 0,
    )  # fmt: skip
    training.step()
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        told = overreach(on, order["share"]) if order["greedy"] else trained(training, order["epochs"])
    except Exception as problem:  # the row says so
        told = {"failed": f"{type(problem).__name__}: {str(problem)[:80]}"}
    print(json.dumps(told), flush=True)
    if "failed" in told:
        sys.exit(1)
    sys.stdin.readline()


def trained(training: Any, epochs: int) -> dict[str, Any]:
    """Train on, and tell what that took."""
    import torch  # noqa: PLC0415

    start, before = time.perf_counter(), training.epoch
    for _ in range(epochs):
        result = training.step()
    told = {"seconds": time.perf_counter() - start, "pieces": training.state_dict()["parts"]}
    told["images"] = result["examples"] * (1 - before / training.epoch)
    if training.device.type != "cuda":
        return {**told, "peak": peak_bytes()}
    free, there = torch.cuda.mem_get_info()
    gpu = torch.cuda.get_device_properties(0)
    held = {"peak": torch.cuda.max_memory_reserved(), "reserved": torch.cuda.memory_reserved(), "used": there - free}
    return {**told, **held, "whole": gpu.total_memory, "name": gpu.name}


def overreach(on: Any, share: float) -> dict[str, Any]:
    """Take memory until it is refused."""
    import torch  # noqa: PLC0415

    from lesion.devices import is_out_of_memory  # noqa: PLC0415

    on_gpu = on.type == "cuda"
    allowed = cap_of(share, torch.cuda.get_device_properties(0).total_memory) if on_gpu else limited(4 * BLOCK)
    taken, reserved = [], torch.cuda.memory_reserved() if on_gpu else 0
    told = {"allowed": allowed}
    try:
        # Twice the cap at most: where none holds, the neighbours shall tell of it rather than the whole machine.
        for _ in range(2 * allowed // BLOCK):
            taken.append(torch.empty(BLOCK, dtype=torch.uint8, device=on))
            reserved = torch.cuda.memory_reserved() if on_gpu else len(taken) * BLOCK
    except RuntimeError as problem:  # torch.OutOfMemoryError is one
        if not is_out_of_memory(problem):
            raise
        told["failed"] = "refused"
    return {**told, "held": reserved}


def limited(more: int) -> int:
    """Let this process have `more` bytes from now on, by the system's own limit."""
    status = Path("/proc/self/status").read_text().splitlines()
    now = next(int(line.split()[1]) for line in status if line.startswith("VmData")) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (now + more, now + more))
    return more


if __name__ == "__main__":
    main()
