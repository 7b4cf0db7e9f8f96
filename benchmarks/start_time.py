"""Seconds until ``lesion-search --help`` and ``check`` have answered, medians of fresh processes.

    python benchmarks/start_time.py
    python benchmarks/start_time.py --space spaces/isic2017_full.yaml --repeats 9

Targets: 0.3 s for ``--help``, 1 s for ``check``. The first answer of each is not counted: a `check` is
slower after a change of the installation.
Recorded in benchmarks/speed.md.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TARGETS = {"--help": 0.3, "check": 1.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", type=Path, default=Path("spaces/smoke.yaml"))
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    print("| command | median, s | fastest, s | target, s |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        commands = {"--help": ["--help"], "check": ["check", str(arguments.space), "--workspace", folder]}
        for name, words in commands.items():
            _seconds(words)
            seconds = [_seconds(words) for _ in range(arguments.repeats)]
            print(f"| {name} | {statistics.median(seconds):.2f} | {min(seconds):.2f} | {TARGETS[name]} |", flush=True)


def _seconds(words: list[str]) -> float:
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "search.cli", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"lesion-search {' '.join(words)} ended with {done.returncode}: {done.stderr.strip()}")
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
