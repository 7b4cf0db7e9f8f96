"""What a trial is made of: flat settings, checked and completed into a plan.

Settings are one flat mapping of dotted paths to scalars, the same in the ledger, in MLflow and in a report:

>>> plan = resolve({"image_size": 64, "loss": "focal", "loss.focal.gamma": 1.5})
>>> plan.choices["loss"]
Choice(name='focal', settings={'gamma': 1.5, 'alpha': 1.0})
>>> resolve({"loss.focal.gamma": 1.5})
Traceback (most recent call last):
...
lesion.errors.SettingError: loss.focal.gamma is set, but the loss is cross_entropy
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from lesion.augment import augmentations
from lesion.balancing import balancings
from lesion.balancing.store import seeks_on
from lesion.errors import SettingError, unknown
from lesion.losses import losses
from lesion.models import backbones, heads, metadatas
from lesion.optimisation import optimizers, schedules
from lesion.registry import Component, Range, Registry, Value

REGISTRIES: Mapping[str, Registry] = {
    r.kind: r for r in (backbones, heads, metadatas, losses, balancings, augmentations, optimizers, schedules)
}
"""Every kind of component."""

DEFAULTS: Mapping[str, str] = {
    "backbone": "mobilenet_v2",
    "head": "linear",
    "metadata": "none",
    "loss": "cross_entropy",
    "balancing": "none",
    "augmentation": "dihedral",
    "optimizer": "adamw",
    "schedule": "cosine",
}


def general(
    *,
    image_size: Annotated[int, Range(16, 1024)] = 128,
    batch_size: Annotated[int, Range(2, 4096)] = 32,
    views: Literal[1, 2, 4, 8] = 1,
    weight_average: Annotated[float, Range(0.0, 0.9999)] = 0.0,
    clip: Annotated[float, Range(0.0, None)] = 0.0,
    epoch: Literal["equal", "full"] = "equal",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    monitor: Literal["mean_auc", "macro_auc", "balanced_accuracy", "accuracy", "log_loss"] = "mean_auc",
    early_stopping: Annotated[int, Range(0, 1000)] = 0,
    keep: Literal["last", "best"] = "last",
    external: Annotated[float, Range(0.0, 1.0)] = 1.0,
    external_epochs: Annotated[float, Range(0.0, 1.0)] = 1.0,
) -> None:
    """Settings of the training as a whole.

    image_size: pixels a side of what the model sees. batch_size: examples per step. views: flips and quarter
    turns whose probabilities are averaged when predicting. weight_average: decay per step of an exponential
    moving average of the weights, which is then what predicts; 0 leaves it out. clip: largest gradient norm; 0
    leaves it out. epoch: `equal` sees as many examples as the training part has, whatever the balancing;
    `full` sees the balanced part once; both in whole batches. precision: `auto` takes bfloat16 where the device
    trains this backbone faster in it. monitor: the metric of the validation part that the next two and a plateau
    schedule follow. early_stopping: epochs without a better one after which a trial is over; 0 never stops it. keep:
    the weights that are judged and promoted, of the last epoch or of the best so far (whose score then flatters, being
    the best of many). external: share of the data set's external photos that are in the training part; those of a
    smaller share are among those of a larger one. external_epochs: share of the epochs, the first ones, that show
    them; the rest learn from the data set's own alone.
    """


GENERAL = Component("training", "general", general)


@dataclass(frozen=True)
class Choice:
    """A component by name, with all its settings."""

    name: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """Complete, checked settings: `general` scalars and one `Choice` per kind of component."""

    general: Mapping[str, Any]
    choices: Mapping[str, Choice]

    @property
    def on_features(self) -> bool:
        """Whether the head learns on feature maps that a frozen backbone made once: neighbours are sought there."""
        return seeks_on(self.choices["balancing"].settings) == "features"


def resolve(flat: Mapping[str, Value]) -> Plan:
    """Check flat settings and fill in the defaults; SettingError names the path."""
    names = {kind: _component_name(kind, flat.get(kind, default)) for kind, default in DEFAULTS.items()}
    scalars: dict[str, Value] = {}
    given: dict[str, dict[str, Value]] = {kind: {} for kind in REGISTRIES}
    for path, value in flat.items():
        kind, *rest = path.split(".")
        if not rest and kind not in REGISTRIES:
            scalars[kind] = value
        elif rest:
            _place(given, names, path, value)
    choices = {kind: Choice(name, _fill(kind, name, given[kind])) for kind, name in names.items()}
    seeks_on(choices["balancing"].settings)  # refuses a chain that seeks neighbours in two places
    return Plan(_fill_general(scalars), choices)


def on_frozen_backbone(plan: Plan) -> Plan:
    """The plan as it is; where the head learns on features, with none of the backbone trained."""
    if not plan.on_features:
        return plan
    backbone = plan.choices["backbone"]
    frozen = {**backbone.settings, "trainable_stages": 0, "trainable_layers": None}
    settings = {name: value for name, value in frozen.items() if name in backbone.settings}
    return replace(plan, choices={**plan.choices, "backbone": Choice(backbone.name, settings)})


def corrects_imbalance(kind: str, name: str, settings: Mapping[str, Value]) -> bool:
    """Whether this component corrects for class imbalance, as weighted losses and resampling do."""
    return REGISTRIES[kind][name].corrects(settings)


def _component_name(kind: str, name: Value) -> str:
    if not isinstance(name, str):
        raise SettingError(f"{kind} is {name!r}, must be the name of a {kind}")
    return REGISTRIES[kind][name].name


def _place(given: dict[str, dict[str, Value]], names: Mapping[str, str], path: str, value: Value) -> None:
    kind, _, rest = path.partition(".")
    if kind not in REGISTRIES:
        raise SettingError(unknown("kind of component", kind, REGISTRIES))
    # Both may hold dots (timm/resnet50.a1_in1k, cap.count): only the chosen name tells where the setting begins.
    name, setting = rest[: len(names[kind])], rest[len(names[kind]) + 1 :]
    if name != names[kind] or not rest.startswith(f"{name}.") or not setting:
        raise SettingError(f"{path} is set, but the {kind} is {names[kind]}")
    given[kind][setting] = value


def _fill(kind: str, name: str, given: Mapping[str, Value]) -> dict[str, Any]:
    try:
        return REGISTRIES[kind][name].fill(given)
    except SettingError as problem:
        raise SettingError(f"{kind}.{name}: {problem}") from None


def _fill_general(scalars: Mapping[str, Value]) -> dict[str, Any]:
    stranger = next((name for name in scalars if name not in GENERAL.settings), None)
    if stranger is not None:
        raise SettingError(unknown("setting", stranger, [*GENERAL.settings, *REGISTRIES]))
    return GENERAL.fill(scalars)
