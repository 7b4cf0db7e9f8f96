"""A model's folder predicts where nobody has Ray, Optuna or MLflow, and what it needs there is what MLflow is told."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_models import CLASSES, member

from lesion.predictor import Predictor
from lesion.rules import OperatingPoint, Rules

BLOCKED = "ray", "optuna", "mlflow", "sqlalchemy", "alembic"
PROGRAM = """
import sys
sys.modules.update(dict.fromkeys(sys.argv[1].split(","))) # None: an import of it fails
import json
import torch
from lesion.predictor import Predictor
torch.set_num_threads(int(sys.argv[4])) # the last digits of a convolution depend on it
predictor = Predictor.load(sys.argv[2])
judged = predictor.predict_files([sys.argv[3]]).to_frame()
names = sorted({name.partition(".")[0] for name, module in sys.modules.items() if module is not None})
print(json.dumps({"judged": judged.to_dict("list"), "modules": names}))
"""


@pytest.mark.slow
def test_identical_probabilities_and_nothing_else_is_needed(tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 60, 3), np.uint8)).save(photo)
    rules = Rules(1.3, (2.0, 1.0, 0.7), OperatingPoint(("melanoma",), 0.2, 0.9, 0.9, 0.6, 150, 30))
    members = (member(0), member(1, head="taxonomy_decoder", metadata="concatenate"))
    folder = Predictor(members, CLASSES, views=2, rules=rules).save(tmp_path / "model")
    here = Predictor.load(folder).predict_files([photo]).to_frame().to_dict("list")
    words = [sys.executable, "-c", PROGRAM, ",".join(BLOCKED), str(folder), str(photo), str(torch.get_num_threads())]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    there = json.loads(done.stdout)
    assert there["judged"] == here

    from search.logged_model import NEEDS

    # What was imported belongs to what a server of the model is told to install, or to what that itself brings.
    ours = {"torch", "torchvision", "numpy", "pandas", "PIL", "safetensors", "albumentations", "cv2", "sklearn"} | {
        "matplotlib", "pyarrow", "filelock", "ruamel", "psutil", "ray", "optuna", "mlflow", "rich", "onnx", "timm",
    }  # fmt: skip
    distributions = packages_distributions()
    used = {distributions[name][0].lower() for name in there["modules"] if name in ours and name in distributions}
    assert used <= {need.lower() for need in NEEDS}, "served where only NEEDS are installed, the model would not load"


@pytest.mark.slow
def test_the_command_judges_and_explains_without_them(tmp_path: Path) -> None:
    Image.new("RGB", (50, 60), (220, 170, 150)).save(tmp_path / "photo.jpg")
    Predictor((member(),), CLASSES).save(tmp_path / "model")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({BLOCKED!r})); "
        "from search.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    words = ["predict", "model", "photo.jpg", "--explain", "why", "--table", "all.csv", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    (judged,) = json.loads(done.stdout)["predictions"]
    assert judged["image"] == "photo.jpg"
    why = json.loads((tmp_path / "why" / "photo.json").read_text())
    assert why["probabilities"] == pytest.approx(judged["probabilities"])
    assert (tmp_path / "why" / "contact_sheet.png").exists()
    assert (tmp_path / "all.csv").read_text().startswith("image,decision,confidence,entropy,disagreement,p_melanoma")
