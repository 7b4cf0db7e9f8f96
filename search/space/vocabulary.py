"""What a space file may speak of: components, general settings and metrics, as `lesion` registers them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from lesion.errors import LesionError, SettingError, unknown
from lesion.registry import Component, Registry, Value

CHAINED = frozenset({"balancing"})
"""Kinds whose components can follow one another."""
ISIC_2017 = ("melanoma", "seborrheic_keratosis", "nevus")
ISIC_2018 = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
"""Classes of the challenges, in the order of their packed sets."""


@dataclass(frozen=True)
class Vocabulary:
    """Registries by kind, the general settings, and what `lesion` knows about them.

    `direction(objective, classes)` is "maximize" or "minimize"; `corrects(kind, name, settings)` whether a
    component corrects class imbalance; `resolve(settings)` raises SettingError for settings that are
    not valid together, `build(settings, classes)` where no model comes of them. The kinds in `chained` may be a
    chain of components.
    """

    kinds: Mapping[str, Registry]
    general: Component
    direction: Callable[[str, Sequence[str]], str]
    corrects: Callable[[str, str, Mapping[str, Value]], bool]
    resolve: Callable[[Mapping[str, Value]], object]
    build: Callable[[Mapping[str, Value], Sequence[str]], object]
    chained: frozenset[str] = frozenset()


def of_lesion() -> Vocabulary:
    """The vocabulary of the installed `lesion`; imports torch, so only when a file is read."""
    from lesion.settings import GENERAL, REGISTRIES, corrects_imbalance, resolve  # noqa: PLC0415

    return Vocabulary(REGISTRIES, GENERAL, direction, corrects_imbalance, resolve, build_on_paper, CHAINED)


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


def build_on_paper(settings: Mapping[str, Value], classes: Sequence[str] = ()) -> None:
    """Build the model of `settings` where nothing is computed or loaded; SettingError when it cannot be built.

    It finds what no signature tells: a backbone that cannot take images of this size, more trainable stages than
    there are. Where the `classes` are not known yet, those of either ISIC challenge will do.
    """
    kept = ("image_size", "backbone", "metadata", "head")
    # Floats, such as a dropout, change no shape; without them most branches of a space share one model.
    model = {path: value for path, value in settings.items() if path.split(".")[0] in kept}
    key = frozenset((path, value) for path, value in model.items() if not isinstance(value, float))
    problems = []
    for names in [tuple(classes)] if classes else [ISIC_2017, ISIC_2018]:
        problems.append(_cannot_build(_Model(key, names, model)))
        if not problems[-1]:
            return
    raise SettingError(problems[0])


@dataclass(frozen=True)
class _Model:
    """The settings that make a model; two with the same `key` and `classes` are built alike."""

    key: frozenset[tuple[str, Value]]
    classes: tuple[str, ...]
    settings: Mapping[str, Value] = field(compare=False)


@lru_cache(maxsize=4096)
def _cannot_build(model: _Model) -> str:
    """Why no model comes of the settings; empty when one does."""
    from lesion.models import build_model  # noqa: PLC0415
    from lesion.models.paper import OnPaper  # noqa: PLC0415
    from lesion.settings import resolve  # noqa: PLC0415

    try:
        with OnPaper():
            build_model(resolve(model.settings), model.classes, pretrained=False)
    except (LesionError, RuntimeError, ValueError) as error:
        return str(error)
    return ""
