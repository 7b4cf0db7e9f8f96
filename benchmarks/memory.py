"""Memory of several trials on one machine, against one: the packed photos are there once.

    python benchmarks/memory.py --trials 8

A packed set of random pixels is written, 2700 photos of 256 pixels a side (506 MiB). One trial, then `--trials` at a
time, each a process that maps it and trains an epoch over all of it (SqueezeNet at 32 pixels). While all of them still
hold what they hold, `/proc/PID/smaps` tells for each page how many share it: PSS counts a page that eight processes map
as an eighth for each, so that sums are what the machine has spent. `photos` is the share of it that lies in the packed
file; `own` is what a trial shares with nobody, photos apart. Linux only.

Recorded beside other work, on which sizes do not depend; torch 2.15, Python 3.11, 2026-11-22:

| trials | PSS of all, MiB | photos, MiB | own, MiB a trial | RSS of all, MiB |
|---|---|---|---|---|
| 1 | 1069 | 505 | 499 | 1411 |
| 8 | 4660 | 504 | 495 | 11247 |

The photos are counted once. Of a trial's own, 446 MiB are there once `lesion.training` is imported.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from lesion.data.packed import content_hash

CLASSES = ("melanoma", "seborrheic_keratosis", "nevus")
SETTINGS = {
    "image_size": 32, "backbone": "squeezenet1_1", "augmentation": "dihedral", "precision": "float32",
}  # fmt: skip
MIB = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--images", type=int, default=2700)
    parser.add_argument("--size", type=int, default=256, help="pixels a side of the packed images")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)  # what a trial is started with
    arguments = parser.parse_args()
    if arguments.train is not None:
        train(arguments.train)
        return
    with tempfile.TemporaryDirectory() as folder:
        file = pack(Path(folder), arguments.images, arguments.size)
        print(f"packed file: {file.stat().st_size / MIB:.0f} MiB\n")
        print("| trials | PSS of all, MiB | photos, MiB | own, MiB a trial | RSS of all, MiB |\n|---|---|---|---|---|")
        for count in (1, arguments.trials):
            each = measured(file, count)
            own = sum(one["own"] for one in each) / count
            pss, photos, rss = (total(each, what) for what in ("pss", "photos", "rss"))
            print(f"| {count} | {pss} | {photos} | {own / MIB:.0f} | {rss} |", flush=True)


def total(each: list[dict[str, int]], what: str) -> str:
    return f"{sum(one[what] for one in each) / MIB:.0f}"


def pack(folder: Path, images: int, size: int) -> Path:
    """A packed set of random pixels; returns the file of its images."""
    file = folder / "images.npy"
    pixels = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=(images, size, size, 3))
    rng = np.random.default_rng(0)
    for start in range(0, images, 64):
        some = pixels[start : start + 64]
        some[:] = rng.integers(0, 256, some.shape, dtype=np.uint8)
    pixels.flush()
    number = np.arange(images)
    table = pd.DataFrame({
        "image": [f"ISIC_{n:07d}" for n in number], "label": number % len(CLASSES), "lesion": "", "patient": "",
        "part": "train", "age": np.nan, "sex": "unknown", "site": "unknown", "holdout": number % 10 == 0,
    })  # fmt: skip
    table.to_parquet(folder / "table.parquet")
    manifest = {
        "format": 1, "name": "drawn", "classes": CLASSES, "size": size, "images": images, "geometry": "stretch",
        "splits": ["holdout"], "default_split": "holdout",
        "content_hash": content_hash(pixels, table, CLASSES, "stretch"),
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return file


def measured(file: Path, count: int) -> list[dict[str, int]]:
    """Bytes of `count` trials at a time, while all of them live."""
    command = [sys.executable, __file__, "--train", str(file.parent)]
    trials = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    try:
        for trial in trials:
            if trial.stdout.readline().strip() != "trained":
                sys.exit(f"a trial ended with {trial.wait()}")
        return [memory(trial.pid, file) for trial in trials]
    finally:
        for trial in trials:
            trial.communicate("\n")


def memory(process: int, file: Path) -> dict[str, int]:
    """Bytes of a process: proportional share of all, of the mapped `file`, what is its own, and what is resident."""
    found = dict.fromkeys(("pss", "photos", "own", "rss"), 0)
    names = {"Pss": "pss", "Private_Clean": "own", "Private_Dirty": "own", "Rss": "rss"}
    inside = False
    for line in Path(f"/proc/{process}/smaps").read_text().splitlines():
        name, _, value = line.partition(":")
        if " " in name:  # the head of a mapping: addresses, rights, and the path
            inside = line.endswith(str(file))
            continue
        if what := names.get(name):
            size = 1024 * int(value.split()[0])
            found[what] += 0 if inside and what == "own" else size
            found["photos"] += size if inside and what == "pss" else 0
    return found


def train(folder: Path) -> None:
    """A trial: an epoch, then wait to be looked at."""
    import torch  # noqa: PLC0415 - the process that measures trains nothing

    from lesion.data.packed import PackedDataset  # noqa: PLC0415
    from lesion.training import Training  # noqa: PLC0415

    torch.set_num_threads(1)
    training = Training(SETTINGS, PackedDataset.open(folder), epochs=1, seed=0, device=torch.device("cpu"))
    training.step()
    print("trained", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main()
