"""What can be measured, by name: which way is better, between which bounds, and what it means.

`objective:` of a space file names one of these; a metric of one class carries its name at the end:

>>> metric_named("auc_melanoma", ("melanoma", "nevus")).direction
'maximize'
>>> METRICS["log_loss"].direction
'minimize'
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from lesion.errors import SettingError, unknown

SENSITIVITIES = (82, 89, 95)
"""Percent of sensitivity at which the ISIC 2017 rules report specificity."""


@dataclass(frozen=True)
class Metric:
    """A number computed from probabilities and labels; `low` and `high` are its bounds."""

    direction: Literal["maximize", "minimize"]
    description: str
    low: float = 0.0
    high: float = 1.0


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "mean_auc": Metric(
            "maximize",
            "ranking AUC: ISIC 2017's mean of melanoma and keratosis AUC, the AUC of two classes, elsewhere macro_auc",
        ),
        "macro_auc": Metric("maximize", "mean over the classes of the one-against-rest AUC"),
        "micro_auc": Metric("maximize", "AUC over all (image, class) pairs together"),
        "weighted_auc": Metric("maximize", "one-against-rest AUC weighted by how often the class occurs"),
        "macro_ap": Metric("maximize", "mean over the classes of average precision"),
        "balanced_accuracy": Metric("maximize", "mean recall over the classes that occur; a tie is wrong"),
        "accuracy": Metric("maximize", "share of images whose largest probability is right; a tie is wrong"),
        "macro_f1": Metric("maximize", "mean F1 over the classes that occur"),
        "log_loss": Metric("minimize", "mean negative log-probability of the true class, in nats", 0.0, math.inf),
        "brier": Metric("minimize", "mean squared distance to the one-hot truth, summed over classes", 0.0, 2.0),
        "ece": Metric("minimize", "expected calibration error of the top probability, 15 equal bins"),
    }
)
"""Metrics of all classes together."""

PER_CLASS: Mapping[str, Metric] = MappingProxyType(
    {
        "auc": Metric("maximize", "AUC of {} against the rest"),
        "ap": Metric("maximize", "average precision of {} against the rest"),
        "sensitivity": Metric("maximize", "share of {} found (recall), by largest probability"),
        "specificity": Metric("maximize", "share of the others not called {}, by largest probability"),
        "precision": Metric("maximize", "share of the images called {} that are, by largest probability"),
        "f1": Metric("maximize", "harmonic mean of precision and sensitivity for {}"),
    }
    | {
        f"specificity_at_{percent}": Metric(
            "maximize", f"specificity for {{}} at the first threshold with at least {percent} % sensitivity"
        )
        for percent in SENSITIVITIES
    }
)
"""Metrics of one class; `<metric>_<class>` is the name."""

EVERY_EPOCH = ("auc", "sensitivity", "specificity", "precision", "f1")
"""Metrics of one class that are cheap enough, and few enough, for every epoch."""
JUDGED_BY = ("auc", "sensitivity", "specificity")
"""Those that a search may optimise: whether they are defined is a matter of the labels alone.

The precision of a class is undefined as long as no image is called it, which is where many a training begins.
"""


def metrics_of(classes: Sequence[str]) -> dict[str, Metric]:
    """Every metric of a data set with these classes, by full name: the keys of `report`."""
    return _named(classes, tuple(PER_CLASS))


def of_every_epoch(classes: Sequence[str]) -> dict[str, Metric]:
    """Metrics that are recorded after every epoch, the keys of `summary`."""
    return _named(classes, EVERY_EPOCH)


def objectives(classes: Sequence[str]) -> dict[str, Metric]:
    """Metrics that are known after every epoch, whatever a model predicts: what a search may optimise."""
    return _named(classes, JUDGED_BY)


def metric_named(name: str, classes: Sequence[str] = ()) -> Metric:
    """Metric called `name`; SettingError lists the known ones. Names with a class need `classes`."""
    known = metrics_of(classes)
    if name not in known:
        raise SettingError(unknown("metric", name, known))
    return known[name]


def split_name(name: str) -> tuple[str, str]:
    """The metric and the class in the name of a metric of one class; SettingError where it is of none.

    Which classes there are is not asked.

    >>> split_name("auc_melanoma"), split_name("specificity_at_82_MEL")
    (('auc', 'melanoma'), ('specificity_at_82', 'MEL'))
    """
    found = [metric for metric in PER_CLASS if name.startswith(f"{metric}_")]
    if not found:
        raise SettingError(unknown("metric", name, [*METRICS, *(f"{metric}_CLASS" for metric in PER_CLASS)]))
    metric = max(found, key=len)
    return metric, name.removeprefix(f"{metric}_")


def _named(classes: Sequence[str], per_class: Sequence[str]) -> dict[str, Metric]:
    found = dict(METRICS)
    for name in per_class:
        metric = PER_CLASS[name]
        for label in classes:
            description = metric.description.format(label)
            found[f"{name}_{label}"] = Metric(metric.direction, description, metric.low, metric.high)
    return found
