"""The whole path on real images: prepare, search, promote; prints the record as a table in Markdown.

    python benchmarks/whole_path.py ../shared/data/isic2017 spaces/isic2017.yaml > benchmarks/isic2017.md
    python benchmarks/whole_path.py ../shared/data/isic2018 spaces/isic2018.yaml --size 160 > benchmarks/isic2018.md

Every step continues or repeats without loss, so on a workspace where the search has ended and the model is promoted
it only reads and prints. The recorded tables stand beside this file.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Iterator
from datetime import date
from importlib.metadata import version
from pathlib import Path

from lesion.data.prepare import prepare
from search import StudyStatus, promote, run_study
from search.promotion import Promotion
from search.space import load


def main() -> None:
    """Run what is missing and print the record."""
    arguments = _arguments()
    space = load(arguments.space)
    data = prepare(arguments.source, arguments.workspace, name=space.data, size=arguments.size)
    result = run_study(space, arguments.workspace, trials=arguments.trials, hours=arguments.hours)
    print(result.message, file=sys.stderr)
    if not result.complete:
        sys.exit(1)  # the test part is for a search that has ended
    promoted = promote(result.name, arguments.workspace)
    counts = ", ".join(f"{count} {state}" for state, count in result.counts.items() if count)
    print(f"# {result.name}: {len(data)} images to search on, {promoted.test_images} to test on\n")
    print("\n".join(_facts(result, counts)))
    print("\n## Test part, scored once\n\n| metric | value | 95 % interval |\n|---|---|---|")
    print(
        "\n".join(f"| {name} | {value:.4f} | {low:.4f} to {high:.4f} |" for name, value, low, high in _scores(promoted))
    )
    print("\n## What was promoted\n\n| trial | validation | epochs | settings |\n|---|---|---|---|")
    print("\n".join(_members(promoted)))
    print("\n## All trials\n\n| trial | state | epoch | value | minutes |\n|---|---|---|---|---|")
    print("\n".join(_trials(result)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="ISIC zips or an image folder")
    parser.add_argument("space", type=Path, help="space file")
    parser.add_argument("--workspace", type=Path, default=Path("workspace"))
    parser.add_argument("--size", type=int, default=256, help="pixels a side of the packed images")
    parser.add_argument("--trials", type=int, help="instead of the space file's")
    parser.add_argument("--hours", type=float, help="instead of the space file's")
    return parser.parse_args()


def _facts(result: StudyStatus, counts: str) -> Iterator[str]:
    started = min(row.started for row in result.rows if row.started)
    ended = max(row.ended for row in result.rows if row.ended)
    processor = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    yield "| what | |\n|---|---|"
    software = f"torch {version('torch')}, Python {platform.python_version()}"
    yield f"| machine | {os.cpu_count()} cores, {processor}; {software} |"
    yield f"| date | {date.today().isoformat()} |"
    yield f"| first trial's start to last trial's end | {(ended - started).total_seconds() / 60:.0f} minutes |"
    yield f"| time in epochs, summed over trials | {sum(row.seconds for row in result.rows) / 60:.0f} minutes |"
    yield f"| trials | {counts} |"
    yield f"| objective | {result.identity.objective} on the split {result.identity.split} |"
    yield f"| data, space | {result.identity.data_hash[:12]}, {result.identity.space_hash[:12]} |"


def _scores(promoted: Promotion) -> Iterator[tuple[str, float, float, float]]:
    for name, (value, low, high) in promoted.metrics.items():
        if value is not None and low is not None and high is not None:
            yield name, value, low, high


def _members(promoted: Promotion) -> Iterator[str]:
    for row in promoted.members:
        shown = ", ".join(f"{path.rpartition('.')[2]} {_short(value)}" for path, value in sorted(row.settings.items()))
        yield f"| {row.number} | {row.value:.4f} | {row.epoch} | {shown} |"


def _trials(result: StudyStatus) -> Iterator[str]:
    for row in result.rows:
        value = "–" if row.value is None else f"{row.value:.4f}"
        yield f"| {row.number} | {row.state} | {row.epoch} | {value} | {row.seconds / 60:.1f} |"


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else Path(value).name if isinstance(value, str) else str(value)


if __name__ == "__main__":
    main()
