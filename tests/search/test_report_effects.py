"""What components are worth: planted effects are found, absent ones are not, and what is missing is said."""

import json
import shutil

import numpy as np
import pytest
from reported_study import reported

from search import cli, component_effects
from search.reporting.additive import posterior
from search.reporting.design import Factor, Number, factors, numbers, taken
from search.reporting.effects import _effect
from search.reporting.tables import effects_markdown
from search.workspace import Workspace


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return reported(tmp_path_factory.mktemp("effects"))


def test_posterior_is_least_squares_where_much_is_known():
    rng = np.random.default_rng(0)
    options, number = np.eye(3)[rng.integers(0, 3, 400)], rng.uniform(-1, 1, (400, 1))
    values = options @ [0.1, 0.2, 0.4] + 0.3 * number[:, 0] + rng.normal(scale=0.05, size=400)
    fit = posterior(values, [options, number], draws=400, burn_in=100, seed=1)
    exact, *_ = np.linalg.lstsq(np.hstack([options, number]), values, rcond=None)
    first, second = fit.batches
    np.testing.assert_allclose(first.mean(axis=0) - first.mean(), exact[:3] - exact[:3].mean(), atol=0.004)
    assert second.mean() == pytest.approx(exact[3], abs=0.004)
    # The standard error of a slope is 0.05 / √(400 · var x), of normal noise; t weights cost a little of it.
    assert second.std() == pytest.approx(0.05 / np.sqrt(400 / 3), rel=0.3)


def test_known_noise_widens_what_it_touches():
    rng = np.random.default_rng(0)
    options = np.repeat(np.eye(2), 30, axis=0)
    values = options @ [0.0, 1.0] + rng.normal(scale=0.1, size=60)
    shared = options[:, 1:] * 0.5  # the second option's trials move together with the validation images
    alone = posterior(values, [options], draws=400, burn_in=100, seed=1).batches[0]
    noisy = posterior(values, [options], shared, draws=400, burn_in=100, seed=1).batches[0]
    assert np.diff(alone, axis=1).std() < 0.06
    assert np.diff(noisy, axis=1).std() == pytest.approx(0.5, rel=0.3)


def test_values_that_do_not_differ_tell_nothing():
    fit = posterior(np.full(20, 0.9), [np.eye(2)[np.arange(20) % 2]], draws=10, seed=0)
    assert not fit.batches[0].any()


