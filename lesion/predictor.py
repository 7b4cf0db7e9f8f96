"""A trained model with all it needs to judge a photo: load a folder, give it photos, get probabilities.

Photos go through the same decoding as the training images did, and come back as one row of probabilities each:

    predictor = Predictor.load("model/")
    predictor.predict(["photo.jpg"])          # (1, classes), rows sum to 1
    predictor.predict_files(paths).to_frame() # a table; broken files are listed, the others done

Several members are an ensemble: their probabilities are averaged.
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
from lesion.metadata import encode
from lesion.metrics import decisions
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
from lesion.prediction import predict_probabilities
from lesion.registry import Value
from lesion.settings import resolve
from lesion.submission import write_submission

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
class PredictionTable:
    """Probabilities (files, classes) of the files that could be read, and why the others could not."""

    classes: tuple[str, ...]
    files: tuple[str, ...]
    probabilities: npt.NDArray[np.float64]
    broken: Mapping[str, str] = field(default_factory=dict)

    def to_frame(self) -> pd.DataFrame:
        """One row a file: image, decision, confidence, and a probability column p_<class> each."""
        columns = {f"p_{name}": self.probabilities[:, k] for k, name in enumerate(self.classes)}
        confidence = self.probabilities.max(axis=1)
        decision = decisions(self.probabilities, self.classes)
        return pd.DataFrame({"image": self.files, "decision": decision, "confidence": confidence, **columns})

    def official_csv(self, path: Path) -> Path:
        """Write the layout of an ISIC submission; DataError when two files have the same name."""
        return write_submission(path, self.files, self.probabilities, self.classes)


@dataclass(frozen=True, eq=False)
class Predictor:
    """Trained members with classes, test-time views and decision adjustment.

    `views`: flips and quarter turns averaged, 1, 2, 4 or 8. `class_weights`: factors on the probabilities, which
    are then scaled to sum to 1 again; None leaves them. `data` names the data set; `provenance` is whatever
    JSON the maker wants to keep.
    """

    members: tuple[Member, ...]
    classes: tuple[str, ...]
    views: int = 1
    class_weights: tuple[float, ...] | None = None
    data: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)

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
        return cls(members, config.classes, config.views, config.class_weights, config.data, config.provenance)

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
        """Probabilities (N, classes) of photos, each row summing to 1.

        A photo is a file, the bytes of a file, or RGB pixels uint8 (H, W, 3) of any size. `people` has a row for each
        photo, with columns age (years, NaN unknown), sex and site; None if nothing is known, and for models that do not
        ask. Raises DataError naming the first that cannot be read; `predict_files` goes on without it.
        """
        rows: list[Probabilities] = []
        done = 0
        for portion in decoded(images, self._squares):
            broken = next((photo for photo in portion if photo.problem), None)
            if broken is not None:
                raise DataError(f"{broken.name} {broken.problem}")
            shown = None if people is None else people.iloc[done : done + len(portion)]
            rows.append(self._probabilities(portion, shown))
            done += len(portion)
        return np.concatenate([np.empty((0, len(self.classes))), *rows])

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
        sound: list[str] = []
        broken: dict[str, str] = {}
        rows = []
        done = 0
        for portion in decoded(paths, self._squares):
            broken |= {photo.name: photo.problem for photo in portion if photo.problem}
            places = [done + k for k, photo in enumerate(portion) if not photo.problem]
            good = [photo for photo in portion if not photo.problem]
            if good:
                rows.append(self._probabilities(good, None if people is None else people.iloc[places]))
            sound += [photo.name for photo in good]
            done += len(portion)
            if progress is not None:
                progress(done, len(paths))
        probabilities = np.concatenate([np.empty((0, len(self.classes))), *rows])
        return PredictionTable(self.classes, tuple(sound), probabilities, broken)

    @property
    def _squares(self) -> tuple[Square, ...]:
        return tuple(dict.fromkeys((member.size, member.geometry) for member in self.members))

    @property
    def asks_for_people(self) -> bool:
        """Whether a member makes use of age, sex and site."""
        return any(member.model.metadata is not None for member in self.members)

    def _probabilities(self, photos: Sequence[Decoded], people: pd.DataFrame | None) -> Probabilities:
        known = torch.from_numpy(encode(people)) if people is not None and self.asks_for_people else None
        total = np.zeros((len(photos), len(self.classes)))
        for member in self.members:
            square = self._squares.index((member.size, member.geometry))
            total += self._of_member(member, np.stack([photo.squares[square] for photo in photos]), known)
        if not np.isfinite(total).all():
            raise WeightsError("the model gives probabilities that are no numbers: its weights hold NaN or infinity")
        if self.class_weights is not None:
            total *= self.class_weights
        return np.asarray(total / total.sum(axis=1, keepdims=True), np.float64)

    def _of_member(self, member: Member, images: npt.NDArray[np.uint8], people: torch.Tensor | None) -> Probabilities:
        general = resolve(member.settings).general
        return predict_probabilities(
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
            Config(self.classes, self.views, self.class_weights, self.data, self.provenance, tuple(configs)),
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
) -> Predictor:
    """Write trained members as a model folder and return their predictor; arguments as of Predictor."""
    weights = None if class_weights is None else tuple(map(float, class_weights))
    predictor = Predictor(tuple(members), tuple(classes), views, weights, data, dict(provenance or {}))
    predictor.save(folder)
    return predictor


def _load_model(folder: Path, config: Config, index: int) -> Model:
    member = config.members[index]
    try:
        model = build_model(resolve(member.settings), len(config.classes), pretrained=False)
    except SettingError as problem:
        raise ModelFolderError(f"{folder / CONFIG}: members[{index}].settings: {problem}") from problem
    load_weights(folder / member.weights, model, sha256=member.sha256)
    return model.eval().to(memory_format=torch.channels_last)
