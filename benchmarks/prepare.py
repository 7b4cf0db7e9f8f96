"""Seconds and memory of preparing ISIC 2018, against one loop with Pillow.

    python benchmarks/prepare.py ../shared/data/isic2018                  # photos as they are there, 200×150
    python benchmarks/prepare.py ../shared/data/isic2018 --photo 600 450  # of the size of the official download

With `--photo` every photo is drawn larger first, with grain so that it compresses like a photo, and written as a JPEG
of quality 95; that is not timed. `loop` opens each photo of the zip with Pillow, converts it to RGB, resizes it with
the same filter, and writes the array at the end: what a notebook does. `prepare` is the command, which besides checks
every file, journals, looks for identical and similar photos, splits by lesion and hashes the result. Both in turn, a
process each; medians of `--rounds`. Memory is the most that all processes of a command held of their own, pages of
files apart. Target: 3 times as fast on two cores, under 1 GB.
"""

from __future__ import annotations

import argparse
import io
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from fixed_settings import machine
from PIL import Image

IMAGES = "ISIC2018_Task3_Training_Input.zip"
LOOP = """
import sys, zipfile
import numpy as np
from PIL import Image

source, size, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]
images = []
with zipfile.ZipFile(source) as archive:
    for name in archive.namelist():
        if name.endswith(".jpg"):
            with archive.open(name) as file:
                photo = Image.open(file).convert("RGB").resize((size, size), Image.Resampling.LANCZOS)
                images.append(np.asarray(photo))
np.save(out, np.stack(images))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder of ISIC 2018, its training part alone")
    parser.add_argument("--photo", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"), help="draw the photos so large")
    parser.add_argument("--size", type=int, default=256, help="pixels a side of the packed images")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    inputs = {each.name for each in arguments.source.glob("*_Input*")}
    if others := sorted(inputs - {IMAGES}):
        parser.error(
            f"{arguments.source} holds {others[0]} as well, which the loop leaves out: the training part alone"
        )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = arguments.source
        if arguments.photo:
            source = enlarged(arguments.source, folder / "isic2018", tuple(arguments.photo))
        size = str(arguments.size)
        ways: dict[str, Callable[[Path], list[str]]] = {
            "loop": lambda place: ["-c", LOOP, str(source / IMAGES), size, str(place / "images.npy")],
            "prepare": lambda place: [
                "-m", "search.cli", "data", "prepare", str(source), "--workspace", str(place), "--size", size,
            ],
        }  # fmt: skip
        found: dict[str, list[tuple[float, int]]] = {way: [] for way in ways}
        for number in range(arguments.rounds):
            for way, command in ways.items():
                place = folder / "made"
                place.mkdir()
                found[way].append(timed([sys.executable, *command(place)]))
                shutil.rmtree(place)
                print(f"round {number + 1}, {way}: {found[way][-1][0]:.1f} s", file=sys.stderr, flush=True)
        show(found, source / IMAGES, arguments.size)


def show(found: dict[str, list[tuple[float, int]]], images: Path, size: int) -> None:
    """The table, in Markdown."""
    with zipfile.ZipFile(images) as archive:
        photos = [each.file_size for each in archive.infolist() if each.filename.endswith(".jpg")]
    medians = {way: statistics.median(seconds for seconds, _ in each) for way, each in found.items()}
    print(f"{len(photos)} photos of {np.mean(photos) / 1024:.0f} KiB to {size} pixels a side; {machine()}\n")
    print("| way | seconds, median | times faster | memory, MiB |\n|---|---|---|---|")
    for way, each in found.items():
        memory = max(peak for _, peak in each) / 2**20
        print(f"| {way} | {medians[way]:.1f} | {medians['loop'] / medians[way]:.2f} | {memory:.0f} |")


def timed(command: list[str]) -> tuple[float, int]:
    """Seconds of a command, and the most memory in bytes that it and its children held at a time."""
    start, peak = time.perf_counter(), 0
    with tempfile.TemporaryFile() as told:
        process = subprocess.Popen(command, stdout=told, stderr=told)
        while process.poll() is None:
            peak = max(peak, sum(map(held, family(process.pid))))
            time.sleep(0.1)
        if process.returncode:
            told.seek(0)
            sys.exit(f"{' '.join(command[1:3])} ended with {process.returncode}:\n{told.read().decode()[-4000:]}")
    return time.perf_counter() - start, peak


def family(process: int) -> list[int]:
    """A process and its children's children."""
    found = [process]
    for parent in found:
        for tasks in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += map(int, tasks.read_text().split())
            except OSError:
                continue  # it has ended
    return found


def held(process: int) -> int:
    """Bytes of a process that are no pages of a file, shared ones divided; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))


def enlarged(source: Path, folder: Path, photo: tuple[int, int]) -> Path:
    """A copy of `source` whose photos are drawn larger."""
    folder.mkdir()
    for file in source.iterdir():
        if file.suffix == ".csv":
            shutil.copy(file, folder)
    with zipfile.ZipFile(source / IMAGES) as given, zipfile.ZipFile(folder / IMAGES, "w") as made:
        names = [name for name in given.namelist() if name.endswith(".jpg")]
        with ProcessPoolExecutor() as pool:
            work = ((given.read(name), photo, number) for number, name in enumerate(names))
            for name, data in zip(names, pool.map(larger, *zip(*work, strict=True), chunksize=64), strict=True):
                made.writestr(name, data)
    return folder


def larger(data: bytes, photo: tuple[int, int], seed: int) -> bytes:
    """A JPEG drawn at another size, with grain."""
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB").resize(photo), np.int16)
    grain = np.random.default_rng(seed).normal(0, 6, (*pixels.shape[:2], 1)).astype(np.int16)
    image = Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95)
    return file.getvalue()


if __name__ == "__main__":
    main()
