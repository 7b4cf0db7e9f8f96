"""What MLflow keeps of a model beside its weights: code, needs, signature, an example of a request."""

from __future__ import annotations

import io
import re
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lesion

if TYPE_CHECKING:
    from lesion.predictor import Predictor

PEOPLE = {"age": "double", "sex": "string", "site": "string"}
"""Columns of a request to a model that asks for people, none of them required, with MLflow's types."""
SOMEBODY = {"age": 45.0, "sex": "female", "site": "back"}
NEEDS = tuple(re.findall(r"^[\w.-]+", (Path(lesion.__file__).parent / "requirements.txt").read_text(), re.MULTILINE))
"""What the model needs where it is served; the package `lesion` travels inside it."""


def logged(folder: Path) -> dict[str, Any]:
    """What MLflow keeps of a predictor's folder: arguments of ``mlflow.pyfunc.log_model`` and ``save_model``."""
    from lesion.predictor import Predictor  # noqa: PLC0415

    predictor = Predictor.load(folder)
    return {
        "python_model": str(Path(__file__).with_name("served_model.py")),
        "artifacts": {"model": str(folder)},
        "code_paths": [str(Path(lesion.__file__).parent)],
        "signature": _signature(predictor),
        "input_example": _example(predictor.asks_for_people),
        "pip_requirements": [f"{need}=={version(need).partition('+')[0]}" for need in ("mlflow", *NEEDS)],
    }


def _signature(predictor: Predictor) -> Any:
    from mlflow.models import ModelSignature  # noqa: PLC0415
    from mlflow.types import ColSpec, Schema  # noqa: PLC0415

    asked = PEOPLE if predictor.asks_for_people else {}
    people = [ColSpec(kind, name, required=False) for name, kind in asked.items()]
    kinds = {"decision": "string", "flagged": "boolean"}
    said = predictor.judge([]).to_frame().columns.drop("image")
    return ModelSignature(
        inputs=Schema([ColSpec("binary", "image"), *people]),
        outputs=Schema([ColSpec(kinds.get(name, "double"), name) for name in said]),
    )


def _example(people: bool) -> Any:
    """A photo as a request carries it; no lesion, only a patch of skin colour. With `people`, what is known of one."""
    import pandas as pd  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415

    photo = io.BytesIO()
    Image.new("RGB", (64, 64), (224, 172, 150)).save(photo, "JPEG")
    return pd.DataFrame([{"image": photo.getvalue(), **(SOMEBODY if people else {})}])
