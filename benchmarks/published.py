"""The published runs, theirs against ours on the same measures: run, promote, and print the table in Markdown.

    lesion-search data prepare ../shared/data/isic2017
    lesion-search data prepare ../shared/data/isic2018
    python benchmarks/published.py ../shared/weights/mobilenet_v2_imagenet_features.pth > benchmarks/published.md

Each file of spaces/published is run once as it stands, but for MobileNetV2 with local weights in the place of the
published backbone, 128 pixels, and the few epochs given here. Nothing is chosen by the test part: each run is one
trial, promoted whatever it is. What has ended is not run again, so the table can be printed after an interruption. The
recorded table stands beside this file.

Theirs: the figures of the systems' own reports on the official test parts. On ISIC 2018 ours are on a test part of our
own, a share of the lesions of the training images, because the official one has no public labels here: another test set
than theirs, and one that resembles the training images more.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lesion.registry import Value
from search import StudyResult, promote, run_study
from search.promotion import Promotion

SPACES = Path(__file__).parent.parent / "spaces" / "published"
MEASURES = ("accuracy", "balanced_accuracy", "macro_auc")


@dataclass(frozen=True)
class Published:
    """One file of spaces/published, the epochs it gets here, and what was reported of it: one figure a measure."""

    file: str
    epochs: int
    accuracy: str = ""
    balanced_accuracy: str = ""
    macro_auc: str = ""
    scratch: bool = False
    rate: float | None = None


RUNS = (
    Published("a_melanoma_conv5", 6, ".733", ".630"),
    Published("a_keratosis_conv5", 6, ".715", ".695"),
    Published("a_melanoma_half_conv4", 4),
    Published("a_keratosis_half_conv4", 4),
    Published("a_melanoma_conv4_conv5", 4),
    Published("a_keratosis_conv4_conv5", 4),
    Published("a_melanoma_scratch", 4, ".448", ".573", scratch=True),
    Published("a_keratosis_scratch", 4, ".500", ".477", scratch=True),
    Published("g1_1", 6, ".40", ".479", ".668"),
    Published("g1_8", 6, ".43", ".456", ".662"),
    Published("g1_16", 6, ".30", ".463", ".677"),
    Published("g3_3", 6, ".59", ".496", ".721"),
    Published("g6_2", 3, ".57", ".417", ".846"),
    Published("g8_2", 2, ".59–.60", ".14–.15", ".50–.67"),
    Published("g9_1", 1, ".59–.60", ".14–.15", ".50–.67"),
    Published("g9_2", 2, ".59–.60", ".14–.15", ".50–.67"),
    Published("g9_3", 2, ".58", ".513", ".869"),
    # 1e-6 for 120 epochs teaches nothing in a few.
    Published("c_isic2017", 5, rate=1e-4),
    Published("c_isic2018", 2, rate=1e-4),
)


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="MobileNetV2's ImageNet weights")
    parser.add_argument("--workspace", type=Path, default=Path("workspace"))
    parser.add_argument("--only", nargs="*", default=[run.file for run in RUNS], metavar="FILE")
    arguments = parser.parse_args()
    print("| run | epochs | minutes | " + " | ".join(f"{name}: theirs | ours" for name in MEASURES) + " |")
    print("|---|---|---|" + "---|---|" * len(MEASURES))
    for run in RUNS:
        if run.file in arguments.only:
            print(_row(run, *_scored(run, arguments.weights, arguments.workspace)), flush=True)


def _scored(run: Published, weights: Path, workspace: Path) -> tuple[StudyResult, Promotion]:
    name = f"pub_{run.file}"
    space = SPACES / f"{run.file}.yaml"
    result = run_study(space, workspace, name=name, overrides=_overrides(run, weights), concurrent=1)
    return result, promote(name, workspace)


def _overrides(run: Published, weights: Path) -> dict[str, Value]:
    given: dict[str, Value] = {"image_size": 128, "precision": "float32", "budget.epochs": run.epochs}
    if not run.scratch:
        given |= {"backbone": "mobilenet_v2", "backbone.mobilenet_v2.weights": str(weights)}
    return given if run.rate is None else {**given, "optimizer.adam.lr": run.rate}


def _row(run: Published, result: StudyResult, promoted: Promotion) -> str:
    cells = [run.file, str(run.epochs), f"{result.rows[0].seconds / 60:.1f}"]
    for name in MEASURES:
        cells += [getattr(run, name) or "–", "; ".join(_score(name, promoted.metrics))]
    return "| " + " | ".join(cells) + " |"


def _score(name: str, metrics: Mapping[str, list[float | None]]) -> Iterator[str]:
    value, low, high = metrics[name]
    yield "undefined" if value is None else f"{value:.3f} ({low:.3f}–{high:.3f})"


if __name__ == "__main__":
    main()
