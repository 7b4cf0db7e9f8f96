"""A trial tried out on paper: what no signature tells, found without its data and without any training.

A backbone that cannot take images of a size, more trainable stages than there are, a class or a taxonomy that the task
does not have, a table of costs that is no file: each would fail every trial that draws it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING

import numpy as np

from lesion.errors import LesionError, SettingError
from lesion.registry import Value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lesion.settings import Plan

ISIC_2017 = ("melanoma", "seborrheic_keratosis", "nevus")
ISIC_2018 = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
"""Classes of the challenges, in the order of their packed sets."""
IMAGES = 64
"""Images of the rarest class on paper, enough for any number of neighbours that makes sense."""


def build_on_paper(settings: Mapping[str, Value], classes: Sequence[str] = ()) -> None:
    """Build what `settings` are made of where nothing is computed or loaded; SettingError when it cannot be built.

    Where the `classes` are not known yet, those of either ISIC challenge will do.
    """
    shapes, drawn = decisive(settings)
    problems = []
    for names in [tuple(classes)] if classes else [ISIC_2017, ISIC_2018]:
        model = _Sheet(_key(shapes), names, _of(settings, MODEL))
        sheet = _Sheet(_key(drawn), names, drawn)
        problems.append(_no_model(model) or _no_material(sheet))
        if not problems[-1]:
            return
    raise SettingError(problems[0])


MODEL, DRAWN = ("image_size", "backbone", "metadata", "head"), ("balancing", "loss")


def decisive(settings: Mapping[str, Value]) -> tuple[dict[str, Value], dict[str, Value]]:
    """What of `settings` decides whether a model comes of them, and what whether a balancing and a loss do."""
    # Floats, such as a dropout, change no shape; without them most branches of a space share one model.
    shapes = dict(filter(lambda each: not isinstance(each[1], float), _of(settings, MODEL).items()))
    # Words are agreed upon by head and loss; no other loss asks for the head.
    return shapes, _of(settings, (*DRAWN, "head") if settings.get("loss") == "path" else DRAWN)


def named_files(settings: Mapping[str, Value]) -> dict[str, tuple[int, int, int]]:
    """The files that `settings` name, with the `stamp` of each."""
    files = {Path(value).absolute(): stamp(Path(value)) for value in settings.values() if isinstance(value, str)}
    return {str(file): found for file, found in files.items() if found is not None}


def stamp(file: Path) -> tuple[int, int, int] | None:
    """What changes with the content of a file: size, and both times of change in nanoseconds; None without a file."""
    try:
        found = file.stat()
    except (OSError, ValueError):  # a text with a null byte is the name of no file
        return None
    # A copy may bring its time along; when it came is told by the other one.
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns) if S_ISREG(found.st_mode) else None


def _key(settings: Mapping[str, Value]) -> frozenset[tuple[str, object]]:
    return frozenset([*settings.items(), *named_files(settings).items()])


def _of(settings: Mapping[str, Value], kinds: Sequence[str]) -> dict[str, Value]:
    return {path: value for path, value in settings.items() if path.partition(".")[0] in kinds}


@dataclass(frozen=True)
class _Sheet:
    """Settings and classes; two with the same `key` and `classes` are built alike."""

    key: frozenset[tuple[str, object]]
    classes: tuple[str, ...]
    settings: Mapping[str, Value] = field(compare=False)


@lru_cache(maxsize=4096)
def _no_model(sheet: _Sheet) -> str:
    """Why no model comes of the settings; empty when one does."""
    from lesion.models import build_model  # noqa: PLC0415
    from lesion.models.paper import OnPaper  # noqa: PLC0415
    from lesion.settings import resolve  # noqa: PLC0415

    try:
        with OnPaper():
            build_model(resolve(sheet.settings), sheet.classes, pretrained=False)
    except (LesionError, RuntimeError, ValueError) as error:
        return str(error)
    return ""


@lru_cache(maxsize=4096)
def _no_material(sheet: _Sheet) -> str:
    """Why the loss or the balancing cannot be built for these classes; empty when both can."""
    from lesion.balancing import Draws, Part, balancings  # noqa: PLC0415
    from lesion.classes import ClassCounts  # noqa: PLC0415
    from lesion.losses import build_loss  # noqa: PLC0415
    from lesion.settings import resolve  # noqa: PLC0415

    plan: Plan = resolve(sheet.settings)
    # No two classes alike: a balancing may speak of the smallest or the largest.
    counts = IMAGES + np.arange(len(sheet.classes), dtype=np.int64)
    part = Part(
        np.repeat(np.arange(len(counts), dtype=np.int64), counts),
        sheet.classes,
        {"features": _Noise(), "pixels": _Noise()},
    )
    balancing, loss = plan.choices["balancing"], plan.choices["loss"]
    at = f"balancing {balancing.name}"
    try:
        everything = Draws.everything(len(part))
        balancings[balancing.name].build(part, everything, np.random.default_rng(0), **balancing.settings)
        at = f"loss {loss.name}"
        build_loss(plan, ClassCounts(sheet.classes, counts, counts))
    except LesionError as error:
        return f"{at}: {error}"
    return ""


class _Noise:
    """Vectors among which neighbours can be sought at no cost."""

    key, width = "noise", 2

    def read(self, row: NDArray[np.int64], copy: NDArray[np.int8]) -> NDArray[np.floating]:
        """Some vectors (M, 2), the same for the same copies of the same images."""
        return np.stack([np.sin(row * 12.9898 + copy), np.cos(row * 78.233 + copy)], axis=1)
