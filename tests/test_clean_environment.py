"""A model's folder predicts where nobody has Ray, Optuna or MLflow: where only lesion/requirements.txt is installed."""

from __future__ import annotations

import json
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pytest
from only_lesion import ROOT, brought, environment, judged_there, listed, name_of, run
from packaging.requirements import Requirement
from PIL import Image
from small_models import CLASSES, member

from lesion.predictor import Predictor
from lesion.rules import OperatingPoint, Rules
from search.workspace import open_workspace

ABSENT = "ray", "optuna", "mlflow", "sqlalchemy", "alembic", "plotly"


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables of a process in which nothing but what the list brings can be imported."""
    return environment(tmp_path_factory.mktemp("only") / "site")


def test_the_list_is_of_the_package_s_own_requirements_and_of_nothing_that_only_searches_need() -> None:
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert set(listed()) <= set(map(Requirement, whole))
    assert not {name_of(name) for name in ABSENT} & brought()


@pytest.mark.slow
def test_nothing_else_can_be_imported_there(there: dict[str, str], tmp_path: Path) -> None:
    for name in ABSENT:
        done = run(["-c", f"import {name}"], there, tmp_path)
        assert f"No module named '{name}'" in done.stderr


@pytest.mark.slow
def test_identical_probabilities_and_nothing_else_is_needed(there: dict[str, str], tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 60, 3), np.uint8)).save(photo)
    rules = Rules(1.3, (2.0, 1.0, 0.7), OperatingPoint(("melanoma",), 0.2, 0.9, 0.9, 0.6, 150, 30))
    members = (member(0), member(1, head="taxonomy_decoder", metadata="concatenate"))
    folder = Predictor(members, CLASSES, views=2, rules=rules).save(tmp_path / "model")
    here = Predictor.load(folder).predict_files([photo]).to_frame().to_dict("list")
    told = json.loads(judged_there(folder, [photo], there, tmp_path))
    assert told["judged"] == here

    from search.logged_model import NEEDS

    # Who serves the model with MLflow is told to install the same. What is not used here draws and prints for commands.
    assert [name_of(each) for each in NEEDS] == [name_of(each.name) for each in listed()]
    distributions = packages_distributions()
    used = {name_of(each) for name in told["modules"] for each in distributions.get(name, ())}
    assert {name_of(each.name) for each in listed()} - used <= {"matplotlib", "rich"}


@pytest.mark.slow
def test_the_command_judges_and_explains_there(there: dict[str, str], tmp_path: Path) -> None:
    Image.new("RGB", (50, 60), (220, 170, 150)).save(tmp_path / "photo.jpg")
    Predictor((member(),), CLASSES).save(tmp_path / "model")
    words = ["predict", "model", "photo.jpg", "--explain", "why", "--table", "all.csv", "--json"]
    done = run(["-c", "import sys; from search.cli import main; sys.exit(main(sys.argv[1:]))", *words], there, tmp_path)
    assert done.returncode == 0, done.stderr
    (judged,) = json.loads(done.stdout)["predictions"]
    assert judged["image"] == "photo.jpg"
    why = json.loads((tmp_path / "why" / "photo.json").read_text())
    assert why["probabilities"] == pytest.approx(judged["probabilities"])
    assert (tmp_path / "why" / "contact_sheet.png").exists()
    assert (tmp_path / "all.csv").read_text().startswith("image,decision,confidence,entropy,disagreement,p_melanoma")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "package"),
    [
        (["predict", "models:/one@champion", "photo.jpg"], "mlflow"),
        (["explain", "models:/one@champion", "photo.jpg", "--out", "why"], "mlflow"),
        (["export", "models:/one@champion", "--folder", "model"], "mlflow"),
        (["promote", "one"], "optuna"),
    ],
)
def test_what_needs_more_than_is_there_says_so(
    words: list[str], package: str, there: dict[str, str], tmp_path: Path
) -> None:
    Image.new("RGB", (50, 60)).save(tmp_path / "photo.jpg")
    open_workspace(tmp_path / "workspace")
    done = run(["-c", "import sys; from search.cli import main; sys.exit(main(sys.argv[1:]))", *words], there, tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert f"{package} is not installed here: it is needed for " in done.stderr
    assert "'pip install lesion-search'" in done.stderr
    assert ("a model's folder, as 'lesion-search export --folder' writes one" in done.stderr) == (words[0] != "promote")
