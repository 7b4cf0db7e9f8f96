"""The published runs, theirs against ours on the same measures: run, promote, and print the table in Markdown.

    lesion-search data prepare ../shared/data/isic2017
    lesion-search data prepare ../shared/data/isic2018
    python benchmarks/published.py ../shared/weights/mobilenet_v2_imagenet_features.pth > benchmarks/published.md

Each file of spaces/published is run once as it stands, but for these, which were settled before the first run:
- MobileNetV2 with local weights in the place of the published backbone, and 128 pixels;
- as much of it is trained as there: its last stage for ResNet-50's conv5_x, its last two for conv4_x and conv5_x, its
  last stage and half of the layers of the one before for half of conv4_x;
- the few epochs given here, and a learning rate that is higher where epochs are a tenth, or falls as much sooner.

Nothing is chosen by the test part: each run is one trial, promoted whatever it is, seen once from one side as theirs
were (no averaging over flips and turns). What has ended is not run again, so the table can be printed after an
interruption. The recorded table stands beside this file.

Theirs: the figures of the systems' own reports on the official test parts, decided by the largest probability, and so
are ours beside them. The last column decides under the weights that `promote` sets on validation, which the published
systems did not have. On ISIC 2018 ours are on a test part of our own, a share of the lesions of the training images,
because the official one has no public labels here: another test set than theirs, and one that resembles the training
images more.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lesion.evaluation import evaluate
from lesion.metrics import Interval
from lesion.registry import Value
from search import StudyResult, promote, run_study
from search.promotion import Promotion

SPACES = Path(__file__).parent.parent / "spaces" / "published"
MEASURES = ("accuracy", "balanced_accuracy", "macro_auc")
LAST: Mapping[str, Value] = {"trainable_stages": 1}
LAST_TWO: Mapping[str, Value] = {"trainable_stages": 2}
LAST_AND_HALF: Mapping[str, Value] = {"trainable_layers": 23}
"""Of MobileNetV2's 52 convolutions 13 lie at a 32nd of the image's side, 21 at a 16th, where ResNet-50 has conv4_x."""


@dataclass(frozen=True)
class Published:
    """One file of spaces/published, the epochs it gets here, and what was reported of it: one figure a measure.

    `trained` says what of MobileNetV2 is; None keeps the file's own backbone. `changed` are other settings.
    """

    file: str
    epochs: int
    accuracy: str = ""
    balanced_accuracy: str = ""
    macro_auc: str = ""
    trained: Mapping[str, Value] | None = field(default_factory=lambda: LAST)
    changed: Mapping[str, Value] = field(default_factory=dict)


FASTER_A: Mapping[str, Value] = {"optimizer.sgd.lr": 1e-3}
FASTER_B: Mapping[str, Value] = {"optimizer.adam.lr": 3e-4}
# 1e-6 for 120 epochs teaches nothing in a few.
FASTER_C: Mapping[str, Value] = {"optimizer.adam.lr": 1e-4}
# Theirs falls at epochs 20, 30 and 40 of 50. At the first rate alone seven epochs had not moved validation.
SOONER: Mapping[str, Value] = {"schedule.step.first": 4, "schedule.step.every": 2}
WHOLE: Mapping[str, Value] = {"batch_norm": "frozen"}

RUNS = (
    Published("a_melanoma_conv5", 6, ".733", ".630", changed=FASTER_A),
    Published("a_keratosis_conv5", 6, ".715", ".695", changed=FASTER_A),
    Published("a_melanoma_half_conv4", 3, trained=LAST_AND_HALF, changed=FASTER_A),
    Published("a_keratosis_half_conv4", 3, trained=LAST_AND_HALF, changed=FASTER_A),
    Published("a_melanoma_conv4_conv5", 3, trained=LAST_TWO, changed=FASTER_A),
    Published("a_keratosis_conv4_conv5", 3, trained=LAST_TWO, changed=FASTER_A),
    Published("a_melanoma_scratch", 10, ".448", ".573", trained=None, changed=SOONER),
    Published("a_keratosis_scratch", 5, ".500", ".477", trained=None, changed=SOONER),
    Published("g1_1", 4, ".40", ".479", ".668"),
    Published("g1_8", 4, ".43", ".456", ".662"),
    Published("g1_16", 4, ".30", ".463", ".677"),
    Published("g3_3", 4, ".59", ".496", ".721", trained=LAST_AND_HALF),
    Published("g6_2", 3, ".57", ".417", ".846", changed=FASTER_B),
    Published("g8_2", 2, ".59–.60", ".14–.15", ".50–.67", changed=FASTER_B),
    Published("g9_1", 1, ".59–.60", ".14–.15", ".50–.67", changed=FASTER_B),
    Published("g9_2", 2, ".59–.60", ".14–.15", ".50–.67", changed=FASTER_B),
    Published("g9_3", 2, ".58", ".513", ".869", changed=FASTER_B),
    Published("c_isic2017", 4, trained=WHOLE, changed=FASTER_C),
    Published("c_isic2018", 2, trained=WHOLE, changed=FASTER_C),
)


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="MobileNetV2's ImageNet weights")
    parser.add_argument("--workspace", type=Path, default=Path("workspace"))
    parser.add_argument("--only", nargs="*", default=[run.file for run in RUNS], metavar="FILE")
    arguments = parser.parse_args()
    measures = " | ".join(f"{name.replace('_', ' ')}: theirs | ours" for name in MEASURES)
    print(f"| run | epochs | minutes | {measures} | balanced accuracy, weights set on validation |")
    print("|---|---|---|" + "---|---|" * len(MEASURES) + "---|")
    for run in RUNS:
        if run.file in arguments.only:
            print(_row(run, *_scored(run, arguments.weights, arguments.workspace)), flush=True)


def _scored(run: Published, weights: Path, workspace: Path) -> tuple[StudyResult, Promotion]:
    name = f"pub_{run.file}"
    space = SPACES / f"{run.file}.yaml"
    result = run_study(space, workspace, name=name, overrides=_overrides(run, weights), concurrent=1)
    return result, promote(name, workspace, ensemble=1, views=1)


def _overrides(run: Published, weights: Path) -> dict[str, Value]:
    given: dict[str, Value] = {"image_size": 128, "precision": "float32", "budget.epochs": run.epochs, **run.changed}
    if run.trained is not None:
        settings = {"weights": str(weights), **run.trained}
        given |= {"backbone": "mobilenet_v2"} | {f"backbone.mobilenet_v2.{name}": v for name, v in settings.items()}
    return given


def _row(run: Published, result: StudyResult, promoted: Promotion) -> str:
    test = promoted.test
    # The same probabilities, decided by the largest, as the published systems decide.
    plain = evaluate(test.probabilities, test.labels, test.classes, images=test.images).intervals
    cells = [run.file, str(run.epochs), f"{result.rows[0].seconds / 60:.1f}"]
    for name in MEASURES:
        cells += [getattr(run, name) or "–", _score(plain[name])]
    return "| " + " | ".join([*cells, _score(test.intervals["balanced_accuracy"])]) + " |"


def _score(score: Interval) -> str:
    return "undefined" if math.isnan(score.value) else f"{score.value:.3f} ({score.low:.3f}–{score.high:.3f})"


if __name__ == "__main__":
    main()
