"""What promotion kept of a study's test part: read from its evidence, never computed again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from search.digests import read_json, require_sound
from search.workspace import Workspace

PER_IMAGE, SELECTION = "test/per_image.csv", "selection.json"


@dataclass(frozen=True, eq=False)
class Promoted:
    """What a promotion of `trials` found on the test part: probabilities (N, classes) and labels (N,) of `images`.

    `decisive` (N, classes) is largest where the model decided, by its own rules.
    """

    folder: Path
    classes: tuple[str, ...]
    images: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]
    decisive: npt.NDArray[np.float64]
    intervals: dict[str, list[float | None]]
    trials: tuple[str, ...]

    @property
    def key(self) -> str:
        """What tells this promotion from the study's others."""
        return self.folder.name.removeprefix("promotion-")


def promotions(place: Workspace, study: str, tell: Callable[[str], object] = lambda text: None) -> list[Promoted]:
    """The promotions of a study, oldest first; `tell` is told of evidence that cannot be read."""
    tables = sorted((place.reports / study).glob(f"promotion-*/{PER_IMAGE}"), key=lambda path: path.stat().st_mtime)
    found = []
    for folder in (path.parent.parent for path in tables):
        try:
            found.append(read_promotion(folder))
        except (OSError, ValueError, KeyError) as problem:
            tell(f"the evidence of {folder.name} cannot be read: {problem}")
    return found


def read_promotion(folder: Path) -> Promoted:
    """One promotion's evidence; OSError, ValueError or KeyError where it is damaged."""
    require_sound((folder / PER_IMAGE).parent)
    told = read_per_image(folder / PER_IMAGE)
    chosen = read_json(folder / SELECTION)
    intervals = read_json(folder / "metrics.json")
    trials = tuple(chosen.get("trials", {}))
    return Promoted(
        folder, told.classes, told.images, told.labels, told.probabilities, told.decisive, intervals, trials
    )


@dataclass(frozen=True, eq=False)
class PerImage:
    """What a table tells of images: labels (N,), probabilities (N, classes), and `decisive`, as of `Promoted`."""

    images: tuple[str, ...]
    classes: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]
    decisive: npt.NDArray[np.float64]


def read_per_image(path: Path) -> PerImage:
    """A table as `Evaluation.per_image` makes it; without a column of decisions the largest probability decides."""
    table = pd.read_csv(path, dtype={"image": str, "truth": str}, keep_default_na=False)
    columns = [name for name in table.columns if name.startswith("p_")]
    missing = {"image", "truth"} - set(table.columns)
    if missing or not columns:
        raise ValueError(f"{path}: needs columns image, truth and p_<class>; has {', '.join(table.columns)}")
    classes = tuple(name.removeprefix("p_") for name in columns)
    strange = sorted(set(table["truth"]) - set(classes))
    if strange:
        raise ValueError(f"{path}: truth {strange[0]!r} has no column p_{strange[0]}")
    labels = np.array([classes.index(name) for name in table["truth"]], np.int64)
    probabilities = table[columns].to_numpy(np.float64)
    decisive = probabilities
    if "decision" in table.columns:
        decisive = (table["decision"].to_numpy()[:, None] == np.array(classes, dtype=object)).astype(np.float64)
    return PerImage(tuple(table["image"]), classes, labels, probabilities, decisive)
