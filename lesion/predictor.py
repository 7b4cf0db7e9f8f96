"""A trained model with all it needs to judge a photo: load a folder, give it photos, get probabilities.

Photos go through the same decoding as the training images did, and come back as one row of probabilities each:

    predictor = Predictor.load("model/")
    predictor.predict(["photo.jpg"])          # (1, classes), rows sum to 1
    predictor.predict_files(paths).to_frame() # a table; broken files are listed, the others done

Several members are an ensemble: their probabilities are averaged, then brought to the temperature of `lesion.rules`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from lesion.data.decode import Geometry
from lesion.errors import DataError, SettingError, WeightsError
from lesion.judgements import PredictionTable
from lesion.metadata import encode
from lesion.model_folder import (
    CONFIG,
    Config,
    MemberConfig,
    ModelFolderError,
    load_weights,
    read_config,
    write_config,
    write_weights,
)
from lesion.models import Model, build_model
from lesion.photos import Decoded, Photo, Square, decoded
from lesion.prediction import predict_views
from lesion.registry import Value
from lesion.rules import Rules, reweighted
from lesion.settings import resolve
from lesion.taxonomy import Taxonomy
from lesion.uncertainty import disagreement

__all__ = ["Member", "PredictionTable", "Predictor", "save_predictor"]

Probabilities = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Member:
    """One trained network: its flat settings, and the square that its training photos were decoded to.

    `size` is in pixels a side and is the packed data set's; the network's own `image_size` is a setting.
    """

    settings: Mapping[str, Value]
    model: Model
    size: int
    geometry: Geometry


@dataclass(frozen=True, eq=False)
class Predictor:
    """Trained members with classes, test-time views and the rules by which their mean is read.

    `views`: flips and quarter turns averaged, 1, 2, 4 or 8. `data` names the data set; `provenance` is whatever JSON
    the maker wants to keep. `class_weights`: factors on the calibrated probabilities, which are then scaled to sum to 1
    again: the probabilities as they would be where classes are otherwise frequent. To change decisions alone there are
    the `decision_weights` of `rules`.
    """

    members: tuple[Member, ...]
    classes: tuple[str, ...]
    views: int = 1
    class_weights: tuple[float, ...] | None = None
    data: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    rules: Rules = field(default_factory=Rules)

    @classmethod
    def load(cls, folder: str | Path, device: str | torch.device = "cpu") -> Predictor:
        """Read a folder that `save` wrote; nothing in it is executed.

        Raises ModelFolderError listing every mistake of the configuration, and WeightsError.
        """
        folder = Path(folder)
        config = read_config(folder)
        models = [_load_model(folder, config, k) for k in range(len(config.members))]
        members = tuple(
            Member(c.settings, model.to(device), c.size, c.geometry)
            for c, model in zip(config.members, models, strict=True)
        )
        return cls(
            members, config.classes, config.views, config.class_weights, config.data, config.provenance, config.rules
        )

    def save(self, folder: str | Path) -> Path:
        """Write the folder, whole or not at all. It must not exist yet, or be empty."""
        folder = Path(folder)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ModelFolderError(f"{folder} exists; a model is not overwritten, choose another folder")
        beside = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        try:
            self._write(beside)
            beside.rename(folder)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        return folder

    def predict(self, images: Iterable[Photo], people: pd.DataFrame | None = None) -> Probabilities:
        """Probabilities (N, classes) of photos, each row summing to 1; otherwise as `judge`."""
        return self.judge(images, people).probabilities

    def judge(self, images: Iterable[Photo], people: pd.DataFrame | None = None) -> PredictionTable:
        """What the model says of photos.

        A photo is a file, the bytes of a file, or RGB pixels uint8 (H, W, 3) of any size. `people` has a row for each
        photo, with columns age (years, NaN unknown), sex and site; None if nothing is known, and for models that do not
        ask. Raises DataError naming the first that cannot be read; `predict_files` goes on without it.
        """
        return self._judged(images, people, lambda done: None, patient=False)

    def predict_files(
        self,
        paths: Sequence[str | Path],
        progress: Callable[[int, int], None] | None = None,
        *,
        people: pd.DataFrame | None = None,
    ) -> PredictionTable:
        """Predict files; those that cannot be read are listed in `broken` with the reason, the others done.

        `people` as for `predict`. `progress` is called now and then with the number of files that
        are done and that there are.
        """
        tell = progress or (lambda done, total: None)
        return self._judged(paths, people, lambda done: tell(done, len(paths)), patient=True)

    def _judged(
        self, photos: Iterable[Photo], people: pd.DataFrame | None, tell: Callable[[int], None], *, patient: bool
    ) -> PredictionTable:
        """Judge in portions; what cannot be read is listed if `patient`, or else raised."""
        sound: list[str] = []
        broken: dict[str, str] = {}
        rows, apart = [np.empty((0, len(self.classes)))], [np.empty(0)]
        done = 0
        for portion in decoded(photos, self.squares):
            broken |= {photo.name: photo.problem for photo in portion if photo.problem}
            if broken and not patient:
                raise DataError(" ".join(next(iter(broken.items()))))
            places = [done + k for k, photo in enumerate(portion) if not photo.problem]
            good = [photo for photo in portion if not photo.problem]
            if good:
                parts = self.parts(good, None if people is None else people.iloc[places])
                rows.append(self.reported(parts))
                apart.append(disagreement(parts))
            sound += [photo.name for photo in good]
            done += len(portion)
            tell(done)
        return PredictionTable(
            self.classes, tuple(sound), np.concatenate(rows), np.concatenate(apart), self.rules, broken, self.taxonomy
        )

    @property
    def squares(self) -> tuple[Square, ...]:
        """What photos are decoded to: one of these for each member."""
        return tuple(dict.fromkeys((member.size, member.geometry) for member in self.members))

    @property
    def asks_for_people(self) -> bool:
        """Whether a member makes use of age, sex and site."""
        return any(member.model.metadata is not None for member in self.members)

    @property
    def taxonomy(self) -> Taxonomy | None:
        """The taxonomy of the members that spell diagnoses; None where there are none, or they differ in it."""
        found = [member.model.head.taxonomy for member in self.members if member.model.spells]
        spelled = {tuple(sorted(each.spelled.items())): each for each in found if isinstance(each, Taxonomy)}
        return next(iter(spelled.values())) if len(spelled) == 1 else None

    def parts(self, photos: Sequence[Decoded], people: pd.DataFrame | None) -> Probabilities:
        """What every member says in every view: (members × views, N, classes)."""
        known = torch.from_numpy(encode(people)) if people is not None and self.asks_for_people else None
        each = [
            self._of_member(member, np.stack([photo.squares[square] for photo in photos]), known)
            for member in self.members
            for square in [self.squares.index((member.size, member.geometry))]
        ]
        parts = np.concatenate(each)
        if not np.isfinite(parts).all():
            raise WeightsError("the model gives probabilities that are no numbers: its weights hold NaN or infinity")
        return parts

    def reported(self, parts: Probabilities) -> Probabilities:
        """The mean of the parts at the model's temperature and under its class weights: (N, classes)."""
        mean = parts.mean(axis=0)
        return reweighted(self.rules.calibrated(mean / mean.sum(axis=1, keepdims=True)), self.class_weights)

    def _of_member(self, member: Member, images: npt.NDArray[np.uint8], people: torch.Tensor | None) -> Probabilities:
        general = resolve(member.settings).general
        return predict_views(
            member.model,
            images,
            people=people,
            image_size=general["image_size"],
            views=self.views,
            precision=general["precision"],
        )

    def _write(self, folder: Path) -> None:
        configs = []
        for k, member in enumerate(self.members):
            name = f"weights-{k}.safetensors"
            digest = write_weights(folder / name, member.model)
            configs.append(MemberConfig(name, digest, member.size, member.geometry, dict(member.settings)))
        write_config(
            folder,
            Config(
                self.classes, self.views, self.class_weights, self.data, self.provenance, tuple(configs), self.rules
            ),
        )


def save_predictor(
    folder: str | Path,
    members: Sequence[Member],
    classes: Sequence[str],
    *,
    views: int = 1,
    class_weights: Sequence[float] | None = None,
    data: str = "",
    provenance: Mapping[str, Any] | None = None,
    rules: Rules | None = None,
) -> Predictor:
    """Write trained members as a model folder and return their predictor; arguments as of Predictor."""
    weights = None if class_weights is None else tuple(map(float, class_weights))
    kept = dict(provenance or {})
    predictor = Predictor(tuple(members), tuple(classes), views, weights, data, kept, rules or Rules())
    predictor.save(folder)
    return predictor


def _load_model(folder: Path, config: Config, index: int) -> Model:
    member = config.members[index]
    try:
        model = build_model(resolve(member.settings), config.classes, pretrained=False)
    except SettingError as problem:
        raise ModelFolderError(f"{folder / CONFIG}: members[{index}].settings: {problem}") from problem
    load_weights(folder / member.weights, model, sha256=member.sha256)
    return model.eval().to(memory_format=torch.channels_last)
