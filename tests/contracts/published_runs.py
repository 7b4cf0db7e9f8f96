"""The published runs as the systems describe them: what each file of spaces/published must say.

Systems, by their repositories: A, muditchaudhary/Skin-Lesion-Classification; B, penelopedef's
Skin_lesion_classification_ResNet-50_Attention_LSTM; C, Barata, Celebi & Marques 2021,
doi:10.1016/j.patcog.2020.107413. A setting that none of them tells stands in no table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lesion.registry import Value

MELANOMA, KERATOSIS, NEVUS = "melanoma", "seborrheic_keratosis", "nevus"
COUNTS_2017 = {MELANOMA: 374, KERATOSIS: 254, NEVUS: 1372}
COUNTS_2018 = {"MEL": 1113, "NV": 6705, "BCC": 514, "AKIEC": 327, "BKL": 1099, "DF": 115, "VASC": 142}
"""Images of each diagnosis in the official training parts, in the order of the packed sets."""

CONV5, HALF_CONV4, CONV4_CONV5, EVERYTHING = "conv5_x", "half of conv4_x, conv5_x", "conv4_x, conv5_x", "everything"


@dataclass(frozen=True)
class Run:
    """One published run.

    `settings` are paths of complete settings, `counts` those of each diagnosis after `balancing`, or before neighbours
    are sought where its last link is smote_tomek. `trained` is the part of the backbone that is trained.
    """

    data: str
    epochs: int
    balancing: str
    counts: Mapping[str, int]
    settings: Mapping[str, Value]
    trained: str
    task: str | None = None
    double: bool = False


# -- A ----------------------------------------------------------------------------------------------------------------

A: Mapping[str, Value] = {
    "batch_size": 32,
    "early_stopping": 0,
    "epoch": "full",
    "loss": "cost_matrix", "loss.missed": 5.0,  # 4, 5 or 6
    "augmentation": "crop_shear_jitter",
    "optimizer": "sgd", "optimizer.momentum": 0.9, "optimizer.nesterov": False,
    "schedule": "step", "schedule.first": 20, "schedule.every": 10, "schedule.gamma": 0.1,
    "balancing.positives.of": "minority",
}  # fmt: skip
FINE_TUNED = A | {
    "backbone": "resnet50", "backbone.weights": "imagenet", "head": "linear",
    "optimizer.lr": 1e-4, "optimizer.weight_decay": 0.0,  # L2 is told of the networks from scratch alone
}  # fmt: skip
# Keras' L2 of 1e-4 has a gradient of twice that.
SCRATCH = A | {"backbone": "preact_resnet18", "optimizer.lr": 1e-2, "optimizer.weight_decay": 2e-4, "head": "linear"}
POSITIVES = {
    MELANOMA: {MELANOMA: 1122, KERATOSIS: 508, NEVUS: 2744},
    KERATOSIS: {MELANOMA: 748, KERATOSIS: 762, NEVUS: 2744},
}


def system_a(task: str, trained: str) -> Run:
    """A run of system A: every image once more, and the task's positives once more again."""
    settings = SCRATCH if trained == EVERYTHING else FINE_TUNED
    return Run("isic2017", 50, "twice+positives", POSITIVES[task], settings, trained, task)


# -- B ----------------------------------------------------------------------------------------------------------------

B: Mapping[str, Value] = {
    "image_size": 224,
    "batch_size": 32,  # 8, 16 or 32
    "epoch": "full",
    "keep": "best",
    "backbone": "resnet50", "backbone.weights": "imagenet",
    "augmentation": "none",  # the four deterministic copies are its balancing's
    "optimizer": "adam", "optimizer.lr": 1e-4,
    "schedule": "plateau", "schedule.factor": 0.5, "schedule.patience": 2, "schedule.floor": 0.01,  # of 1e-4: 1e-6
}  # fmt: skip
G1 = B | {
    "monitor": "accuracy", "early_stopping": 5,
    "head": "dense", "head.units": 256, "head.dropout": 0.5,
}  # fmt: skip
G6 = B | {
    "monitor": "macro_auc", "early_stopping": 10,  # 5 or 10
    "head": "attention_lstm", "head.hidden": 512, "head.units": 512, "head.reduction": 8, "head.dropout": 0.5,
}  # fmt: skip
CROSS_ENTROPY: Mapping[str, Value] = {"loss": "cross_entropy", "loss.label_smoothing": 0.0}
FOCAL: Mapping[str, Value] = {"loss": "focal", "loss.alpha": 1.0, "loss.gamma": 1.5}
WEIGHTED: Mapping[str, Value] = {"loss": "weighted_cross_entropy", "loss.exponent": 1.0}
COPIES_2017: Mapping[str, Value] = {"balancing.copies.of": f"{MELANOMA},{KERATOSIS}", "balancing.cap.count": 1270}
EVENLY = dict.fromkeys(COUNTS_2017, 1270)
ON_PIXELS: Mapping[str, Value] = {"balancing.smote_tomek.neighbours": 5, "balancing.smote_tomek.on": "pixels"}
MINORITIES_X5 = {name: min(3352, 5 * count) for name, count in COUNTS_2018.items()}


