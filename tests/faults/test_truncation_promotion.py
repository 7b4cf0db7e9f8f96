"""What a promotion leaves in the reports of its study, cut short: a report says which file, and shows the rest."""

import json
import shutil
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cuts import cuts
from fake_training import make_data
from writer import IDENTITY

from lesion.data.packed import PackedDataset
from lesion.rules import Rules
from search import evidence
from search.reporting.promoted import promotions
from search.workspace import Workspace


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with the evidence of two promotions."""
    place = Workspace(tmp_path_factory.mktemp("promoted"))
    data = PackedDataset.open(make_data(place.path))
    part = evidence.candidate(data, np.random.default_rng(0).dirichlet(np.ones(3), 7), Rules())
    status: Any = SimpleNamespace(identity=IDENTITY)
    row = SimpleNamespace(label="0", value=0.5, settings={"image_size": 32})
    best = SimpleNamespace(value=0.5, low=0.4, high=0.6)
    selection: Any = SimpleNamespace(best=best, standard_error=0.1, source="search", steps=(), rows=(row,))
    folder = place.reports / "tiny" / "promotion-0a"
    evidence.write(folder, part, part, status, selection)
    scores = {name: [each.value, each.low, each.high] for name, each in part.evaluation.intervals.items()}
    (folder / "metrics.json").write_text(json.dumps(scores, indent=2))
    shutil.copytree(folder, folder.with_name("promotion-0b"))
    return place


@pytest.mark.slow
@pytest.mark.parametrize("name", ["selection.json", "metrics.json", "test/per_image.csv", "test/digests.json"])
def test_the_report_of_a_promotion(place: Workspace, name: str) -> None:
    path = place.reports / "tiny" / "promotion-0a" / name
    for offset in cuts(path, 12):
        told: list[str] = []
        assert [each.key for each in promotions(place, "tiny", told.append)] == ["0b"], offset
        assert len(told) == 1, offset
        assert f"{path} is damaged" in told[0], offset
    assert [each.trials for each in promotions(place, "tiny", pytest.fail)] == [("0",), ("0",)]
