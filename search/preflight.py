"""What a space needs before its first trial: its data set, something to be judged by, and its files of weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from lesion import metrics
from lesion.data.external import SETTINGS, in_words
from lesion.data.packed import PackedDataset, Split, open_data
from lesion.errors import DataError, SettingError, WeightsError, unknown
from lesion.registry import Value
from lesion.tasks import Task
from search.errors import WorkspaceError
from search.space import Choice, Domain, Fixed, Space
from search.space.memory import Memory
from search.space.paper import stamp
from search.workspace import existing_workspace

SUFFIXES = (".pth", ".pt", ".safetensors")
USUAL = ("imagenet", "DEFAULT")
"""Names of weights that every backbone of torchvision has."""


def find_data(workspace: Path | None, name: str) -> tuple[PackedDataset | None, str]:
    """The packed data set `name`, or None and why it is not there."""
    try:
        return open_data(existing_workspace(workspace).path, name), ""
    except (DataError, WorkspaceError) as problem:
        return None, str(problem)


def task_of(space: Space, data: PackedDataset) -> Task | None:
    """What `space` asks of `data`; SettingError where the task does not fit the classes."""
    return None if space.task is None else Task.read(space.task, data.classes)


def absent_classes(data: PackedDataset, split: Split) -> list[str]:
    """Classes that a part of `split` has no image of, in words; `data` are seen through their task."""
    lines = []
    parts = (
        (split.train, "training", "nothing can be learnt of it"),
        (
            split.validation,
            "validation",
            "nothing can be said of it, and balanced accuracy is the mean over the others",
        ),
    )
    for rows, part, consequence in parts:
        counts = np.bincount(data.labels[rows], minlength=len(data.classes))
        absent = [name for name, count in zip(data.classes, counts, strict=True) if count == 0]
        if absent:
            lines.append(f"split {split.name} of {data.name}: no {part} image of {', '.join(absent)}: {consequence}")
    return lines


def require_judge(space: Space, data: PackedDataset) -> None:
    """Raise DataError where what trials are judged by is undefined on the validation part: every one would fail.

    `data` are seen through their task. Raises SettingError for a metric that the classes do not have.
    """
    known = metrics.objectives(data.classes)
    for name in judges(space):
        if name not in known:
            raise SettingError(f"{space.where('objective')}: objective: {unknown('metric', name, known)}")
    try:
        split = data.split(space.split)
    except DataError as problem:
        raise DataError(f"{space.where('split')}: {problem}") from None
    if undefined := undefined_on(data, split, judges(space)):
        missing = "; ".join(absent_classes(data, split))
        raise DataError(
            f"{space.where('objective')}: {', '.join(undefined)} is undefined on the validation part ({missing}); "
            "choose another split or prepare the data with one, or be judged by balanced_accuracy"
        )


def undefined_on(data: PackedDataset, split: Split, names: Iterable[str]) -> list[str]:
    """Those of the metrics `names` that are no number on the validation part of `split`."""
    rows = split.validation
    # Whether a metric is defined is a matter of the labels alone, so any probabilities will do.
    some = np.random.default_rng(0).dirichlet(np.ones(len(data.classes)), len(rows))
    scores = metrics.summary(some, data.labels[rows], data.classes)
    return [name for name in names if not math.isfinite(scores[name])]


def require_external(space: Space, data: PackedDataset) -> None:
    """Raise SettingError where `space` searches `external` or `external_epochs` on `data` without external photos."""
    for name in SETTINGS:
        domain = dict(space.tree.general).get(name)
        if domain is None or isinstance(domain, Fixed) or in_words(data):
            continue
        values = ", ".join(f"{value:g}" for value in values_of(domain))
        raise SettingError(
            f"{space.where(name)}: {name} is searched ({values}), but data set {data.name} has no external photos, so "
            f"every value trains the same: leave it out (--set {name}=1.0), or prepare the data with --external SOURCE"
        )


def judges(space: Space) -> list[str]:
    """The objective, and what a training of this space may follow besides."""
    domains = dict(space.tree.general)
    keeps, stops = domains.get("keep"), domains.get("early_stopping")
    follows = (
        (keeps is not None and "best" in values_of(keeps))
        or (stops is not None and any(values_of(stops)))
        or any(option.name == "plateau" for part in space.tree.parts for option in part.options)
    )
    monitor = domains.get("monitor", Fixed("mean_auc"))
    return list(dict.fromkeys([space.objective, *(str(name) for name in values_of(monitor) if follows)]))


def followed(settings: Mapping[str, Value]) -> set[str]:
    """The metric that a training with complete flat `settings` follows, so that it has to be defined; at most one."""
    follows = settings.get("keep") == "best" or settings.get("early_stopping") or settings.get("schedule") == "plateau"
    return {str(settings.get("monitor", "mean_auc"))} if follows else set()


def values_of(domain: Domain) -> tuple[Value, ...]:
    """All values of a choice, the ends and the middle of a range."""
    return domain.options if isinstance(domain, Choice) else domain.probes


def named_weights(space: Space) -> Iterator[tuple[str, str]]:
    """Backbone and weights, a file or torchvision's name, for all that a trial of `space` may load."""
    for part in space.tree.parts:
        if part.kind != "backbone":
            continue
        for option in part.options:
            for name, domain in option.settings:
                if name == "weights":
                    yield from ((option.name, weights) for weights in _weights(domain))


