"""The logged model as MLflow loads it: photos in, probabilities and a decision out.

MLflow runs this file when it loads a model; the weights beside it are safetensors, so nothing is unpickled.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from lesion.metadata import UNKNOWN
from lesion.people import FACTS
from lesion.predictor import Predictor


class Served(PythonModel):
    """A column `image` with the bytes of a photo in each row → a row of what `PredictionTable.to_frame` says of it.

    Bytes travel in JSON as base64. Paths are not taken: a server would read its own files for strangers. A model that
    asks for people takes columns age (years), sex and site too; what is left out or null is not known.
    """

    def load_context(self, context: Any) -> None:
        """Read the model folder."""
        self._predictor = Predictor.load(context.artifacts["model"])

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Judge every photo; DataError names the first that cannot be read."""
        photos = [_bytes(photo) for photo in model_input["image"]]
        return self._predictor.judge(photos, _people(model_input)).to_frame().drop(columns="image")


def _people(asked: pd.DataFrame) -> pd.DataFrame:
    """Age, sex and site of each row, as `Predictor.judge` takes them."""
    known = asked.reindex(columns=list(FACTS))
    ages = pd.to_numeric(known["age"])
    return known.assign(age=ages, sex=known["sex"].fillna(UNKNOWN), site=known["site"].fillna(UNKNOWN))


def _bytes(photo: bytes | str) -> bytes:
    if isinstance(photo, bytes):
        return photo
    try:
        return base64.b64decode(photo, validate=True)
    except binascii.Error as problem:
        raise ValueError(f"an image must be the photo's bytes, in base64: {problem}") from problem


set_model(Served())
