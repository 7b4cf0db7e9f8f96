"""What a space file may speak of: components, general settings and metrics, as `lesion` registers them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from lesion.errors import SettingError, unknown
from lesion.registry import Setting, Value
from search.space.paper import build_on_paper

CHAINED = frozenset({"balancing"})
"""Kinds whose components can follow one another."""


class Schema(Protocol):
    """What a space file has to know of a component."""

    @property
    def kind(self) -> str:
        """What it can be, such as "loss"."""

    @property
    def name(self) -> str:
        """Its name within its kind."""

    @property
    def neutral(self) -> bool:
        """Whether it corrects no class imbalance, whatever its settings."""

    @property
    def settings(self) -> Mapping[str, Setting]:
        """What a file may set, by name."""


@dataclass(frozen=True)
class Vocabulary:
    """Components by kind and name, the general settings, and what `lesion` knows about them.

    A name that is not known raises SettingError.
    `direction(objective, classes)` is "maximize" or "minimize"; `corrects(kind, name, settings)` whether a
    component corrects class imbalance; `resolve(settings)` raises SettingError for settings that are
    not valid together, `build(settings, classes)` where no model comes of them, `share(settings, gpus)` where
    so many GPUs cannot train them at once. The kinds in `chained` may be a chain of components.
    """

    kinds: Mapping[str, Mapping[str, Schema]]
    general: Schema
    direction: Callable[[str, Sequence[str]], str]
    corrects: Callable[[str, str, Mapping[str, Value]], bool]
    resolve: Callable[[Mapping[str, Value]], object]
    build: Callable[[Mapping[str, Value], Sequence[str]], object]
    chained: frozenset[str] = frozenset()
    share: Callable[[Mapping[str, Value], int], object] = lambda settings, gpus: None


def of_lesion() -> Vocabulary:
    """The vocabulary of the installed `lesion`; imports torch, so only when a file is read."""
    from lesion.settings import GENERAL, REGISTRIES, corrects_imbalance, resolve  # noqa: PLC0415

    return Vocabulary(REGISTRIES, GENERAL, direction, corrects_imbalance, resolve, build_on_paper, CHAINED, share)


def share(settings: Mapping[str, Value], gpus: int) -> None:
    """Raise SettingError where batches are too small for so many GPUs."""
    from lesion.group import Group  # noqa: PLC0415
    from lesion.settings import resolve  # noqa: PLC0415

    Group(0, gpus).require_shares(resolve(settings).general["batch_size"])


def direction(objective: str, classes: Sequence[str] = ()) -> str:
    """Whether `objective` is to be maximised or minimised; SettingError lists the known ones.

    Without `classes`, a metric of one class is taken at its word: the study checks it against the data.

    >>> direction("log_loss"), direction("auc_melanoma")
    ('minimize', 'maximize')
    """
    from lesion.metrics import objectives  # noqa: PLC0415

    known = objectives(classes)
    _, _, label = objective.partition("_")
    guessed = known if classes or not label else objectives([label])
    if objective not in guessed:
        raise SettingError(unknown("metric", objective, known))
    return guessed[objective].direction
