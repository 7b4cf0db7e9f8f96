"""The demo, smaller: every step of ``make demo`` on a few drawn lesions, a process each."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SPACE = """\
data: drawn
objective: balanced_accuracy
budget: {trials: 3, epochs: 1}
seed: 0
space:
  image_size: 32
  batch_size: 16
  backbone: squeezenet1_1
  loss: {choice: [cross_entropy, focal]}
  augmentation: none
"""
PROGRAM = "import sys; {before}from search.cli import main; sys.exit(main(sys.argv[1:]))"


def lesion(folder: Path, *words: str, code: int = 0, before: str = "") -> str:
    environment = os.environ | {"LESION_WORKSPACE": str(folder / "demo"), "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(before=before), *words],
        capture_output=True, text=True, cwd=folder, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_from_drawn_images_to_a_prediction(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(SPACE)
    lesion(tmp_path, "data", "synthesise", "drawn", "--images", "48", "12", "12", "--pixels", "48", "36", "--unpacked")
    assert json.loads(lesion(tmp_path, "data", "check", "drawn", "--json", "--workers", "1"))["ok"]
    prepared = lesion(tmp_path, "data", "prepare", "drawn", "--size", "32", "--workers", "1", "--name", "drawn")
    assert re.search(r"all +48 +12 +12 +72", prepared)
    assert "no mistakes" in lesion(tmp_path, "check", "space.yaml")
    ran = lesion(tmp_path, "run", "space.yaml", "--concurrent", "1", "--name", "demo", "--data", "drawn")
    assert "demo: all 3 trials have ended" in ran
    assert len(json.loads(lesion(tmp_path, "status", "demo", "--json"))["trials"]) == 3
    (tmp_path / "gates.yaml").write_text("calibration: temperature\n")  # models of one epoch guess
    words = ("promote", "demo", "--ensemble", "1", "--views", "1", "--gates", "gates.yaml", "--json")
    promoted = json.loads(lesion(tmp_path, *words))
    assert promoted["uri"] == "models:/demo@champion"
    assert promoted["test_images"] == 12
    # Where photos are judged, nobody has Ray.
    (photo,) = list((tmp_path / "drawn").glob("*Test*/*.jpg"))[:1]
    words = ("predict", promoted["uri"], str(photo), "--output", "out.csv")
    shown = lesion(tmp_path, *words, before="sys.modules['ray'] = None; ")
    assert "decision" in shown
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[0] == "image,melanoma,seborrheic_keratosis"
    assert len(lines) == 2
    (tmp_path / "empty.jpg").write_bytes(b"")
    lesion(tmp_path, "predict", promoted["uri"], str(photo), "empty.jpg", code=1)


def test_the_makefile_s_demo_uses_commands_that_exist() -> None:
    from search.cli import build_parser

    recipe = (ROOT / "Makefile").read_text().split("\ndemo: install\n")[1].split("\n\n")[0]
    steps = re.findall(r"\$\(LESION\) ([^;\n]+)", recipe)
    assert [step.split()[0] for step in steps] == [
        "data", "data", "data", "check", "run", "status", "promote", "predict",
    ]  # fmt: skip
    for step in steps:
        assert build_parser().parse_args(step.replace("$(TRIALS)", "8").replace("$(", "").replace(")", "").split()).run


def test_constraints_are_names_and_versions_alone() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line) for line in lines)
    assert not [line for line in lines if line.startswith(("nvidia", "cuda", "triton"))], "they follow from torch"
    assert {"torch", "ray", "optuna", "mlflow"} <= {line.partition("==")[0] for line in lines}
