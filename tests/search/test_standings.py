"""Ranking of finalists and the winner's curse, against numbers worked out by hand."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t

from search.identity import Identity
from search.rows import TrialRow
from search.series import Series
from search.standings import Draws, expected_drop, ranked
from search.standings_table import finalists_json, flattery, show_finalists, single_runs

SEMANTICS = {"epochs": 4, "general": {"image_size": 64}, "components": {}}
IDENTITY = Identity("tiny", "d", "holdout", "s", "mean_auc", "maximize", SEMANTICS)


def trial(number: int, value: float | None, state: str = "complete") -> TrialRow:
    return TrialRow(number, state, value, 4, {"image_size": 64}, {}, {})


def run(number: int, of: int, index: int, value: float | None, state: str = "complete", **more: object) -> TrialRow:
    noted = {"finalist_of": of, "index": index, "series": "tiny.finalists", **more}
    return TrialRow(number, state, value, 4, {"image_size": 64}, {}, noted)


SEARCHED = (trial(0, 0.90), trial(1, 0.88), trial(2, 0.86), trial(3, 0.80, "pruned"))
RUNS = (
    run(0, 0, 0, 0.80), run(1, 1, 0, 0.85), run(2, 2, 0, 0.83), run(3, 3, 0, 0.70),
    run(4, 0, 1, 0.84), run(5, 1, 1, 0.87), run(6, 2, 1, None, "failed"), run(7, 3, 1, None, "running"),
)  # fmt: skip
SERIES = Series("tiny.finalists", "tiny", IDENTITY, RUNS)
MANY = 100_000
"""Lesions of which Student's t is the normal distribution's 1.96."""


def test_settings_are_ranked_on_the_means_of_their_complete_runs():
    found = ranked(SERIES, SEARCHED, None)
    assert [each.trial.number for each in found] == [1, 2, 0, 3]
    assert [each.mean for each in found] == pytest.approx([0.86, 0.83, 0.82, 0.70])
    assert [len(each.runs) for each in found] == [2, 1, 2, 1]
    assert [each.planned for each in found] == [2, 2, 2, 2]
    # Of 0.85 and 0.87: deviations of 0.01 each, squared sum 0.0002, over n - 1 = 1.
    assert found[0].deviation == pytest.approx(0.0002**0.5)
    assert np.isnan(found[1].deviation)
    assert [each.drop for each in found[:3]] == pytest.approx([0.02, 0.03, 0.08])
    assert found[3].drop is None  # the search had stopped it early: its value was of another epoch
    assert all(each.interval is None and each.behind is None for each in found)


def test_where_less_is_better_a_drop_is_still_for_the_worse():
    series = replace(SERIES, identity=replace(IDENTITY, direction="minimize", objective="log_loss"))
    found = ranked(series, SEARCHED, None)
    assert [each.trial.number for each in found] == [3, 0, 2, 1]
    assert found[1].drop == pytest.approx(-0.08)


def test_the_expected_drop_is_as_uncertain_as_the_fresh_means_are():
    found = ranked(SERIES, SEARCHED, None)
    expected = expected_drop(found)
    # Drops 0.02, 0.03, 0.08. Runs 0.80, 0.84 and 0.85, 0.87: a run's variance is (0.0008 + 0.0002) / 2 of two degrees
    # of freedom, that of the mean of means of two, one and two runs (1/2 + 1 + 1/2) / 9 of it; t(0.975, 2) = 4.30265.
    mean, half = 0.13 / 3, 4.30265 * (0.0005 * 2 / 9) ** 0.5
    assert expected is not None
    assert expected.value == pytest.approx(mean)
    assert (expected.low, expected.high) == pytest.approx((mean - half, mean + half), abs=1e-6)
    assert expected_drop(found[:1]) is None
    # On folds images differ, too: 0.80, 0.85 on the first and 0.84, 0.87 on the second are 0.825 and 0.855.
    whole = [each for each in found if len(each.runs) == 2]
    expected = expected_drop(whole, on_folds=True)
    assert expected is not None
    assert expected.high - 0.05 == pytest.approx(12.7062 * 0.015, rel=1e-4)
    # Where each ran once only the drops themselves can say.
    single = ranked(replace(SERIES, rows=(RUNS[0], RUNS[1])), SEARCHED, None)
    expected = expected_drop(single)
    assert expected is not None
    assert expected.high - 0.065 == pytest.approx(12.7062 * 0.035, rel=1e-4)


def test_the_expected_drop_on_folds_is_of_settings_with_the_same_folds_and_of_two_of_them():
    folds = replace(SERIES, identity=replace(IDENTITY, split="folds"))
    # Of one fold its images' luck does not show: neither what runs differ by nor the drops have it.
    one = ranked(replace(folds, rows=RUNS[:3]), SEARCHED, None)
    assert [each.drop for each in one] == pytest.approx([0.03, 0.03, 0.10])
    assert expected_drop(one, on_folds=True) is None
    # Trial 2 lacks the second fold: its drop is of other images than those whose luck is told.
    found = ranked(replace(folds, rows=RUNS[:3] + RUNS[4:6]), SEARCHED, None)
    assert [(each.trial.number, len(each.runs)) for each in found] == [(1, 2), (0, 2), (2, 1)]
    expected = expected_drop(found, on_folds=True)
    assert expected is not None
    assert expected.value == pytest.approx(0.05)
    assert expected.high - 0.05 == pytest.approx(12.7062 * 0.015, rel=1e-4)
    assert flattery(folds, found)[0].endswith("over 2 settings")
    # Of a setting alone there is no mean.
    lone = ranked(replace(folds, rows=(RUNS[0], *RUNS[2:5])), SEARCHED, None)
    assert expected_drop(lone, on_folds=True) is None


def test_what_is_said_of_finalists_on_folds_and_of_the_drop_holds_as_often_as_it_says():
    """150 searches of five settings: 0.95 scatters by 0.018. Without the luck of runs on folds it held it in half."""
    rng, held = np.random.default_rng(0), Counter()
    for _ in range(150):
        everywhere = 0.85 + 0.01 * rng.normal(size=5)
        for split in ("holdout", "folds"):
            parts = 5 if split == "folds" else 1
            images, drawn_again = 0.017 * rng.normal(size=parts), 0.017 * rng.normal(size=(parts, 100))
            values = everywhere[:, None] + images + 0.015 * rng.normal(size=(5, 5))
            rows = tuple(run(n, n // 5, n % 5, float(value)) for n, value in enumerate(values.ravel()))
            series = replace(SERIES, rows=rows, identity=replace(IDENTITY, split=split))
            samples = {n: values.ravel()[n] + drawn_again[n % 5 % parts] for n in range(25)}
            scores = everywhere + 0.03 + 0.02 * rng.normal(size=5)
            searched = [trial(n, float(score)) for n, score in enumerate(scores)]
            found = ranked(series, searched, Draws(samples, 150))
            drop, known = expected_drop(found, on_folds=split == "folds"), everywhere + (parts == 1) * images.mean()
            held[f"{split}: drop"] += drop.low <= (scores - known).mean() <= drop.high
            means = np.array([everywhere[each.trial.number] for each in found])
            held[f"{split}: mean"] += found[1].interval.low <= means[1] <= found[1].interval.high
            apart = means[0] - means
            held[f"{split}: behind"] += all(
                each.behind.low <= true <= each.behind.high for each, true in zip(found[1:], apart[1:], strict=True)
            )
    assert {name: count for name, count in held.items() if not 134 <= count <= 149} == {}


def test_trained_for_longer_nothing_is_called_the_winner_s_curse():
    longer = replace(SERIES, name="tiny.finalists-9-epochs")
    found = ranked(longer, SEARCHED, None)
    assert {each.drop for each in found} == {None}
    assert flattery(longer, found) == ["no drop is told: the search trained for another number of epochs"]


def test_intervals_draw_lesions_and_runs_and_compare_on_the_same_draws():
    rng = np.random.default_rng(0)
    luck = rng.normal(0, 0.02, 4000)  # of the images: the same for every run
    rows = tuple(run(n, n % 2, n // 2, 0.8 + 0.01 * (n % 2)) for n in range(4))
    series = replace(SERIES, rows=rows)
    samples = {row.number: float(row.value or 0) + luck for row in rows}
    first, second = ranked(series, SEARCHED, Draws(samples, MANY))
    assert first.trial.number == 1
    assert first.interval is not None
    assert second.behind is not None
    # 1.96 · 0.02 is 0.2547 on the logit scale, where 0.81 lies at 1.4500.
    assert (first.interval.low, first.interval.high) == pytest.approx((0.7677, 0.8461), abs=0.002)
    # Image luck is common to both and cancels out: 0.01 behind in every draw.
    assert (second.behind.value, second.behind.low, second.behind.high) == pytest.approx((0.01,) * 3)
    # Fewer lesions leave more room: t of 9 degrees of freedom is 2.262, and the variance lacks the factor 10 / 9.
    few, _ = ranked(series, SEARCHED, Draws(samples, 10))
    assert few.interval is not None
    wide, narrow = (np.log(i.high / (1 - i.high)) - 1.45 for i in (few.interval, first.interval))
    assert wide / narrow == pytest.approx(2.2622 * (10 / 9) ** 0.5 / 1.96, rel=0.01)
    # On folds the same, where nothing is left to luck beside what each fold and each setting make of the runs.
    on_folds = replace(series, identity=replace(IDENTITY, split="folds"))
    first, _ = ranked(
        on_folds, SEARCHED, Draws({number: each + 0.1 * number for number, each in samples.items()}, MANY)
    )
    assert first.interval is not None
    assert (first.interval.low, first.interval.high) == pytest.approx((0.7677, 0.8461), abs=0.002)


def test_three_runs_that_differ_leave_much_room_though_their_images_are_the_same():
    values = (0.78, 0.81, 0.84)
    rows = (*(run(n, 1, n, value) for n, value in enumerate(values)), run(3, 0, 0, 0.80))
    series = replace(SERIES, rows=rows)
    # Where the images leave no doubt: a deviation of 0.03, of the mean 0.0173, Student's t of two degrees of freedom
    # 4.3027. On the logit scale that is 4.3027 · 0.0173 / (0.81 · 0.19) = 0.4842 about 1.4500.
    certain = {row.number: np.full(50, float(row.value or 0)) for row in rows}
    first, second = ranked(series, SEARCHED, Draws(certain, MANY))
    assert first.interval is not None
    assert second.behind is not None
    assert (first.interval.low, first.interval.high) == pytest.approx((0.7243, 0.8737), abs=1e-4)
    # A run's variance is 0.0009 of two degrees of freedom: three and one run differ by a third and the whole of it.
    half = t.ppf(0.975, 2) * 0.0012**0.5
    assert (second.behind.low, second.behind.high) == pytest.approx((0.01 - half, 0.01 + half), abs=1e-4)
    # With as much doubt of the images, which is well known: 0.0007 = 0.0004 + 0.0003, of Welch and Satterthwaite's
    # 0.0007² / (0.0003² / 2) = 10.9 degrees of freedom, whose t is 2.2037.
    luck = np.tile([-0.02, 0.02], 500)
    first, _ = ranked(series, SEARCHED, Draws({number: each[0] + luck for number, each in certain.items()}, MANY))
    assert first.interval is not None
    reach = np.log(first.interval.high / (1 - first.interval.high)) - 1.45
    assert reach == pytest.approx(2.2037 * 0.0007**0.5 / (0.81 * 0.19), rel=1e-3)


def test_a_single_run_borrows_how_runs_differ_from_the_settings_that_have_several(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    rows = (*(run(n, 1, n, value) for n, value in enumerate((0.78, 0.81, 0.84))), run(3, 0, 0, 0.80),
            run(4, 2, 0, 0.70), run(5, 2, 1, 0.72))  # fmt: skip
    series = replace(SERIES, rows=rows)
    certain = {row.number: np.full(50, float(row.value or 0)) for row in rows}
    found = ranked(series, SEARCHED, Draws(certain, MANY))
    alone = found[1]
    assert (alone.trial.number, len(alone.runs)) == (0, 1)
    # Variances 0.0009 of two degrees of freedom and 0.0002 of one: 0.002 / 3 of three, whose t is 3.1824.
    assert alone.interval is not None
    reach = np.log(alone.interval.high / (1 - alone.interval.high)) - np.log(0.8 / 0.2)
    assert reach == pytest.approx(3.1824 * (0.002 / 3) ** 0.5 / (0.8 * 0.2), rel=1e-4)
    # Behind the first of three runs by 0.01, by the same variance of a run. Two others might have been the first: 95 %
    # for both intervals together.
    assert alone.behind is not None
    assert alone.behind.high - 0.01 == pytest.approx(t.ppf(0.9875, 3) * (0.002 / 3 * (1 + 1 / 3)) ** 0.5, rel=1e-4)
    show_finalists(series, found)
    assert "trial 0: a single run; how much runs differ is taken from the other settings" in capsys.readouterr().out
    # Where nothing shows it there is no interval, and it is said.
    single = replace(SERIES, rows=(run(0, 1, 0, 0.81), run(3, 0, 0, 0.80)))
    found = ranked(single, SEARCHED, Draws(certain, MANY))
    assert [(each.interval, each.behind) for each in found] == [(None, None)] * 2
    show_finalists(single, found)
    assert "how much runs differ is not known, so there are no intervals" in capsys.readouterr().out
    # Of one fold neither; of several folds of one setting their values differ by both, images and runs.
    on_folds = replace(single, identity=replace(IDENTITY, split="folds"))
    assert [each.interval for each in ranked(on_folds, SEARCHED, Draws(certain, MANY))] == [None] * 2
    several = replace(on_folds, rows=rows[:3])
    (only,) = ranked(several, SEARCHED, Draws(certain, MANY))
    assert only.interval is not None
    reach = np.log(only.interval.high / (1 - only.interval.high)) - np.log(0.81 / 0.19)
    assert reach == pytest.approx(4.30265 * 0.0003**0.5 / (0.81 * 0.19), rel=1e-4)


def test_a_single_run_that_has_nothing_to_borrow_from_is_said_to_have_no_interval_yet():
    """Of one setting's two folds what runs differ by cannot be told from what folds do."""
    folds = replace(SERIES, rows=(*RUNS[:2], RUNS[4]), identity=replace(IDENTITY, split="folds"))
    found = ranked(folds, SEARCHED, Draws({row.number: np.full(50, row.value or 0.0) for row in folds.rows}, MANY))
    assert [(each.trial.number, each.interval is None) for each in found] == [(0, False), (1, True)]
    assert single_runs(folds, found) == ["trial 1: a single run, and no interval yet"]
    # Nor have any without the predictions.
    assert single_runs(SERIES, ranked(SERIES, SEARCHED, None)) == ["trials 2, 3: a single run, and no interval yet"]


