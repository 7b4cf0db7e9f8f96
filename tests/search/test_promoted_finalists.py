"""Promotion of finalists end to end, on a drawn data set and runs of one epoch: fresh seeds, then folds."""

from dataclasses import replace

import numpy as np
import pytest
from drawn_study import NO_GATES, run_again, searched, workspace_with_data

from lesion.data.packed import PackedDataset, open_data, open_test
from lesion.metrics import summary
from lesion.predictor import Predictor
from search import run_finalists
from search.cluster import joined
from search.errors import PromotionError
from search.finalists import all_standings
from search.members import Members
from search.predictions import load_predictions
from search.promotion import model_folder, promote
from search.selection import Selection, select
from search.study import study_status
from search.workspace import Workspace

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return workspace_with_data(tmp_path_factory.mktemp("finalists"))


@pytest.fixture(scope="module")
def data(place: Workspace) -> PackedDataset:
    return open_data(place.path, "drawn")


def chosen(place: Workspace, data: PackedDataset, name: str, limit: int = 5, **more: object) -> Selection:
    return select(place, study_status(place, name), data, limit, **more)  # type: ignore[arg-type]


def scored(place: Workspace, data: PackedDataset, name: str, selection: Selection, count: int) -> float:
    """Balanced accuracy of the mean of the first `count` members, worked out from what is stored."""
    files = [place.trial(row.series or name, row.number) / "predictions.npz" for row in selection.rows[:count]]
    mean = np.mean([load_predictions(file)[0] for file in files], axis=0)
    return summary(mean, data.labels[data.split().validation], data.classes)["balanced_accuracy"]


def test_finalists_on_fresh_seeds_become_the_model(place: Workspace, data: PackedDataset) -> None:
    searched(place, data, "seeded", states=("complete",) * 2)
    before = promote("seeded", place, views=1, gates=NO_GATES)
    assert [row.series for row in before.members] == [None] * len(before.members)
    series = run_again(place, data, "seeded", seeds=2)

    selection = chosen(place, data, "seeded")
    assert selection.source == "seeds"
    assert {row.series for row in selection.rows} == {series.name}
    assert selection.rows[0].value == max(row.value or 0 for row in series.rows)
    steps = [scored(place, data, "seeded", selection, n + 1) for n in range(len(selection.rows))]
    assert list(selection.steps) == pytest.approx(steps)
    # What joined after the highest score cannot be told from it.
    assert max(steps) - steps[-1] <= 2 * selection.standard_error

    promoted = promote("seeded", place, views=1, gates=NO_GATES)
    assert [row.label for row in promoted.members] == [row.label for row in selection.rows]
    assert promoted.version != before.version
    predictor = Predictor.load(model_folder(promoted.uri, place))
    test = open_test(place.path, "drawn")
    assert promoted.test is not None
    np.testing.assert_allclose(predictor.predict(test.images), promoted.test.probabilities, atol=1e-12)
    assert [each["number"] for each in predictor.provenance["trials"]] == [row.label for row in promoted.members]
    assert promote("seeded", place, views=1, gates=NO_GATES).repeated

    # The search's own trials are still to be had, and are still recognised.
    back = promote("seeded", place, views=1, source="search", gates=NO_GATES)
    assert (back.repeated, back.version) == (True, before.version)
    with pytest.raises(PromotionError, match="seeded has no complete finalists on folds"):
        promote("seeded", place, source="folds", gates=NO_GATES)


def test_a_lost_finalist_is_passed_over(place: Workspace, data: PackedDataset) -> None:
    searched(place, data, "losing", states=("complete",) * 2)
    series = run_again(place, data, "losing", seeds=1)
    first, *_ = chosen(place, data, "losing", 1).rows
    for file in place.trial(series.name, first.number).glob("*.ckpt"):
        file.unlink()
    members = Members(place, study_status(place, "losing"), data)
    said: list[str] = []
    second, *_ = chosen(place, data, "losing", 1, why_not=members.why_not, say=said.append).rows
    assert {first.number, second.number} == {0, 1}
    assert said[0].startswith(
        f"trial {first.label} is passed over: the checkpoint of trial {first.label} after epoch 1"
    )
    (place.trial(series.name, second.number) / "predictions.npz").unlink()
    with pytest.raises(PromotionError, match=r"no finalist of losing can be promoted:\n  trial .*cannot be read"):
        chosen(place, data, "losing", 1, why_not=members.why_not)


def test_folds_are_promoted_together_and_judged_on_what_they_had_not_seen(
    place: Workspace, data: PackedDataset
) -> None:
    searched(place, data, "folded", states=("complete",) * 2)
    folds = len([name for name in data.splits if name.startswith("fold-")])
    run_again(place, data, "folded", seeds=1)
    series = run_again(place, data, "folded", folds=folds)
    selection = chosen(place, data, "folded", folds)
    assert selection.source == "folds"
    assert [row.split for row in selection.rows] == [f"fold-{n}" for n in range(folds)]
    assert len({row.finalist_of for row in selection.rows}) == 1
    assert selection.judged is not None
    images, probabilities = selection.judged
    assert sorted(images.tolist()) == list(range(len(data)))  # every image, by the one member that had not seen it
    own = {row.split: row for row in selection.rows}
    for name, row in own.items():
        rows = data.split(name).validation
        stored = load_predictions(place.trial(series.name, row.number) / "predictions.npz")[0]
        np.testing.assert_array_equal(probabilities[np.isin(images, rows)], stored)
    promoted = promote("folded", place, ensemble=folds, views=1, gates=NO_GATES)
    assert len(promoted.members) == folds
    # Asked anew in one view they say what they said in training.
    predictor = Predictor.load(model_folder(promoted.uri, place))
    np.testing.assert_allclose(promoted.validation.probabilities, predictor.rules.calibrated(probabilities), atol=1e-5)
    turned = promote("folded", place, ensemble=folds, views=2, gates=NO_GATES)
    assert np.abs(turned.validation.probabilities - promoted.validation.probabilities).max() > 1e-5
    for each, views in ((promoted, "1 view"), (turned, "2 views")):
        (note,) = each.notes
        assert f"each judged by 1 of the {folds} networks in {views}: by those that had not trained on it" in note
    assert promote("folded", place, ensemble=folds, views=1, gates=NO_GATES).notes == promoted.notes
    assert promoted.validation is not None
    assert len(promoted.validation.images) == len(data)
    if folds > 1:
        with pytest.raises(PromotionError, match=f"an ensemble of 1 cannot hold the {folds} folds of a setting"):
            chosen(place, data, "folded", 1)

    status = study_status(place, "folded")
    (_, seeded), (folded, on_folds) = all_standings(place, status)
    assert folded.name == "folded.finalists-folds"
    assert all(each.interval is None for each in seeded), "how much runs differ is not known of one each"
    assert all(each.interval and each.interval.low <= each.mean + 0.3 for each in on_folds)
    gone = replace(status, identity=replace(status.identity, data="gone", location=""))
    assert all(each.interval is None for _, found in all_standings(place, gone) for each in found)


def test_the_whole_way_with_ray(place: Workspace, data: PackedDataset) -> None:
    searched(place, data, "real", states=("complete",) * 2)
    with joined(None):
        result = run_finalists("real", place, top=2, seeds=1)
    assert result.complete
    assert [row.state for row in result.rows] == ["complete"] * 2
    assert all(each.drop is not None for each in result.standings)
    promoted = promote("real", place, views=1, gates=NO_GATES)
    assert {row.series for row in promoted.members} == {"real.finalists"}
    assert promoted.notes == ()
