"""What no other recorded run has trained on real images, one epoch each: that it trains, what it costs and learns.

    lesion-search data prepare ../shared/data/isic2017
    lesion-search data prepare ../shared/data/isic2018
    python benchmarks/components.py ../shared/weights > benchmarks/components.md

The published runs (published.py) and the searches over full spaces (isic2017_full.md, isic2018_full.md) train most
components at length. These are the rest: other depths and encoders of the published systems, from scratch where there
are no weights of them here, which one epoch teaches little; the taxonomies of three levels; resampling that the spaces
leave out; timm. Images of 64 pixels. Scores are of the validation part; the test part stays closed. What has ended is
not trained again.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lesion.registry import Value
from search import run_study

SPACES = Path(__file__).parent.parent / "spaces"
EVERYWHERE: Mapping[str, Value] = {
    "image_size": 64, "precision": "float32", "budget.epochs": 1, "budget.trials": 1, "scheduler": "none",
}  # fmt: skip
PLAIN: Mapping[str, Value] = {
    "head": "linear", "loss": "cross_entropy", "balancing": "none", "augmentation": "dihedral", "views": 1,
    "optimizer.adamw.lr": 1e-3, "weight_average": 0.0,
}  # fmt: skip
"""One point of a full space, from which its rows differ in one thing."""
WHOLE: Mapping[str, Value] = {"batch_norm": "frozen"}


@dataclass(frozen=True)
class Row:
    """One training: a space file, and what is set in it.

    `backbone` replaces the file's; `weights` names the file of its weights, and without one it is trained afresh.
    """

    what: str
    file: str
    changed: Mapping[str, Value] = field(default_factory=dict)
    backbone: str = ""
    weights: str = ""
    settings: Mapping[str, Value] = field(default_factory=dict)

    @property
    def study(self) -> str:
        """Its name in the workspace."""
        return "one_" + "".join(letter if letter.isalnum() else "_" for letter in self.what)

    def overrides(self, weights: Path) -> dict[str, Value]:
        """What is set, all of it."""
        given = {**EVERYWHERE, **self.changed}
        if self.backbone:
            settings = {"weights": str(weights / self.weights)} if self.weights else dict(self.afresh)
            settings = {**settings, **self.settings}
            given |= {"backbone": self.backbone}
            given |= {f"backbone.{self.backbone}.{name}": value for name, value in settings.items()}
        return given

    @property
    def afresh(self) -> Mapping[str, Value]:
        """What trains the backbone from scratch."""
        return {} if self.backbone.startswith("preact") else {"weights": "none"}


MOBILENET = "mobilenet_v2_imagenet_features.pth"
ROWS = (
    *(
        Row(f"pre-activation ResNet-{depth}", "published/a_melanoma_scratch.yaml", backbone=f"preact_resnet{depth}")
        for depth in (34, 50, 101, 152)
    ),
    Row("ResNet-50 and B's head", "published/g8_2.yaml", backbone="resnet50"),
    Row("ResNet-50 and the dense head", "published/g1_1.yaml", backbone="resnet50"),
    Row("VGG-16 and C's decoder", "published/c_isic2017.yaml", backbone="vgg16"),
    Row("DenseNet-161 and C's decoder", "published/c_isic2017.yaml", backbone="densenet161"),
    *(
        Row(
            f"taxonomy {name}", f"published/c_{name[:8]}.yaml",
            {"head.taxonomy_decoder.taxonomy": name, "optimizer.adam.lr": 1e-4}, "mobilenet_v2", MOBILENET, WHOLE,
        )
        for name in (
            "isic2017_three_levels_sk_benign", "isic2018_three_levels_akiec_benign",
            "isic2018_three_levels_akiec_malignant",
        )
    ),
    *(
        Row(what, "isic2017_full.yaml", {**PLAIN, **changed}, "mobilenet_v2", MOBILENET)
        for what, changed in {
            "attention_lstm on ISIC 2017": {"head": "attention_lstm"},
            "Tomek on features": {"balancing": "tomek"},
            "SMOTE on pixels": {"balancing": "smote", "balancing.smote.on": "pixels"},
            "geometric augmentation": {"augmentation": "geometric"},
            "mixed pooling": {"head": "generalised_pooling", "head.generalised_pooling.pooling": "mixed"},
            "generalised mean pooling": {
                "head": "generalised_pooling", "head.generalised_pooling.pooling": "generalised_mean",
            },
            "constant rate": {"schedule": "constant"},
            "MetaBlock on ISIC 2017": {"metadata": "metablock"},
        }.items()
    ),
    *(
        Row(what, "isic2017_full.yaml", PLAIN, backbone, weights)
        for what, backbone, weights in (
            ("SqueezeNet 1.1", "squeezenet1_1", "squeezenet1_1_imagenet.pth"),
            ("timm's EfficientNet-Lite0", "timm/tf_efficientnet_lite0", "efficientnet_lite0_imagenet_timm.pth"),
        )
    ),
)  # fmt: skip


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="folder of ImageNet weights of MobileNetV2, SqueezeNet and timm's")
    parser.add_argument("--workspace", type=Path, default=Path("workspace"))
    arguments = parser.parse_args()
    print("| what | space | seconds of the epoch | validation | measure |")
    print("|---|---|---|---|---|")
    for row in ROWS:
        overrides = row.overrides(arguments.weights)
        result = run_study(SPACES / row.file, arguments.workspace, name=row.study, overrides=overrides, concurrent=1)
        if not result.complete:
            parser.exit(1, f"{result.message}\n")
        trial = result.rows[0]
        score = f"{trial.value:.3f}" if trial.value is not None else trial.state
        print(f"| {row.what} | {row.file} | {trial.seconds:.0f} | {score} | {result.identity.objective} |", flush=True)


if __name__ == "__main__":
    main()