def test_a_number_is_a_curve_where_it_exists():
    number = Number("optimizer.adamw.lr", 1e-4, 1e-2, log=True)
    columns = number.columns([{"optimizer.adamw.lr": lr} for lr in (1e-4, 1e-3, 1e-2)] + [{}])
    np.testing.assert_allclose(columns[:, 0], [-1, 0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(columns[:, 1], [1 / 3, -2 / 3, 1 / 3, 0], atol=1e-12)


def test_options_are_not_mixed_up_with_numbers():
    factor = Factor("channel_attention", (True, 1))
    assert factor.columns([{"channel_attention": 1}, {"channel_attention": True}, {}]).tolist() == [
        [0, 1], [1, 0], [0, 0],
    ]  # fmt: skip


def test_what_a_training_passes_over_is_not_compared():
    proposed = {"balancing": "smote", "balancing.smote.on": "features", "augmentation": "colour", "loss": "focal",
                "backbone": "mobilenet_v2", "backbone.mobilenet_v2.trainable_stages": 3}  # fmt: skip
    assert taken(proposed).keys() == {"balancing", "balancing.smote.on", "loss", "backbone"}
    assert Factor("augmentation", ("dihedral", "colour")).columns([taken(proposed)]).tolist() == [[0, 0]]
    on_pixels = {**proposed, "balancing.smote.on": "pixels"}
    assert taken(on_pixels) == on_pixels
    of_another = {**proposed, "loss": "theirs"}
    assert taken(of_another) == of_another


def test_what_is_searched_is_compared():
    semantics = {
        "general": {"image_size": {"choice": [32, 64]}, "batch_size": 8},
        "components": {"loss": {"focal": {"gamma": {"float": [0.5, 3.0]}}, "path": {}}, "head": {"linear": {}}},
    }
    assert [each.name for each in factors(semantics)] == ["loss", "image_size"]
    assert [each.name for each in numbers(semantics)] == ["loss.focal.gamma"]


@pytest.mark.slow
def test_planted_effects_are_found_and_the_others_are_not(place):
    found = component_effects("photos", place)
    first = found.stages[0]
    assert (first.epoch, first.trials) == (1, 25)
    verdicts = {(each.component, each.option): each.verdict for each in first.effects}
    assert verdicts["loss", "focal"] == "better"
    assert verdicts["balancing", "downsample"] == "worse"
    assert verdicts["head", "dense"] == verdicts["image_size", 32] == "not distinguishable"
    assert {(each.component, each.option): each.failed for each in first.effects}["balancing", "none"] <= 2
    for each in first.effects:
        assert each.low <= each.effect <= each.high
    assert [stage.name for stage in found.stages][-1] == "complete"
    assert found == component_effects("photos", place), "the same seed tells the same"


@pytest.mark.slow
def test_that_the_noise_is_of_the_last_epoch_is_said(place):
    found = component_effects("photos", place, seed=0)
    assert found.stages[0].epoch is not None
    assert any("the noise of validation is that of each trial's last epoch" in note for note in found.notes)


@pytest.mark.slow
def test_too_few_trials_are_not_compared(tmp_path):
    found = component_effects("photos", reported(tmp_path, trials=4))
    assert all(each.effect is None for stage in found.stages for each in stage.effects)
    assert "4 trials are too few to compare options, 8 are needed" in found.notes[0]
    assert "Note: after epoch 1: 4 trials" in effects_markdown(found)


@pytest.mark.slow
def test_missing_data_and_predictions_are_said(place, tmp_path):
    copy = Workspace(tmp_path / "workspace")
    shutil.copytree(place.path, copy.path)
    (copy.trial("photos", 0) / "predictions.npz").unlink()
    found = component_effects("photos", copy)
    assert found.notes[0] == "no validation predictions of trial 0: taken as without noise"
    (copy.data / "photos" / "manifest.json").rename(tmp_path / "manifest.json")
    (place.data / "photos").rename(place.data / "elsewhere")
    try:
        assert "intervals lack the noise of validation: " in component_effects("photos", copy).notes[0]
    finally:
        (place.data / "elsewhere").rename(place.data / "photos")


@pytest.mark.slow
def test_report_effects_as_markdown_and_json(place, capsys):
    assert cli.main(["report", "photos", "--effects", "--workspace", str(place.path)]) == 0
    text = capsys.readouterr().out
    assert "| component | option | trials | failed | effect | 95 % interval | best | verdict |" in text
    assert "| loss | focal | " in text
    assert cli.main(["report", "photos", "--effects", "--json", "--workspace", str(place.path)]) == 0
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert stages[0]["effects"][0]["component"] == "head"
    assert cli.main(["report", "none", "--effects", "--workspace", str(place.path)]) == 2
    assert "no study 'none'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tried", "verdicts"),
    [
        ({"focal": 9}, ["not tried", "only one tried"]),
        ({"focal": 9, "cross_entropy": 9}, ["not distinguishable", "not distinguishable"]),
        ({}, ["not tried", "not tried"]),
    ],
)
def test_a_lone_option_is_not_called_equal_to_others(tried, verdicts):
    settings = [{"loss": option} for option, count in tried.items() for _ in range(count)]
    drawn = np.random.default_rng(0).normal(size=(100, 2))
    found = _effect(Factor("loss", ("cross_entropy", "focal")), settings, [], drawn, "maximize")
    assert [each.verdict for each in found] == verdicts