def test_before_any_run_has_ended_nothing_is_known_of_what_runs_differ_by():
    """Warnings are errors here: nothing is averaged over no run."""
    begun = replace(SERIES, rows=(), identity=replace(IDENTITY, split="folds"))
    assert ranked(begun, SEARCHED, Draws({}, 0)) == ()
    running = replace(begun, rows=(run(0, 1, 0, None, "running"),))
    assert ranked(running, SEARCHED, Draws({}, 0)) == ()


def test_a_mean_calibration_error_has_what_chance_adds_taken_off():
    rng = np.random.default_rng(0)
    rows = tuple(run(n, n % 2, n // 2, 0.07) for n in range(4))
    series = replace(SERIES, rows=rows, identity=replace(IDENTITY, objective="ece", direction="minimize"))
    # No error at all: a mean |noise| of 0.07 is a deviation of 0.0877; samples add the same once more.
    drawn = np.abs(rng.normal(0, 0.0877 * 2**0.5, (20_000, 50))).mean(axis=1)
    first, second = ranked(series, SEARCHED, Draws({row.number: drawn for row in rows}, MANY, inflated=True))
    assert first.interval is not None
    assert (first.interval.value, first.interval.low) == (pytest.approx(0.07), 0.0)
    assert first.interval.high < 0.07
    assert second.behind is None


def test_a_setting_that_lacks_a_fold_comes_after_those_that_lack_none():
    rows = (
        run(0, 0, 0, 0.7, split="fold-0"), run(1, 0, 1, 0.7, split="fold-1"),
        run(2, 1, 0, 0.9, split="fold-0"), run(3, 1, 1, None, "failed", split="fold-1"),
    )  # fmt: skip
    series = replace(SERIES, rows=rows, identity=replace(IDENTITY, split="folds"))
    assert [each.trial.number for each in ranked(series, SEARCHED, None)] == [0, 1]


def test_the_table_says_what_the_search_had_flattered(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    found = ranked(SERIES, SEARCHED, None)
    show_finalists(SERIES, found)
    said = capsys.readouterr().out
    assert "tiny: finalists on fresh seeds, 4 epochs, mean_auc" in said
    assert "expected drop from search score to fresh score: +0.0433" in said
    assert "the search's best of them, trial 0, went from 0.9000 to 0.8200 and is number 3 of 4" in said
    assert "tiny.finalists: 6 complete, 1 failed, 1 unfinished" in said
    listed = finalists_json(SERIES, found)
    assert [each["trial"] for each in listed["standings"]] == [1, 2, 0, 3]
    assert listed["expected_drop"]["value"] == pytest.approx(0.13 / 3)


def test_no_fresh_value_yet_is_no_standing(capsys):
    waiting = replace(SERIES, rows=(run(0, 0, 0, None, "running"),))
    assert ranked(waiting, SEARCHED, None) == ()
    assert flattery(waiting, ()) == []
    show_finalists(waiting, ())
    assert "no fresh run has ended yet" in capsys.readouterr().out