def named_texts(space: Space) -> list[str]:
    """Text files that settings of `space` name: cost matrices, taxonomies."""
    settings = [setting for part in space.tree.parts for option in part.options for setting in option.settings]
    values = [value for _, domain in settings for value in values_of(domain)]
    return sorted({value for value in values if isinstance(value, str) and value.endswith((".yaml", ".yml", ".csv"))})


def missing_weights(space: Space) -> list[str]:
    """Weights files that are not there, in words."""
    return [
        f"{_where(space, name)}: backbone {name}: no weights file {file} (looked in {Path.cwd()})"
        for name, file in named_weights(space)
        if file.endswith(SUFFIXES) and not Path(file).is_file()
    ]


def misfit_weights(space: Space, *, fetch: bool = False, memory: Memory | None = None) -> list[str]:
    """Weights that do not fit their backbone, and names that torchvision does not have, in words.

    Each file is loaded once, and not at all where `memory` knows that it fits. With `fetch` torchvision's own are
    downloaded too, so that no trial finds out that there is no connection.
    """
    known = memory or Memory()
    sizes = {name: domain.probes[0] for name, domain in space.tree.general if name == "image_size"}
    found = []
    for name, given in named_weights(space):
        is_file = given.endswith(SUFFIXES)
        if (is_file and not Path(given).is_file()) or (given in USUAL and not fetch):
            continue
        try:
            if is_file or fetch:
                question = ("fits", name, str(Path(given).absolute()), stamp(Path(given)), sizes)
                known.require(question, partial(_require_fit, name, given, sizes))
            else:
                known.require(("named", name, given), partial(_require_known, name, given))
        except WeightsError as problem:
            found.append(f"{_where(space, name)}: {problem}")
    return found


def _require_fit(backbone: str, weights: str, sizes: Mapping[str, Value]) -> None:
    """Raise WeightsError unless the weights can be loaded into the backbone."""
    from lesion.models import build_model  # noqa: PLC0415 - torch takes seconds
    from lesion.settings import resolve  # noqa: PLC0415

    try:
        build_model(resolve({**sizes, "backbone": backbone, f"backbone.{backbone}.weights": weights}), 2)
    except WeightsError as problem:
        raise WeightsError(f"backbone {backbone}: {problem}") from None


def _require_known(backbone: str, weights: str) -> None:
    """Raise WeightsError unless torchvision has weights of this name."""
    from lesion.models.weights import why_unknown  # noqa: PLC0415 - torch takes seconds

    if why := why_unknown(backbone, weights):
        raise WeightsError(why)


def _where(space: Space, backbone: str) -> str:
    return space.where(f"backbone.{backbone}.weights")


def require_weights(space: Space) -> None:
    """Raise WeightsError, a line for all weights that are missing, cannot be had or do not fit."""
    mistakes = [*missing_weights(space), *misfit_weights(space, fetch=True)]
    if mistakes:
        raise WeightsError("\n".join(mistakes))


def _weights(domain: Domain) -> list[str]:
    values = domain.options if isinstance(domain, Choice) else domain.probes[:1]
    return [value for value in values if isinstance(value, str) and value != "none"]