def g1(settings: Mapping[str, Value], *, double: bool = False) -> Run:
    """A run of system B on ISIC 2017: minorities ×5, then 1270 of each."""
    return Run("isic2017", 20, "copies+cap", EVENLY, G1 | COPIES_2017 | settings, CONV5, double=double)


def g9(links: str, counts: Mapping[str, int], settings: Mapping[str, Value]) -> Run:
    """A run of system B on ISIC 2018 with SMOTE-Tomek on pixels."""
    return Run("isic2018", 40, f"{links}+smote_tomek", counts, G6 | CROSS_ENTROPY | ON_PIXELS | settings, CONV5)


# -- C ----------------------------------------------------------------------------------------------------------------

C: Mapping[str, Value] = {
    "image_size": 299,
    "batch_size": 20,
    "early_stopping": 0,
    "backbone": "vgg16", "backbone.weights": "imagenet", "backbone.batch_norm": "frozen",
    "head": "taxonomy_decoder", "head.taxonomy": "auto", "head.hidden": 512, "head.embedding": 50,
    "head.dropout": 0.5, "head.channel_attention": True,
    "loss": "path", "loss.weight": 1.0,
    "augmentation": "crop_flip_jitter",
    "optimizer": "adam", "optimizer.lr": 1e-6,
    "schedule": "milestones", "schedule.first": 0.5, "schedule.second": 0.75, "schedule.gamma": 0.1,
}  # fmt: skip


RUNS: Mapping[str, Run] = {
    "a_melanoma_conv5": system_a(MELANOMA, CONV5),
    "a_melanoma_half_conv4": system_a(MELANOMA, HALF_CONV4),
    "a_melanoma_conv4_conv5": system_a(MELANOMA, CONV4_CONV5),
    "a_melanoma_scratch": system_a(MELANOMA, EVERYTHING),
    "a_keratosis_conv5": system_a(KERATOSIS, CONV5),
    "a_keratosis_half_conv4": system_a(KERATOSIS, HALF_CONV4),
    "a_keratosis_conv4_conv5": system_a(KERATOSIS, CONV4_CONV5),
    "a_keratosis_scratch": system_a(KERATOSIS, EVERYTHING),
    "g1_1": g1(CROSS_ENTROPY),
    "g1_8": g1(FOCAL),
    "g1_16": g1(WEIGHTED | {"loss.counts": "original"}, double=True),
    "g3_3": Run(
        "isic2017", 20, "smote_tomek", COUNTS_2017,
        G1 | CROSS_ENTROPY | {"balancing.neighbours": 5, "balancing.on": "pixels"}, HALF_CONV4,
    ),
    "g6_2": Run(
        "isic2018", 40, "copies+cap",
        {"MEL": 1113, "NV": 1113, "BCC": 1113, "AKIEC": 1113, "BKL": 1099, "DF": 575, "VASC": 710},
        G6 | FOCAL | {"balancing.copies.of": "BCC,AKIEC,DF,VASC", "balancing.cap.of_class": "MEL"}, CONV5,
    ),
    "g8_2": Run("isic2018", 40, "none", COUNTS_2018, G6 | WEIGHTED | {"loss.counts": "drawn"}, CONV5),
    "g9_1": g9("cap", COUNTS_2018 | {"NV": 3352}, {"balancing.cap.fraction": 0.5}),
    "g9_2": g9("cap", COUNTS_2018 | {"NV": 1113}, {"balancing.cap.of_class": "MEL"}),
    "g9_3": g9("copies+cap", MINORITIES_X5, {"balancing.copies.of": "minority", "balancing.cap.count": 3352}),
    "c_isic2017": Run("isic2017", 120, "none", COUNTS_2017, C, EVERYTHING),
    "c_isic2018": Run("isic2018", 120, "none", COUNTS_2018, C, EVERYTHING),
}  # fmt: skip

LARGEST = {"g3_3": 1372, "g9_1": 3352, "g9_2": 1113, "g9_3": 3352}
"""What SMOTE brings every class to, before Tomek links are taken out."""
AFTER_TOMEK: Mapping[str, tuple[int, tuple[int, ...]]] = {
    "g9_1": (23_458, (3350,) * 7),
    "g9_2": (7675, (1100,) * 7),
    "g9_3": (23_260, (3286, 3284, 3342, 3352, 3292, 3352, 3352)),
}
"""Images without Tomek links, in all and of each class; but for G9.3 the classes are told as "about" so many."""
WEIGHTS = {
    "g1_16": {NEVUS: 0.4859, KERATOSIS: 2.6247, MELANOMA: 1.7825},
    "g8_2": {"MEL": 1.286, "NV": 0.213, "BCC": 2.784, "AKIEC": 4.375, "BKL": 1.302, "DF": 12.44, "VASC": 10.08},
}
"""What the loss weighs each class."""
MILLIONS = {"g1_1": (24.11, 15.50), "g1_8": (24.11, 15.50), "g1_16": (24.11, 15.50), "g3_3": (24.11, 18.86)}
"""Parameters in millions as Keras counts them: all, and those that train."""
ATTENTION_LSTM = 34_345_607
"""Parameters of the runs from G6.2 on, as Keras counts them."""
